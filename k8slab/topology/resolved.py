"""A topology after resolution: frozen, every default filled in, every template rendered. Nothing here is optional."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network
from typing import Any


@dataclass(frozen=True)
class Network:
    """The lab's one subnet. ``gateway`` is the host's own address on it; ``pods`` is cut into a /24 per minion."""

    subnet: IPv4Network
    gateway: IPv4Address
    services: IPv4Network
    pods: IPv4Network
    mtu: int
    egress: bool


@dataclass(frozen=True)
class Route:
    """``via`` is None for what is reached on the node's own wire."""

    to: IPv4Network
    via: IPv4Address | None


@dataclass(frozen=True)
class Daemon:
    """One supervised process of one node.

    ``command`` is the shell line that starts it in the foreground, ``setup`` the lines that must have run before;
    ``port`` is where it serves, 0 when nowhere;
    ``check`` is the shell line whose success means ready, empty when the daemon tells its supervisor itself.
    ``after`` names the daemons, anywhere in the lab, that must be ready first. ``timeout`` is in seconds.
    """

    name: str
    alias: str
    node: str
    port: int
    command: str
    setup: str
    check: str
    environment: tuple[tuple[str, str], ...]
    after: tuple[str, ...]
    timeout: float
    stop_signal: str

    @property
    def target(self) -> str:
        return f"{self.node}/{self.name}"


@dataclass(frozen=True)
class Node:
    """One machine: ``container`` is its name in the engine, ``files`` are put into it before its first boot."""

    name: str
    container: str
    role: str
    image: str
    address: IPv4Address
    prefix: int
    mac: str
    pods: IPv4Network | None
    routes: tuple[Route, ...]
    capabilities: tuple[str, ...]
    unconfined: bool
    cpu_shares: int
    sysctls: tuple[tuple[str, str], ...]
    volumes: tuple[str, ...]
    files: tuple[tuple[str, str], ...]
    daemons: tuple[Daemon, ...]
    logs: tuple[str, ...] = ()


@dataclass(frozen=True)
class Place:
    """Where a package can be installed; ``options`` are those it is installed with, defaults included."""

    name: str
    address: IPv4Address
    installed: bool
    options: Mapping[str, Any]


@dataclass(frozen=True)
class Topology:
    """A lab as it should be. ``lab`` is the name everything it owns carries; ``name`` is the topology's own.

    ``source`` is the file it was resolved from, settings included, as JSON: enough to resolve it again anywhere.
    ``hosts`` are the names that every node knows: all nodes, and the machines of packages, installed or not.
    """

    name: str
    lab: str
    source: str
    network: Network
    nodes: tuple[Node, ...]
    hosts: tuple[tuple[str, IPv4Address], ...]
    packages: tuple[Place, ...]

    @property
    def daemons(self) -> Iterator[Daemon]:
        return (daemon for node in self.nodes for daemon in node.daemons)

    def node(self, name: str) -> Node:
        return next(node for node in self.nodes if node.name == name)

    def with_daemon(self, name: str) -> tuple[Node, ...]:
        """The nodes that run the daemon ``name``, in order."""
        return tuple(node for node in self.nodes if any(daemon.name == name for daemon in node.daemons))

    def addresses(self, name: str) -> tuple[str, ...]:
        """``host:port`` of every daemon called ``name``, in order."""
        return tuple(f"{self.node(one.node).address}:{one.port}" for one in self.daemons if one.name == name)
