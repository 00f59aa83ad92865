"""The records of one service, by Kubernetes' DNS-based service discovery 1.1.0: a function without I/O.

Beside the names of the specification a service has its name of the first releases, ``service.namespace.DOMAIN``. Those
of the namespaces "svc" and "pod" do not: there the words have their later meaning.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address
from typing import Any, Final, NamedTuple

import dns.exception
import dns.name

Object = Mapping[str, Any]

SCHEMA_VERSION: Final = "1.1.0"
SERVICES: Final = "svc"
PODS: Final = "pod"


class Row(NamedTuple):
    """``name``: whole, in small letters, without the last dot. ``data``: an address, a name, a text; of SRV
    "port target"."""

    name: str
    type: str
    data: str


@dataclass(frozen=True)
class Port:
    name: str
    protocol: str
    number: int


@dataclass(frozen=True)
class Endpoint:
    """``hostname``: "" for one that has none."""

    address: str
    hostname: str
    ports: tuple[Port, ...]

    @property
    def label(self) -> str:
        return self.hostname or self.address.replace(".", "-")


def rows_of(service: Object, endpoints: Iterable[Endpoint], domain: str) -> list[Row]:
    """Without one twice. A headless service that has no endpoint has no name either."""
    return list(dict.fromkeys(_rows(service, list(endpoints), domain)))


def _rows(service: Object, endpoints: Sequence[Endpoint], domain: str) -> Iterator[Row]:
    spec, meta = service["spec"], service["metadata"]
    namespace = meta["namespace"].lower()
    own = f"{meta['name']}.{namespace}.{SERVICES}.{domain}".lower()
    names = [own]
    if namespace not in (SERVICES, PODS):
        names.append(f"{meta['name']}.{namespace}.{domain}".lower())
    if spec.get("type") == "ExternalName":
        target = str(spec.get("externalName") or "").rstrip(".").lower()
        if _is_name(target):
            yield from (Row(name, "CNAME", target) for name in names)
        return
    address = spec.get("clusterIP") or ""
    if address == "None":
        yield from (Row(name, "A", one.address) for name in names for one in endpoints)
    elif _is_ipv4(address):
        yield from (Row(name, "A", address) for name in names)
        yield Row(reverse(address), "PTR", own)
        for port in spec.get("ports") or ():
            if port.get("name"):
                yield Row(
                    _service_name(Port(port["name"], port.get("protocol") or "TCP", 0), own),
                    "SRV",
                    f"{port['port']} {own}",
                )
    for one in endpoints:
        name = f"{one.label}.{own}"
        if not _is_name(name):
            continue
        yield Row(name, "A", one.address)
        if address == "None":
            yield Row(reverse(one.address), "PTR", name)
            yield from (
                Row(_service_name(port, own), "SRV", f"{port.number} {name}") for port in one.ports if port.name
            )


def endpoints_of(service: Object, slices: Sequence[Object], endpoints: Object | None) -> list[Endpoint]:
    """Those that are ready (or all, of a service that publishes all), from its slices or, where it has none, from its
    Endpoints."""
    every = bool(service["spec"].get("publishNotReadyAddresses"))
    return list(_from_slices(slices, every) if slices else _from_endpoints(endpoints or {}, every))


def reverse(address: str) -> str:
    """The name under which an address is asked for."""
    return f"{'.'.join(reversed(address.split('.')))}.in-addr.arpa"


def _from_slices(slices: Iterable[Object], every: bool) -> Iterator[Endpoint]:
    for one in slices:
        if one.get("addressType") != "IPv4":
            continue
        ports = _ports(one.get("ports"))
        for endpoint in one.get("endpoints") or ():
            if not every and (endpoint.get("conditions") or {}).get("ready") is False:
                continue
            hostname = (endpoint.get("hostname") or "").lower()
            for address in endpoint.get("addresses") or ():
                if _is_ipv4(address):
                    yield Endpoint(address, hostname, ports)


def _from_endpoints(endpoints: Object, every: bool) -> Iterator[Endpoint]:
    for subset in endpoints.get("subsets") or ():
        ports = _ports(subset.get("ports"))
        for kind in ("addresses", "notReadyAddresses") if every else ("addresses",):
            for one in subset.get(kind) or ():
                if _is_ipv4(one["ip"]):
                    yield Endpoint(one["ip"], (one.get("hostname") or "").lower(), ports)


def _ports(given: Sequence[Object] | None) -> tuple[Port, ...]:
    return tuple(
        Port(one.get("name") or "", one.get("protocol") or "TCP", int(one["port"]))
        for one in given or ()
        if one.get("port")
    )


def _service_name(port: Port, own: str) -> str:
    return f"_{port.name}._{port.protocol}.".lower() + own


def _is_ipv4(text: str) -> bool:
    try:
        IPv4Address(text)
    except ValueError:
        return False
    return True


def _is_name(text: str) -> bool:
    try:
        return len(dns.name.from_text(text)) > 1
    except (dns.exception.DNSException, UnicodeError):
        return False
