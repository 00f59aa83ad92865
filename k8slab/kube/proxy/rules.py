"""Service ports as the text that `iptables-restore --noflush` takes, chains and comments named as the original's.

Packets to a service meet, in the table nat: KUBE-SERVICES (by address) or KUBE-NODEPORTS, from outside KUBE-EXT-…, then
KUBE-SVC-… (all endpoints) or KUBE-SVL-… (those of this node), of which one KUBE-SEP-… is chosen by chance or by memory.
KUBE-MARK-MASQ marks what has to take the node's address, KUBE-POSTROUTING does it. Services that lead nowhere are
refused in the table filter.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from k8slab.kube.proxy import chains
from k8slab.kube.proxy.chains import Present
from k8slab.kube.proxy.services import Endpoint, ServicePort

LOOPBACK: Final = "127.0.0.0/8"


@dataclass(frozen=True)
class LocalTraffic:
    """How a packet that a pod of this cluster sent is known: the words of a match and of its opposite."""

    is_local: str
    is_not_local: str


@dataclass(frozen=True)
class Settings:
    """``mark``: the bit that says "masquerade". ``node_port_addresses``: networks in which node ports are served.

    ``unfiltered_bridge``: the pods' bridge when what goes between its ports never meets the rules. The answer to a
    service's address would then go past them, so that such a packet has to take the node's address.
    """

    mark: int = 0x4000
    masquerade_all: bool = False
    local: LocalTraffic | None = None
    node_port_addresses: tuple[str, ...] = ()
    localhost_node_ports: bool = True
    unfiltered_bridge: str = ""


class _Table:
    """The part of one table: chains are declared, which empties them, before their rules are written."""

    def __init__(self, name: str, present: Present) -> None:
        self.name = name
        self.chains = dict.fromkeys(chains.FIXED[name])
        self.rules: list[str] = [f"-I {jump.rule()}" for jump in chains.JUMPS if self._lacks(jump, present)]
        self._present = present

    def _lacks(self, jump: chains.Jump, present: Present) -> bool:
        return jump.table == self.name and not present.has(jump)

    def add(self, chain: str, *words: str) -> None:
        self.chains.setdefault(chain)
        self.rules.append(" ".join(("-A", chain, *filter(None, words))))

    def text(self) -> str:
        stale = sorted(
            chain for chain in self._present.chains if chains.is_of_a_port(chain) and chain not in self.chains
        )
        lines = [f"*{self.name}", *(f":{chain} - [0:0]" for chain in (*self.chains, *stale)), *self.rules]
        return "\n".join([*lines, *(f"-X {chain}" for chain in stale), "COMMIT\n"])


def text(ports: Iterable[ServicePort], present: Mapping[str, Present], settings: Settings) -> str:
    """Everything that the proxy has to say to the tables filter and nat; each of them changes at once."""
    filtered, nat = _Table("filter", present["filter"]), _Table("nat", present["nat"])
    _fixed(filtered, nat, settings)
    for port in ports:
        _Writer(port, filtered, nat, settings).write()
    _node_ports_last(nat, settings)
    return filtered.text() + nat.text()


def cleanup(present: Mapping[str, Present]) -> str:
    """Takes away every chain of the proxy and all that leads to it; empty when there is nothing to take away."""
    parts = []
    for table, found in present.items():
        own = sorted(chain for chain in found.chains if chains.is_own(chain, table))
        if own:
            gone = [f"-D {rule}" for rules in found.jumps.values() for rule in rules]
            gone += [f"-X {chain}" for chain in own]
            parts.append("\n".join([f"*{table}", *(f":{chain} - [0:0]" for chain in own), *gone, "COMMIT\n"]))
    return "".join(parts)


def _comment(words: str) -> str:
    return f'-m comment --comment "{words}"'


def _fixed(filtered: _Table, nat: _Table, settings: Settings) -> None:
    marked = f"{settings.mark:#x}/{settings.mark:#x}"
    nat.add(chains.POSTROUTING, f"-m mark ! --mark {marked} -j RETURN")
    # Unmarked again, so that a packet that passes here twice is not masqueraded twice.
    nat.add(chains.POSTROUTING, f"-j MARK --xor-mark {settings.mark:#x}")
    nat.add(
        chains.POSTROUTING,
        _comment("kubernetes service traffic requiring SNAT"),
        "-j MASQUERADE --random-fully",
    )
    nat.add(chains.MARK_MASQUERADE, f"-j MARK --or-mark {settings.mark:#x}")
    # What connection tracking cannot place would reach its client with an endpoint's address, and reset the connection.
    filtered.add(chains.FORWARD, "-m conntrack --ctstate INVALID -j DROP")
    filtered.add(chains.FORWARD, _comment("kubernetes forwarding rules"), f"-m mark --mark {marked} -j ACCEPT")
    filtered.add(
        chains.FORWARD,
        _comment("kubernetes forwarding conntrack rule"),
        "-m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT",
    )


def _node_ports_last(nat: _Table, settings: Settings) -> None:
    note = _comment("kubernetes service nodeports; NOTE: this must be the last rule in this chain")
    local = "-m addrtype --dst-type LOCAL"
    where = [f"-d {network}" for network in settings.node_port_addresses]
    if not where:
        where = ["" if settings.localhost_node_ports else f"! -d {LOOPBACK}"]
    for words in where:
        nat.add(chains.SERVICES, note, local, words, f"-j {chains.NODE_PORTS}")


class _Writer:
    """The rules of one port."""

    def __init__(self, port: ServicePort, filtered: _Table, nat: _Table, settings: Settings) -> None:
        self.port, self.filter, self.nat, self.settings = port, filtered, nat, settings
        name, protocol = port.name, port.protocol
        self.all, self.near = port.cluster_endpoints, port.local_endpoints
        self.cluster_chain = chains.cluster_policy(name, protocol)
        self.local_chain = chains.local_policy(name, protocol)
        self.external_chain = chains.external(name, protocol)
        self.firewall_chain = chains.firewall(name, protocol)

    def write(self) -> None:
        self._cluster_address()
        for address in self.port.external_addresses:
            self._outer_address(address, "external IP", self.external_chain)
        self._load_balancers()
        if self.port.node_port:
            self._node_port()
        if self.all and self.port.is_external:
            self._external()
        if self.all and (not self.port.internal_local or self.port.is_external):
            self._choices(self.cluster_chain, self.all)
        if self.near and (self.port.internal_local or (self.port.external_local and self.port.is_external)):
            self._choices(self.local_chain, self.near)
        for endpoint in sorted({*self.all, *self.near}):
            self._endpoint(endpoint)

    def _to(self, address: str) -> str:
        return f"-m {self.port.protocol} -p {self.port.protocol} -d {address}/32 --dport {self.port.port}"

    def _refusal(self, local_only: bool) -> tuple[str, str] | None:
        """(comment, target) for what has nowhere to go: told at once, or, when others have endpoints, dropped."""
        if not self.all:
            return "has no endpoints", "REJECT"
        return ("has no local endpoints", "DROP") if local_only and not self.near else None

    def _cluster_address(self) -> None:
        port = self.port
        to, chain = self._to(port.address), self.local_chain if port.internal_local else self.cluster_chain
        if refusal := self._refusal(port.internal_local):
            self.filter.add(chains.SERVICES, _comment(f"{port.name} {refusal[0]}"), to, f"-j {refusal[1]}")
            return
        note = _comment(f"{port.name} cluster IP")
        self.nat.add(chains.SERVICES, note, to, f"-j {chain}")
        if self.settings.masquerade_all:
            self.nat.add(chain, note, to, f"-j {chains.MARK_MASQUERADE}")
        elif self.settings.local:
            # Its answer has to come back by this node, though the client may be anywhere.
            self.nat.add(chain, note, to, self.settings.local.is_not_local, f"-j {chains.MARK_MASQUERADE}")

    def _outer_address(self, address: str, kind: str, chain: str) -> None:
        port, to = self.port, self._to(address)
        if self.all:
            # Local policy without local endpoints too: this node's own pods are let through all the same.
            self.nat.add(chains.SERVICES, _comment(f"{port.name} {kind}"), to, f"-j {chain}")
        if refusal := self._refusal(port.external_local):
            self.filter.add(chains.EXTERNAL_SERVICES, _comment(f"{port.name} {refusal[0]}"), to, f"-j {refusal[1]}")

    def _load_balancers(self) -> None:
        port = self.port
        guarded = bool(port.source_ranges) and self.all
        for address in port.load_balancers:
            self._outer_address(address, "loadbalancer IP", self.firewall_chain if guarded else self.external_chain)
            if guarded:
                note = _comment(f"{port.name} traffic not accepted by {self.firewall_chain}")
                self.filter.add(chains.FIREWALL, note, self._to(address), "-j DROP")
        if guarded and port.load_balancers:
            for network in port.source_ranges:
                note = _comment(f"{port.name} loadbalancer IP")
                self.nat.add(self.firewall_chain, note, f"-s {network}", f"-j {self.external_chain}")

    def _node_port(self) -> None:
        port = self.port
        to = f"-m {port.protocol} -p {port.protocol} --dport {port.node_port}"
        if self.all:
            self.nat.add(chains.NODE_PORTS, _comment(port.name), to, f"-j {self.external_chain}")
        if refusal := self._refusal(port.external_local):
            note = _comment(f"{port.name} {refusal[0]}")
            self.filter.add(chains.EXTERNAL_SERVICES, note, "-m addrtype --dst-type LOCAL", to, f"-j {refusal[1]}")

    def _external(self) -> None:
        port, chain = self.port, self.external_chain
        if not port.external_local:
            note = _comment(f"masquerade traffic for {port.name} external destinations")
            self.nat.add(chain, note, f"-j {chains.MARK_MASQUERADE}")
            self.nat.add(chain, f"-j {self.cluster_chain}")
            return
        if self.settings.local:
            note = _comment(f"pod traffic for {port.name} external destinations")
            self.nat.add(chain, note, self.settings.local.is_local, f"-j {self.cluster_chain}")
        from_here = "-m addrtype --src-type LOCAL"
        note = _comment(f"masquerade LOCAL traffic for {port.name} external destinations")
        self.nat.add(chain, note, from_here, f"-j {chains.MARK_MASQUERADE}")
        note = _comment(f"route LOCAL traffic for {port.name} external destinations")
        self.nat.add(chain, note, from_here, f"-j {self.cluster_chain}")
        if self.near:
            self.nat.add(chain, f"-j {self.local_chain}")

    def _choices(self, chain: str, endpoints: Sequence[Endpoint]) -> None:
        self.nat.chains.setdefault(chain)
        if self.port.affinity:
            for endpoint in endpoints:
                sep = self._sep(endpoint)
                remembered = f"-m recent --name {sep} --rcheck --seconds {self.port.affinity} --reap"
                self.nat.add(chain, self._note(endpoint), remembered, f"-j {sep}")
        for index, endpoint in enumerate(endpoints):
            left = len(endpoints) - index
            chance = f"-m statistic --mode random --probability {1 / left:.10f}" if left > 1 else ""
            self.nat.add(chain, self._note(endpoint), chance, f"-j {self._sep(endpoint)}")

    def _endpoint(self, endpoint: Endpoint) -> None:
        sep, note, protocol = self._sep(endpoint), _comment(self.port.name), self.port.protocol
        # A pod that reaches itself: its own address as the source would never leave it again.
        self.nat.add(sep, note, f"-s {endpoint.address}/32", f"-j {chains.MARK_MASQUERADE}")
        if endpoint.local and self.settings.unfiltered_bridge:
            self.nat.add(sep, note, f"-i {self.settings.unfiltered_bridge}", f"-j {chains.MARK_MASQUERADE}")
        remember = f"-m recent --name {sep} --set" if self.port.affinity else ""
        to = f"-m {protocol} -p {protocol} -j DNAT --to-destination {endpoint}"
        self.nat.add(sep, note, remember, to)

    def _sep(self, endpoint: Endpoint) -> str:
        return chains.endpoint(self.port.name, self.port.protocol, str(endpoint))

    def _note(self, endpoint: Endpoint) -> str:
        return _comment(f"{self.port.name} -> {endpoint}")
