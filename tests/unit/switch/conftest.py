"""The controller's three partners in memory: an engine with containers to start and stop, a kernel, a firewall."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field, replace
from ipaddress import IPv4Address, IPv4Network

import pytest

from k8slab.lab.switch import names
from k8slab.lab.switch.config import Config
from k8slab.lab.switch.controller import Controller
from k8slab.lab.switch.engine import Container, EngineGone, Event
from k8slab.lab.switch.firewall import FirewallError
from k8slab.lab.switch.state import State
from k8slab.lab.switch.wire import Bridge, Link, Namespace, Plug, Plugged, Probe, WireError

LAB = "demo"


class MemoryEngine:
    def __init__(self) -> None:
        self.containers: dict[str, Container] = {}
        self.up = True
        self.events_seen = 0
        self._streams: list[asyncio.Queue[Event | None]] = []
        self._pids = 100

    def start(self, node: str, *, address: str = "", wire: str | None = None, tell: bool = True) -> Container:
        self._pids += 1
        number = sorted({*(c.node for c in self.containers.values()), node}).index(node) + 1
        label = {"address": address or f"10.9.0.{number + 10}", "prefix": 24, "mac": f"02:00:00:00:00:{number:02x}"}
        container = Container(
            id=f"id-{node}",
            node=node,
            pid=self._pids,
            started_at=str(self._pids),
            wire=json.dumps(label) if wire is None else wire,
        )
        self.containers[container.id] = container
        if tell:
            self._tell(Event("start", container.id, node))
        return container

    def stop(self, node: str) -> None:
        container = self.containers[f"id-{node}"]
        self.containers[container.id] = replace(container, pid=0)
        self._tell(Event("die", container.id, node))

    def restart(self, node: str) -> None:
        self.stop(node)
        self.start(node)

    def go_away(self) -> None:
        self.up = False
        for stream in self._streams:
            stream.put_nowait(None)

    def _tell(self, event: Event) -> None:
        for stream in self._streams:
            stream.put_nowait(event)

    async def running(self, lab: str) -> list[str]:
        if not self.up:
            raise EngineGone("no engine")
        return [container.id for container in self.containers.values() if container.pid]

    async def inspect(self, container: str) -> Container | None:
        if not self.up:
            raise EngineGone("no engine")
        return self.containers.get(container)

    async def events(self, lab: str, *, since: float) -> AsyncIterator[Event]:
        stream: asyncio.Queue[Event | None] = asyncio.Queue()
        self._streams.append(stream)
        while True:
            event = await stream.get()
            if event is None:
                self._streams.remove(stream)
                raise EngineGone("the stream ended")
            self.events_seen += 1
            yield event


@dataclass
class MemoryWire:
    """A kernel with one bridge. ``plugged`` holds what each batch was asked for, ``deaf`` the nodes nothing reaches."""

    engine: MemoryEngine
    table: dict[str, Link] = field(default_factory=dict)
    plugged: list[list[str]] = field(default_factory=list)
    probes: list[list[Probe]] = field(default_factory=list)
    deaf: set[str] = field(default_factory=set)
    refused: dict[str, str] = field(default_factory=dict)
    bridge: Bridge = field(default_factory=lambda: Bridge("br0", 1, "10.9.0.1", True, 7))
    bridge_errors: list[str] = field(default_factory=list)
    open_namespaces: int = 0
    before_plug: Callable[[], None] = lambda: None

    def __post_init__(self) -> None:
        self._index = 10
        self._changes: asyncio.Queue[frozenset[int]] = asyncio.Queue()

    async def open(self, config: Config) -> Bridge:
        if self.bridge_errors:
            raise WireError(self.bridge_errors.pop(0))
        return self.bridge

    def namespace(self, pid: int) -> Namespace:
        if pid not in [container.pid for container in self.engine.containers.values()]:
            raise FileNotFoundError(pid)
        self.before_plug()
        self.open_namespaces += 1

        def close() -> None:
            self.open_namespaces -= 1

        return Namespace(fd=pid, identity=(4, pid), close=close)

    async def plug(self, plugs: Sequence[Plug]) -> list[Plugged]:
        if plugs:
            self.plugged.append(sorted(plug.node for plug in plugs))
        return [self._plug(plug) for plug in plugs]

    def _plug(self, plug: Plug) -> Plugged:
        if plug.node in self.refused:
            return Plugged(plug.node, 0, self.refused[plug.node])
        link = self.table.get(plug.node)
        name, altname = names.link_name(LAB, plug.node), names.link_altname(LAB, plug.node)
        if link and (link.group, link.master, link.up) == (plug.namespace.fd, self.bridge.index, True):
            return Plugged(plug.node, link.index)
        self._index += 1
        # The group stands for the namespace the wire leads to: enough to tell an old wire from the right one.
        self.table[plug.node] = Link(name, altname, LAB, self._index, plug.namespace.fd, self.bridge.index, True, True)
        self._changes.put_nowait(frozenset({self._index}))
        return Plugged(plug.node, self._index, "", "replaced" if link else "made", 1.0)

    def change(self, node: str, **changes: object) -> None:
        link = self.table[node]
        if changes:
            self.table[node] = replace(link, **changes)  # type: ignore[arg-type]
        else:
            del self.table[node]
        self._changes.put_nowait(frozenset({link.index}))

    def lose_changes(self, node: str) -> None:
        del self.table[node]
        self._changes.put_nowait(frozenset())

    async def reach(self, probes: Sequence[Probe], *, timeout: float) -> dict[str, str]:
        self.probes.append(list(probes))
        return {
            probe.node: next((s.name for s in probe.sources if not {s.name, probe.node} & self.deaf), "")
            for probe in probes
        }

    async def changes(self) -> AsyncIterator[frozenset[int]]:
        while True:
            yield await self._changes.get()

    async def links(self, lab: str = "") -> list[Link]:
        return list(self.table.values())

    async def remove(self, lab: str) -> list[Link]:
        found = list(self.table.values())
        self.table.clear()
        return found

    def close(self) -> None: ...


@dataclass
class MemoryFirewall:
    ensured: int = 0
    errors: list[str] = field(default_factory=list)
    forwards: bool = True

    async def ensure(self, config: Config, bridge: Bridge) -> None:
        self.ensured += 1
        if self.errors:
            raise FirewallError(self.errors.pop(0))

    async def diagnose(self, bridge: Bridge) -> str:
        return "a wall stands there"

    def forwarding(self) -> bool:
        return self.forwards


class Bench:
    """A controller among its partners; ``until`` waits for a published picture."""

    def __init__(self) -> None:
        self.engine = MemoryEngine()
        self.wire = MemoryWire(self.engine)
        self.firewall = MemoryFirewall()
        self.states: list[State] = []
        self._published = asyncio.Event()
        config = Config(LAB, IPv4Network("10.9.0.0/24"), IPv4Address("10.9.0.1"), mtu=1500, egress=True)
        self.controller = Controller(
            config, engine=self.engine, wire=self.wire, firewall=self.firewall, publish=self._take
        )
        self.task: asyncio.Task[None] | None = None

    def _take(self, state: State) -> None:
        self.states.append(state)
        self._published.set()

    def run(self) -> None:
        self.task = asyncio.get_running_loop().create_task(self.controller.run())

    async def until(self, wanted: Callable[[State], bool]) -> State:
        assert self.task
        async with asyncio.timeout(5):
            while not (self.states and wanted(self.states[-1])):
                self._published.clear()
                waiter = asyncio.create_task(self._published.wait())
                done, _ = await asyncio.wait({waiter, self.task}, return_when=asyncio.FIRST_COMPLETED)
                if self.task in done:
                    await self.task
        return self.states[-1]

    async def wired(self, *nodes: str) -> State:
        return await self.until(lambda s: s.ready and set(nodes) == {n for n, each in s.nodes.items() if each.wired})

    async def end(self) -> None:
        if self.task:
            self.task.cancel()
            await asyncio.gather(self.task, return_exceptions=True)


@pytest.fixture
async def bench() -> AsyncIterator[Bench]:
    made = Bench()
    yield made
    await made.end()
