"""The proxy's chains: how they are called, from where they are reached, and what of them a node has already."""

from __future__ import annotations

import base64
import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Final

SERVICES: Final = "KUBE-SERVICES"
EXTERNAL_SERVICES: Final = "KUBE-EXTERNAL-SERVICES"
NODE_PORTS: Final = "KUBE-NODEPORTS"
POSTROUTING: Final = "KUBE-POSTROUTING"
MARK_MASQUERADE: Final = "KUBE-MARK-MASQ"
FORWARD: Final = "KUBE-FORWARD"
FIREWALL: Final = "KUBE-PROXY-FIREWALL"

_HASH: Final = 16
_OF_A_PORT: Final = re.compile(r"^KUBE-(SVC|SVL|EXT|FW|SEP|XLB)-[A-Z2-7]{16}$")

# The fixed chains of each table; they are there even when no service is.
FIXED: Final[Mapping[str, tuple[str, ...]]] = {
    "filter": (SERVICES, EXTERNAL_SERVICES, FORWARD, FIREWALL),
    "nat": (SERVICES, NODE_PORTS, POSTROUTING, MARK_MASQUERADE),
}


@dataclass(frozen=True)
class Jump:
    """A rule in one of the kernel's own chains that leads to one of the proxy's."""

    table: str
    chain: str
    target: str
    comment: str
    new_only: bool = False

    def rule(self) -> str:
        match = " -m conntrack --ctstate NEW" if self.new_only else ""
        return f'{self.chain}{match} -m comment --comment "{self.comment}" -j {self.target}'


_VISIBLE: Final = "kubernetes externally-visible service portals"
_LOAD_BALANCER: Final = "kubernetes load balancer firewall"
_PORTALS: Final = "kubernetes service portals"

# Each is put before what its chain has: so the last one here is the first one there.
JUMPS: Final = (
    Jump("filter", "INPUT", EXTERNAL_SERVICES, _VISIBLE, new_only=True),
    Jump("filter", "FORWARD", EXTERNAL_SERVICES, _VISIBLE, new_only=True),
    Jump("filter", "FORWARD", SERVICES, _PORTALS, new_only=True),
    Jump("filter", "OUTPUT", SERVICES, _PORTALS, new_only=True),
    Jump("filter", "FORWARD", FORWARD, "kubernetes forwarding rules"),
    Jump("filter", "INPUT", FIREWALL, _LOAD_BALANCER, new_only=True),
    Jump("filter", "OUTPUT", FIREWALL, _LOAD_BALANCER, new_only=True),
    Jump("filter", "FORWARD", FIREWALL, _LOAD_BALANCER, new_only=True),
    Jump("nat", "OUTPUT", SERVICES, _PORTALS),
    Jump("nat", "PREROUTING", SERVICES, _PORTALS),
    Jump("nat", "POSTROUTING", POSTROUTING, "kubernetes postrouting rules"),
)


def _digest(*words: str) -> str:
    return base64.b32encode(sha256("".join(words).encode()).digest())[:_HASH].decode()


def cluster_policy(port: str, protocol: str) -> str:
    """All endpoints of a port; ``port``: "namespace/service:port"."""
    return f"KUBE-SVC-{_digest(port, protocol)}"


def local_policy(port: str, protocol: str) -> str:
    """The endpoints on this node alone."""
    return f"KUBE-SVL-{_digest(port, protocol)}"


def external(port: str, protocol: str) -> str:
    """What comes from outside, by node port or external address."""
    return f"KUBE-EXT-{_digest(port, protocol)}"


def firewall(port: str, protocol: str) -> str:
    return f"KUBE-FW-{_digest(port, protocol)}"


def endpoint(port: str, protocol: str, address: str) -> str:
    """``address``: "10.1.0.2:80"."""
    return f"KUBE-SEP-{_digest(port, protocol, address)}"


@dataclass(frozen=True)
class Present:
    """One table as it is: chains made by somebody, and the rules of the kernel's own chains that lead to ours."""

    chains: frozenset[str] = frozenset()
    jumps: Mapping[tuple[str, str], Sequence[str]] = field(default_factory=dict)

    def has(self, jump: Jump) -> bool:
        return (jump.chain, jump.target) in self.jumps


def is_own(chain: str, table: str) -> bool:
    return chain in FIXED[table] or is_of_a_port(chain)


def is_of_a_port(chain: str) -> bool:
    return _OF_A_PORT.match(chain) is not None


def parse(saved: str) -> dict[str, Present]:
    """What `iptables-save` says, by table; tables that it does not name are empty."""
    found: dict[str, Present] = {table: Present() for table in FIXED}
    table = ""
    chains: set[str] = set()
    jumps: dict[tuple[str, str], list[str]] = {}
    for line in saved.splitlines():
        if line.startswith("*"):
            table, chains, jumps = line[1:].strip(), set(), {}
        elif line.startswith(":"):
            name, policy = line[1:].split()[:2]
            if policy == "-":
                chains.add(name)
        elif line.startswith("-A ") and table in FIXED:
            words = shlex.split(line)
            if "-j" not in words:
                continue
            chain, target = words[1], words[words.index("-j") + 1]
            if is_own(target, table) and not is_own(chain, table):
                jumps.setdefault((chain, target), []).append(line.removeprefix("-A "))
        elif line == "COMMIT" and table in FIXED:
            found[table] = Present(frozenset(chains), jumps)
    return found
