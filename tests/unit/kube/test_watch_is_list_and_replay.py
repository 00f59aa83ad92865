"""Whatever writers do, a list and the replay of the watch that follows it are what a later list shows."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import Any

import orjson
from hypothesis import given, settings
from hypothesis import strategies as st

from k8slab.kube.api import cache as caching
from k8slab.kube.api import selectors
from k8slab.kube.api.cache import Cache, Watcher
from k8slab.kube.api.kinds.small import CONFIG_MAP
from k8slab.kube.api.lists import Lister, ListOptions
from k8slab.kube.api.negotiation import Wanted
from k8slab.kube.api.storage.base import Compacted, Write
from k8slab.kube.api.storage.memory import MemoryStorage
from k8slab.kube.api.watching import Stream, WatchOptions

NAMES = "abcd"
COLOURS = ("red", "blue")
NAMESPACES = ("n", "m")

writes = st.tuples(
    st.sampled_from(NAMESPACES), st.sampled_from(NAMES), st.sampled_from((*COLOURS, None)), st.booleans()
)
steps = st.lists(
    st.one_of(
        writes,
        st.sampled_from(("compact", "restart")),
        st.tuples(st.sampled_from(("", *NAMESPACES)), st.sampled_from(("", *COLOURS))),
    ),
    max_size=60,
)


@dataclass
class Reader:
    """A client: what it believes there is, and the watch that it follows."""

    namespace: str
    colour: str
    version: int = 0
    known: dict[str, str] = field(default_factory=dict)
    watcher: Watcher | None = None
    stream: Stream | None = None

    @property
    def selector(self) -> selectors.Selector:
        return selectors.parse(f"colour={self.colour}" if self.colour else "", "", CONFIG_MAP.readers)

    def take(self, line: bytes) -> None:
        event = orjson.loads(line)
        meta = event["object"]["metadata"]
        name, version = f"{meta['namespace']}/{meta['name']}", int(meta["resourceVersion"])
        assert version > self.version
        assert (event["type"] == "ADDED") is (name not in self.known)
        self.version = version
        if event["type"] == "DELETED":
            del self.known[name]
        else:
            self.known[name] = meta["resourceVersion"]

    def drain(self) -> bool:
        """Whether the watch goes on."""
        assert self.watcher is not None and self.stream is not None
        while self.watcher.events:
            event = self.watcher.events.popleft()
            if event.revision > self.version and (line := self.stream.line(event)):
                self.take(line)
        return not self.watcher.closed


class World:
    def __init__(self) -> None:
        self.storage = MemoryStorage()
        self.readers: list[Reader] = []
        self.start()

    def start(self) -> None:
        self.cache = Cache(self.storage, (CONFIG_MAP,))
        self.lister = Lister(self.storage, self.cache)
        self.running = asyncio.create_task(self.cache.run())

    async def restart(self) -> None:
        """Another server on the same storage: it knows nothing of what came before it."""
        self.running.cancel()
        self.start()
        await self.cache.loaded.wait()
        for reader in self.readers:
            if not self.resume(reader):
                await self.list(reader)

    async def write(self, namespace: str, name: str, colour: str | None) -> None:
        key = CONFIG_MAP.key(namespace, name)
        meta: dict[str, Any] = {"name": name, "namespace": namespace, "labels": {"colour": colour}}
        value = None if colour is None else CONFIG_MAP.encode({"metadata": meta})
        if value is None and (await self.storage.get(key))[0] is None:
            return
        revision = await self.storage.commit((), (Write(key, value),))
        assert await self.cache.wait_for(revision, 5.0)

    async def list(self, reader: Reader) -> None:
        listing = await self.lister.read(CONFIG_MAP, reader.namespace, ListOptions(reader.selector))
        objects = [CONFIG_MAP.decode(record.value, record.revision)["metadata"] for record in listing.records]
        reader.known = {f"{meta['namespace']}/{meta['name']}": meta["resourceVersion"] for meta in objects}
        reader.version = listing.revision
        assert self.resume(reader)

    def resume(self, reader: Reader) -> bool:
        """Watch on from what the reader knows; False when that is forgotten."""
        held = self.cache.of(CONFIG_MAP)
        options = WatchOptions(reader.selector, str(reader.version))
        reader.stream = Stream(CONFIG_MAP, CONFIG_MAP.scope(reader.namespace), options, Wanted())
        try:
            backlog = held.since(reader.version)
        except Compacted:
            return False
        for line in filter(None, map(reader.stream.line, backlog)):
            reader.take(line)
        reader.watcher = Watcher(1000)
        held.join(reader.watcher)
        return True

    async def agree(self) -> None:
        for reader in self.readers:
            if not reader.drain() and not self.resume(reader):
                await self.list(reader)
            asked = ListOptions(reader.selector)
            listing = await self.lister.read(CONFIG_MAP, reader.namespace, asked)
            there = {record.key.removeprefix(CONFIG_MAP.prefix): str(record.revision) for record in listing.records}
            assert reader.known == there


@settings(deadline=None, max_examples=150)
@given(steps)
def test_a_watch_is_a_list_and_its_replay(steps: list[Any]) -> None:
    async def play() -> None:
        world = World()
        await world.cache.loaded.wait()
        for step in steps:
            match step:
                case "compact":
                    _, newest = await world.storage.get("/")
                    world.storage.compact(newest)
                case "restart":
                    await world.restart()
                case (namespace, colour):
                    world.readers.append(Reader(namespace, colour))
                    await world.list(world.readers[-1])
                case (namespace, name, colour, look):
                    await world.write(namespace, name, colour)
                    if look:
                        await world.agree()
        await world.agree()
        world.running.cancel()

    asyncio.run(play())


def test_a_reader_that_comes_back_too_late_is_told(monkeypatch: Any) -> None:
    monkeypatch.setattr(caching, "WINDOW", 3)

    async def play() -> None:
        world = World()
        await world.cache.loaded.wait()
        reader = Reader("", "")
        await world.list(reader)
        for _ in range(3):
            await world.write("n", "a", "red")
        assert world.resume(reader)
        assert len(reader.known) == 1
        for _ in range(4):
            await world.write("n", "a", "blue")
        assert not world.resume(reader)
        world.running.cancel()

    asyncio.run(play())
