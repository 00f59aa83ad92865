"""The switch at work: what the engine says of the nodes and the kernel of the wires, turned into wires and a picture.

Three tasks share one state: the engine's events (which nodes to wire), the kernel's (which wires changed), and the
proofs (whose packets arrive). A node is wired when it starts and when it is asked for (``recheck``); a wire that
somebody cuts is reported and left cut, for that may be the lesson.
"""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections.abc import AsyncIterator, Callable, Collection
from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import Protocol

from k8slab.lab.switch.config import Config, ConfigError, WireSpec
from k8slab.lab.switch.engine import Container, EngineGone, EngineRefused, Event
from k8slab.lab.switch.firewall import FirewallError
from k8slab.lab.switch.state import BridgeState, NodeState, State
from k8slab.lab.switch.wire import HOST, Bridge, Link, Namespace, Plug, Plugged, Probe, Source, Wire, WireError

log = logging.getLogger("k8slab.switch")

PROOF_TIMEOUT = 3.0
_SOURCES = 3
_RECONNECT = (0.05, 0.1, 0.25, 0.5, 1.0)
_BRIDGE_RETRY = 2.0
_PROOF_RETRY = 5.0
# Changes of a link come in bursts (down, no carrier, gone); what counts is how it ends.
_SETTLE = 0.02


class EngineApi(Protocol):
    async def running(self, lab: str) -> list[str]: ...
    async def inspect(self, container: str) -> Container | None: ...
    def events(self, lab: str, *, since: float) -> AsyncIterator[Event]: ...


class FirewallApi(Protocol):
    async def ensure(self, config: Config, bridge: Bridge) -> None: ...
    async def diagnose(self, bridge: Bridge) -> str: ...
    def forwarding(self) -> bool: ...


@dataclass(frozen=True)
class Node:
    """A node that runs; ``link`` is its wire's host end (0: none).

    Three things may be wrong: the wire could not be made (``problem``), it was ``cut`` since, or no packet gets through
    (``silent``).
    """

    container: Container
    spec: WireSpec | None
    namespace: tuple[int, int] = (0, 0)
    link: int = 0
    problem: str = ""
    cut: str = ""
    silent: str = ""
    verified_from: str = ""
    milliseconds: float = 0.0

    @property
    def plugged(self) -> bool:
        return bool(self.link) and not self.problem and not self.cut

    def state(self) -> NodeState:
        return NodeState(
            container=self.container.id,
            pid=self.container.pid,
            address=self.spec.address if self.spec else "",
            mac=self.spec.mac if self.spec else "",
            wired=self.plugged and bool(self.verified_from),
            verified_from=self.verified_from,
            problem=self.problem or self.cut or self.silent,
            milliseconds=self.milliseconds,
        )


class Controller:
    def __init__(
        self,
        config: Config,
        *,
        engine: EngineApi,
        wire: Wire,
        firewall: FirewallApi,
        publish: Callable[[State], None],
        proof_timeout: float = PROOF_TIMEOUT,
    ) -> None:
        self._config, self._engine, self._wire, self._firewall = config, engine, wire, firewall
        self._publish, self._proof_timeout = publish, proof_timeout
        self._nodes: dict[str, Node] = {}
        self._bridge = Bridge(name="", index=0, address="", own=False, group=0)
        self._scanned, self._error, self._firewall_error = False, "", ""
        self._due: set[str] = set()
        self._deep = False
        self._work = asyncio.Event()
        self._idle = asyncio.Event()
        self._group = asyncio.TaskGroup()

    async def run(self) -> None:
        """Runs until cancelled; a bug in one of its tasks ends it."""
        async with self._group as group:
            await self._open_bridge()
            group.create_task(self._follow_engine())
            group.create_task(self._follow_links())
            group.create_task(self._wire_due())

    def recheck(self) -> None:
        """Look at every node's wire anew, in depth, and mend what is broken."""
        self._deep = True
        self._work.set()

    def _show(self) -> None:
        bridge = self._bridge
        warning = ""
        if self._config.egress and not self._firewall.forwarding():
            warning = "The host forwards no packets (net.ipv4.ip_forward is 0): nodes cannot reach out."
        shown = BridgeState(bridge.name, bridge.address, bridge.own, bridge.group)
        nodes = {name: self._nodes[name].state() for name in sorted(self._nodes)}
        error = self._error or self._firewall_error
        ready = self._scanned and not error
        self._publish(State(pid=os.getpid(), ready=ready, error=error, warning=warning, bridge=shown, nodes=nodes))

    async def _open_bridge(self) -> None:
        """The bridge and the firewall's rules: at the start, when the engine comes back, and when asked for."""
        before = self._bridge.index
        while True:
            try:
                self._bridge = await self._wire.open(self._config)
                self._error = ""
                break
            except WireError as error:
                self._error = str(error)
                log.error("%s", error)
                self._show()
                await asyncio.sleep(_BRIDGE_RETRY)
        if before not in (0, self._bridge.index):
            # It was made anew, and all wires are plugged into what is gone.
            self.recheck()
        try:
            await self._firewall.ensure(self._config, self._bridge)
            self._firewall_error = ""
        except FirewallError as error:
            self._firewall_error = str(error)
            log.error("%s", error)

    # -- the engine ---------------------------------------------------------------------------------------------

    async def _follow_engine(self) -> None:
        attempt, away, told = 0, False, ""
        while True:
            # The stream starts before the scan: what happens between the two is told twice and done once.
            since = time.time() - 1
            try:
                running = await self._engine.running(self._config.lab)
                if away:
                    # The engine rebuilt its chains, and docker0 perhaps.
                    await self._open_bridge()
                await self._scan(running)
                attempt, away, told = 0, False, ""
                async for event in self._engine.events(self._config.lab, since=since):
                    self._heed(event)
            except (EngineGone, EngineRefused) as error:
                if str(error) != told:
                    told = str(error)
                    log.warning("%s; trying again", told)
            away = True
            await asyncio.sleep(_RECONNECT[min(attempt, len(_RECONNECT) - 1)])
            attempt += 1

    async def _scan(self, running: Collection[str]) -> None:
        for name, node in list(self._nodes.items()):
            if node.container.id not in running:
                del self._nodes[name]
        self._idle.clear()
        self._due.update(running)
        self._work.set()
        await self._idle.wait()
        self._scanned = True
        self._show()

    def _heed(self, event: Event) -> None:
        if event.action == "start":
            self._due.add(event.container)
            self._work.set()
            return
        node = self._nodes.get(event.node)
        if node and node.container.id == event.container:
            # Its start may have been heard already: then this end is of the run before.
            self._due.add(event.container)
            self._work.set()

    # -- wiring -------------------------------------------------------------------------------------------------

    async def _wire_due(self) -> None:
        while True:
            await self._work.wait()
            self._work.clear()
            due, deep = self._due, self._deep
            self._due, self._deep = set(), False
            if deep:
                await self._open_bridge()
                due |= {node.container.id for node in self._nodes.values()}
            try:
                await self._wire_batch(due, deep)
            except (EngineGone, EngineRefused) as error:
                log.warning("%s; trying again", error)
                self._due |= due
                self._work.set()
                await asyncio.sleep(_RECONNECT[-1])
            if not self._due:
                self._idle.set()

    async def _wire_batch(self, due: Collection[str], deep: bool) -> None:
        found = await asyncio.gather(*(self._engine.inspect(container) for container in sorted(due)))
        alive = {container.id: container for container in found if container and container.pid}
        for name, node in list(self._nodes.items()):
            if node.container.id in due and node.container.id not in alive:
                del self._nodes[name]
        with ExitStack() as held:
            plugs: dict[str, Plug] = {}
            for container in alive.values():
                known = self._nodes.get(container.node)
                if known and known.container == container and known.link and not deep:
                    continue
                plug = self._plan(container, held)
                if plug:
                    plugs[container.node] = plug
            await self._drop_strangers(plugs, alive)
            plugged = await self._wire.plug(list(plugs.values()))
        made = [each.node for each in plugged if self._took(each)]
        # A wire that was cut between its making and this note of it would otherwise go unseen.
        self._look(await self._wire.links(self._config.lab))
        self._show()
        self._prove(made)

    def _plan(self, container: Container, held: ExitStack) -> Plug | None:
        """The plug of a node that runs, its namespace open in ``held``; None, with the node's problem noted, if not."""
        node = self._nodes.get(container.node)
        if node is None or node.container != container:
            node = Node(container=container, spec=None)
        try:
            node = replace(node, spec=WireSpec.from_label(container.wire))
            namespace = held.enter_context(self._wire.namespace(container.pid))
        except (ConfigError, WireError) as error:
            self._nodes[container.node] = replace(node, problem=str(error))
            return None
        except (FileNotFoundError, ProcessLookupError):
            return None
        self._nodes[container.node] = replace(node, namespace=namespace.identity)
        spec = node.spec
        assert spec
        return Plug(
            node=container.node,
            namespace=namespace,
            address=spec.address,
            prefix=spec.prefix,
            mac=spec.mac,
            mtu=self._config.mtu,
            gateway=self._bridge.address if self._config.egress else "",
            routes=spec.routes,
        )

    async def _drop_strangers(self, plugs: dict[str, Plug], alive: dict[str, Container]) -> None:
        """A process that ended leaves its number to another: what was opened counts only if it is still the node's."""
        before = [container for container in alive.values() if container.node in plugs]
        again = await asyncio.gather(*(self._engine.inspect(container.id) for container in before))
        for container, now in zip(before, again, strict=True):
            if now != container:
                del plugs[container.node]
                self._nodes.pop(container.node, None)
                self._due.add(container.id)
                self._work.set()

    def _took(self, plugged: Plugged) -> bool:
        """Note what became of a plug; true when the node's wire needs a new proof."""
        node = self._nodes.get(plugged.node)
        if node is None:
            return False
        node = replace(node, link=plugged.link, problem=plugged.problem, cut="")
        if plugged.problem or plugged.done or not node.milliseconds:
            node = replace(node, verified_from="", silent="", milliseconds=plugged.milliseconds)
        self._nodes[plugged.node] = node
        if plugged.problem:
            log.error("%s: %s", plugged.node, plugged.problem)
        elif plugged.done:
            log.info("%s: wire %s in %.1f ms", plugged.node, plugged.done, plugged.milliseconds)
        return not plugged.problem

    # -- proof --------------------------------------------------------------------------------------------------

    def _prove(self, names: Collection[str]) -> None:
        """Start proving these nodes' wires, and anew those that so far only the host has reached."""
        plugged = {name for name, node in self._nodes.items() if node.plugged}
        due = {name for name in names if name in plugged}
        if due and len(plugged) > 1:
            due |= {name for name in plugged if self._nodes[name].verified_from == HOST}
        if due:
            self._group.create_task(self._prove_now(due))

    async def _prove_now(self, due: Collection[str]) -> None:
        before = {name: self._nodes[name] for name in due}
        with ExitStack() as held:
            probes = self._probes(sorted(due), held)
            reached = await self._wire.reach(probes, timeout=self._proof_timeout)
        silent = {probe.node: probe for probe in probes if not reached[probe.node]}
        hint = await self._firewall.diagnose(self._bridge) if silent else ""
        for name, node in before.items():
            now = self._nodes.get(name)
            if now is None or (now.container, now.link) != (node.container, node.link) or name not in reached:
                continue
            problem = ""
            if name in silent:
                asked = " or ".join(source.name for source in silent[name].sources)
                problem = f"No packet from {asked} was answered within {self._proof_timeout:g} s"
                problem += f": {hint}." if hint else "."
                if problem != now.silent:
                    log.error("%s: %s", name, problem)
            self._nodes[name] = replace(now, verified_from=reached[name], silent=problem)
        self._show()
        if silent:
            # Nobody tells when a firewall lets packets through again: ask.
            asyncio.get_running_loop().call_later(_PROOF_RETRY, self._prove, list(silent))

    def _probes(self, due: Collection[str], held: ExitStack) -> list[Probe]:
        """Each node is asked from its neighbours in the ring of plugged nodes; a lone one from the host."""
        namespaces: dict[str, Namespace] = {}
        for name, node in self._nodes.items():
            if not node.plugged:
                continue
            try:
                namespace = held.enter_context(self._wire.namespace(node.container.pid))
            except (WireError, FileNotFoundError, ProcessLookupError):
                continue
            if namespace.identity == node.namespace:
                namespaces[name] = namespace
        ring = sorted(namespaces)
        probes = []
        for name in due:
            spec = self._nodes[name].spec
            if spec is None or name not in namespaces:
                continue
            at = ring.index(name)
            others = (ring[at + 1 :] + ring[:at])[-_SOURCES:][::-1]
            sources = tuple(Source(other, namespaces[other]) for other in others) or (Source(HOST, None),)
            probes.append(Probe(node=name, address=spec.address, sources=sources))
        return probes

    # -- the kernel ---------------------------------------------------------------------------------------------

    async def _follow_links(self) -> None:
        async for changed in self._wire.changes():
            if changed and not any(node.link in changed for node in self._nodes.values()):
                continue
            await asyncio.sleep(_SETTLE)
            self._look(await self._wire.links(self._config.lab))

    def _look(self, links: Collection[Link]) -> None:
        """Compare the wires that are there with those that were made."""
        present = {link.index: link for link in links}
        healed, changed = [], False
        for name, node in self._nodes.items():
            if not node.link or node.problem:
                continue
            cut = _cut(present.get(node.link), self._bridge)
            if cut == node.cut:
                continue
            changed = True
            self._nodes[name] = replace(node, cut=cut, verified_from="")
            if cut:
                log.warning("%s: %s", name, cut)
            else:
                healed.append(name)
        if changed:
            self._show()
            self._prove(healed)


def _cut(link: Link | None, bridge: Bridge) -> str:
    if link is None:
        return "Its wire was deleted."
    if link.master != bridge.index:
        return f"Its wire is not plugged into {bridge.name}."
    if not link.up:
        return f"Its wire is down ({link.name})."
    if not link.carrier:
        return f"Its wire has no carrier ({link.name}): eth0 is down in the node."
    return ""
