"""What the switch is told: its lab, from the environment; each node's wire, from that node's label."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, ip_address
from typing import Any

CONFIG = "K8SLAB_SWITCH"
ENGINE = "K8SLAB_ENGINE"
STATE = "K8SLAB_WIRES"
DEFAULT_ENGINE = "/host/run/docker.sock"
DEFAULT_STATE = "/var/lib/k8slab/wires.json"


class ConfigError(ValueError):
    """One sentence that says what is wrong with what the switch was told."""


@dataclass(frozen=True)
class Route:
    """Packets for ``to`` (CIDR) go by way of ``via`` (an address on the lab's subnet), "" for what is on the wire."""

    to: str
    via: str


def lab_from_environment(environ: Mapping[str, str]) -> str:
    """All that cleaning up needs to know. Raises ConfigError."""
    text = environ.get(CONFIG, "")
    if not text:
        raise ConfigError(f"{CONFIG} is not set: it holds the lab's network as JSON.")
    try:
        lab = json.loads(text)["lab"]
    except (ValueError, KeyError, TypeError) as error:
        raise ConfigError(f"{CONFIG} is not understood: {error!r}.") from error
    if not isinstance(lab, str) or not lab:
        raise ConfigError(f"{CONFIG} names no lab.")
    return lab


@dataclass(frozen=True)
class Config:
    lab: str
    subnet: IPv4Network
    gateway: IPv4Address
    mtu: int
    egress: bool

    @staticmethod
    def from_environment(environ: Mapping[str, str]) -> Config:
        """Raises ConfigError."""
        lab = lab_from_environment(environ)
        try:
            data = json.loads(environ[CONFIG])
            config = Config(
                lab=lab,
                subnet=IPv4Network(data["subnet"]),
                gateway=IPv4Address(data["gateway"]),
                mtu=int(data.get("mtu", 1500)),
                egress=bool(data.get("egress", True)),
            )
        except (ValueError, KeyError, TypeError) as error:
            raise ConfigError(f"{CONFIG} is not understood: {error!r}.") from error
        if config.gateway not in config.subnet:
            raise ConfigError(f"{CONFIG}: the gateway {config.gateway} is outside the subnet {config.subnet}.")
        return config


@dataclass(frozen=True)
class WireSpec:
    """A node's place in the network, as its label says."""

    address: str
    prefix: int
    mac: str
    routes: tuple[Route, ...] = ()

    @staticmethod
    def from_label(text: str) -> WireSpec:
        """Raises ConfigError."""
        try:
            data: dict[str, Any] = json.loads(text)
            spec = WireSpec(
                address=str(IPv4Address(data["address"])),
                prefix=int(data["prefix"]),
                mac=str(data["mac"]).lower(),
                routes=tuple(
                    Route(to=str(IPv4Network(r["to"])), via=str(ip_address(r["via"])) if r["via"] else "")
                    for r in data.get("routes") or ()
                ),
            )
            octets = bytes.fromhex(spec.mac.replace(":", ""))
        except (ValueError, KeyError, TypeError) as error:
            raise ConfigError(f"The label of its wire is not understood: {error!r}.") from error
        if len(octets) != 6 or octets[0] & 1 or not 0 < spec.prefix <= 32:
            raise ConfigError(f"The label of its wire has an impossible MAC or prefix: {spec.mac}, /{spec.prefix}.")
        return spec
