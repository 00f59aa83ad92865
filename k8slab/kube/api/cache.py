"""What the server knows without asking: the newest state of every kind and the last changes, fed by one etcd watch.

One watch over the whole registry, shared out by kind: changes of all kinds arrive in the order of their revisions, so
that the point reached is one number, true for every kind, and a bookmark can carry it.
"""

from __future__ import annotations

import asyncio
import logging
from bisect import bisect_right
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final

from k8slab.kube.api.errors import qualified
from k8slab.kube.api.freshness import Freshness
from k8slab.kube.api.kind import REGISTRY, Kind
from k8slab.kube.api.meta import Object
from k8slab.kube.api.storage.base import Change, Compacted, Record, Storage, StorageUnavailable

log = logging.getLogger(__name__)

# Kinds, by group and plural, most of whose watches want one value of a field: each is told of its own share alone.
# Every kubelet watches the pods of its node; telling all of them of every pod would be most of the work of a cluster.
SHARED_OUT_BY: Final = {("", "pods"): "spec.nodeName"}

WINDOW: Final = 4096
PAGE: Final = 5000


class Entry:
    """An object as stored; decoded when somebody needs to look inside. The decoded object must not be changed."""

    __slots__ = ("_obj", "key", "kind", "revision", "value")

    def __init__(self, kind: Kind, key: str, value: bytes, revision: int) -> None:
        self.kind = kind
        self.key = key
        self.value = value
        self.revision = revision
        self._obj: Object | None = None

    @property
    def obj(self) -> Object:
        if self._obj is None:
            self._obj = self.kind.decode(self.value, self.revision)
        return self._obj


def in_stored_form(kind: Kind, record: Record | None) -> Record | None:
    """A record as it was read; None where there is none, or none of this kind."""
    value = kind.stored_form(record.key, record.value) if record else None
    if record is None or not value:
        return None
    return record if value is record.value else Record(record.key, value, record.revision)


@dataclass(slots=True)
class Event:
    """One change of one object. ``lines`` keeps what was made of it for watchers, so that it is made once."""

    revision: int
    entry: Entry | None
    before: Entry | None
    lines: dict[tuple[str, str], bytes] = field(default_factory=dict)


class Watcher:
    """Receives the events of a kind. Closed by the cache when its reader falls hopelessly behind."""

    def __init__(self, longest: int) -> None:
        self.events: deque[Event] = deque()
        self.closed = False
        self._longest = longest
        self._woken = asyncio.Event()

    def push(self, event: Event) -> None:
        if self.closed:
            return
        self.events.append(event)
        if len(self.events) > self._longest:
            self.close()
        self._woken.set()

    def close(self) -> None:
        self.closed = True
        self._woken.set()

    async def wait(self, seconds: float) -> None:
        """Until there is something to read, or the time is over."""
        if not self.events and not self.closed:
            self._woken.clear()
            try:
                async with asyncio.timeout(seconds):
                    await self._woken.wait()
            except TimeoutError:
                return


class KindCache:
    """The newest objects of one kind, and its changes after ``oldest``."""

    def __init__(self, kind: Kind) -> None:
        self.kind = kind
        self.entries: dict[str, Entry] = {}
        self.oldest = 0
        self._window: deque[Event] = deque()
        self._watchers: set[Watcher] = set()
        self._shares: dict[str, set[Watcher]] = {}
        self.field = SHARED_OUT_BY.get((kind.group, kind.plural), "")
        self._sorted: list[str] | None = None

    def scan(self, scope: str) -> Iterable[Entry]:
        """The objects below a prefix, in key order."""
        if self._sorted is None:
            self._sorted = sorted(self.entries)
        keys = self._sorted
        for index in range(bisect_right(keys, scope), len(keys)):
            if not keys[index].startswith(scope):
                return
            yield self.entries[keys[index]]

    def since(self, revision: int) -> Sequence[Event]:
        """The changes after a revision. Raises Compacted when some of them are forgotten."""
        if revision < self.oldest:
            raise Compacted(self.oldest)
        return [event for event in self._window if event.revision > revision]

    def join(self, watcher: Watcher, share: str | None = None) -> None:
        """``share``: only what has, or had, this value in the kind's ``field`` is of interest."""
        (self._watchers if share is None else self._shares.setdefault(share, set())).add(watcher)

    def leave(self, watcher: Watcher, share: str | None = None) -> None:
        if share is None:
            self._watchers.discard(watcher)
        elif (sharers := self._shares.get(share)) is not None:
            sharers.discard(watcher)
            if not sharers:
                del self._shares[share]

    def close_watchers(self) -> None:
        for watchers in (self._watchers, *self._shares.values()):
            for watcher in watchers:
                watcher.close()

    def reset(self, entries: dict[str, Entry], revision: int) -> None:
        """Start anew: watchers must list again, for what happened in between is not known."""
        self.entries = entries
        self.oldest = revision
        self._window.clear()
        self._sorted = None
        self.close_watchers()

    def apply(self, change: Change) -> None:
        before = self.entries.get(change.key)
        value = None if change.value is None else self.kind.stored_form(change.key, change.value)
        entry = None if value is None else Entry(self.kind, change.key, value, change.revision)
        if entry is not None:
            self.entries[change.key] = entry
            if before is None:
                self._sorted = None
        elif before is not None:
            del self.entries[change.key]
            self._sorted = None
        else:
            return
        event = Event(change.revision, entry, before)
        if len(self._window) >= WINDOW:
            self.oldest = self._window.popleft().revision
        self._window.append(event)
        for watcher in self._watchers:
            watcher.push(event)
        if self._shares:
            read = self.kind.readers[self.field]
            for share in {read(one.obj) for one in (entry, before) if one is not None}:
                for watcher in self._shares.get(share, ()):
                    watcher.push(event)


class Cache:
    """All kinds. ``run`` keeps it going; it is of use once ``loaded`` is set."""

    def __init__(self, storage: Storage, kinds: Iterable[Kind]) -> None:
        self._storage = storage
        self._kinds = {kind.prefix: KindCache(kind) for kind in kinds}
        self.kinds = tuple(held.kind for held in self._kinds.values())
        self.revision = 0
        self.loaded = asyncio.Event()
        self._advanced = asyncio.Event()
        self._freshness = Freshness(storage, lambda: self.revision)

    def of(self, kind: Kind) -> KindCache:
        return self._kinds[kind.prefix]

    async def run(self) -> None:
        while True:
            try:
                await self._load()
                async for batch in self._storage.watch(REGISTRY, after=self.revision):
                    for change in batch.changes:
                        if (held := self._holder(change.key)) is not None:
                            held.apply(change)
                    self._reached(batch.revision)
            except Compacted as gone:
                log.warning("etcd has forgotten what came after %d (%s): reading everything anew", self.revision, gone)
            except StorageUnavailable as trouble:
                log.warning("reading the registry: %s; trying again", trouble)
                await asyncio.sleep(0.2)

    async def is_loaded(self, seconds: float) -> bool:
        """Whether it is of use, within the time: before that, nothing that is not here is known not to be."""
        if not self.loaded.is_set():
            try:
                async with asyncio.timeout(seconds):
                    await self.loaded.wait()
            except TimeoutError:
                return False
        return True

    async def is_current(self) -> bool:
        """Whether a read of the cache shows what a read of the storage would show. Raises StorageUnavailable."""
        return self.loaded.is_set() and await self._freshness.confirmed()

    async def newest(self, kind: Kind, key: str) -> tuple[Record | None, int]:
        """An object as it is in the storage now, in its stored form, and the revision at which it is so.

        Raises StorageUnavailable.
        """
        if await self.is_current():
            entry = self.of(kind).entries.get(key)
            return (Record(key, entry.value, entry.revision) if entry else None), self.revision
        record, revision = await self._storage.get(key)
        return in_stored_form(kind, record), revision

    async def wait_for(self, revision: int, seconds: float) -> bool:
        """Whether everything up to the revision is known, within the time."""
        try:
            async with asyncio.timeout(seconds):
                while self.revision < revision:
                    self._advanced.clear()
                    await self._advanced.wait()
        except TimeoutError:
            return False
        return True

    def counts(self) -> dict[str, int]:
        """The number of objects of each kind, by "plural.group"."""
        return {qualified(held.kind.plural, held.kind.group): len(held.entries) for held in self._kinds.values()}

    def close_watchers(self) -> None:
        for held in self._kinds.values():
            held.close_watchers()

    async def _load(self) -> None:
        found: dict[str, dict[str, Entry]] = {prefix: {} for prefix in self._kinds}
        after, revision, more = "", 0, True
        while more:
            page = await self._storage.page(REGISTRY, after=after, limit=PAGE, revision=revision)
            revision = page.revision
            for record in page.records:
                held = self._holder(record.key)
                value = held and held.kind.stored_form(record.key, record.value)
                if held is not None and value:
                    found[held.kind.prefix][record.key] = Entry(held.kind, record.key, value, record.revision)
            more = page.remaining > 0
            after = page.records[-1].key if page.records else ""
        for prefix, held in self._kinds.items():
            held.reset(found[prefix], revision)
        self._reached(revision)
        self.loaded.set()

    def _holder(self, key: str) -> KindCache | None:
        end = key.find("/", len(REGISTRY))
        return self._kinds.get(key[: end + 1]) if end > 0 else None

    def _reached(self, revision: int) -> None:
        if revision > self.revision:
            self.revision = revision
            self._advanced.set()
