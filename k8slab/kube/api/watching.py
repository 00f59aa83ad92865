"""Watches: a list of what there is, if asked for, then every change, one JSON object a line, until the time is over."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Final

import orjson
from aiohttp import web

from k8slab.kube.api import errors, tables
from k8slab.kube.api.cache import Cache, Entry, Event, Watcher
from k8slab.kube.api.kind import Kind
from k8slab.kube.api.meta import Object
from k8slab.kube.api.negotiation import Wanted
from k8slab.kube.api.outlet import Outlet, outlet_for
from k8slab.kube.api.selectors import Selector
from k8slab.kube.api.storage.base import Compacted, Storage

BOOKMARK_EVERY: Final = 60.0
INITIAL_EVENTS_END: Final = "k8s.io/initial-events-end"
# How long a request waits for a version that is newer than what the server knows, in seconds.
PATIENCE: Final = 3.0
SHORTEST_DEFAULT: Final = 1800.0
# A reader this many events behind is cut off rather than kept in memory; it will list again.
LONGEST_QUEUE: Final = 20_000
# How much is put together at once for a reader that has fallen behind, in bytes.
PIECE: Final = 1 << 20
# How often a silent stream looks whether its client is still there, in seconds.
LOOK_UP: Final = 10.0
# A stream that has just been written to gathers for so long what comes next, in seconds: in a rush of changes a write
# for each of them would cost server and client more than the changes do.
GATHER: Final = 0.005


@dataclass(frozen=True)
class WatchOptions:
    """``version`` as in the query: "" and "0" begin with what exists. ``seconds`` 0 lets the server choose.

    ``initial`` is sendInitialEvents, None when it was not given: True begins with what exists, not older than
    ``version``, and marks its end with a bookmark; False begins with the changes alone.
    """

    selector: Selector
    version: str = ""
    seconds: float = 0.0
    bookmarks: bool = False
    include: str = ""
    initial: bool | None = None

    @property
    def from_state(self) -> bool:
        return self.version in ("", "0") if self.initial is None else self.initial


class Stream:
    """One watch of one client."""

    def __init__(self, kind: Kind, scope: str, options: WatchOptions, wanted: Wanted) -> None:
        self._kind = kind
        self._scope = scope
        self._selector = options.selector
        self._form = wanted.form
        self._include = tables.included(options.include) if wanted.form == "Table" else ""
        self._version = wanted.version or tables.TABLE_VERSION
        self._first = True

    def existing(self, entries: Iterable[Entry]) -> bytes:
        lines = []
        for entry in entries:
            if self._selector.everything or self._selector.matches(entry.obj):
                lines.append(self._line(Event(entry.revision, entry, None), "ADDED", entry))
        return b"".join(lines)

    def line(self, event: Event) -> bytes:
        """What this watch tells of a change: nothing, when it is of no object that it shows."""
        entry, before = event.entry, event.before
        key = (entry or before).key  # type: ignore[union-attr]
        if not key.startswith(self._scope):
            return b""
        selector = self._selector
        if selector.everything:
            now, was = entry is not None, before is not None
        else:
            now = entry is not None and selector.matches(entry.obj)
            was = before is not None and selector.matches(before.obj)
        if now and entry is not None:
            return self._line(event, "MODIFIED" if was else "ADDED", entry)
        return self._line(event, "DELETED", before) if was and before is not None else b""

    def bookmark(self, revision: int, *, ends_initial: bool = False) -> bytes:
        metadata: dict[str, Any] = {"resourceVersion": str(revision), "creationTimestamp": None}
        if ends_initial:
            metadata["annotations"] = {INITIAL_EVENTS_END: "true"}
        body = {"kind": self._kind.kind, "apiVersion": self._kind.api_version, "metadata": metadata}
        if self._kind.kind == "Pod":
            body["spec"] = {"containers": None}
        return orjson.dumps({"type": "BOOKMARK", "object": body}) + b"\n"

    def _line(self, event: Event, event_type: str, entry: Entry) -> bytes:
        first, self._first = self._first, False
        form = self._kind.api_version
        if self._form:
            form += f"/{self._form}/{self._version}/{self._include}/{first}"
        line = event.lines.get((event_type, form))
        if line is None:
            line = event.lines[event_type, form] = self._made(event, event_type, entry, first=first)
        return line

    def _made(self, event: Event, event_type: str, entry: Entry, *, first: bool) -> bytes:
        if not self._form:
            served = self._kind.served(entry.value, event.revision)
            return b'{"type":"%s","object":%s}\n' % (event_type.encode(), served)
        obj: Object = entry.obj
        if entry.revision != event.revision:
            obj = self._kind.hub.decode(entry.value, event.revision)
        if self._form == "Table":
            return tables.watch_line(self._kind, event_type, obj, self._include, first=first, version=self._version)
        partial = {"kind": "PartialObjectMetadata", "apiVersion": self._version, "metadata": obj["metadata"]}
        return orjson.dumps({"type": event_type, "object": partial}) + b"\n"


async def watch(
    request: web.BaseRequest,
    kind: Kind,
    namespace: str,
    *,
    cache: Cache,
    storage: Storage,
    options: WatchOptions,
    wanted: Wanted,
    stream_of: Callable[[Kind, str, WatchOptions, Wanted], Stream] = Stream,
) -> web.StreamResponse:
    """Answer with the stream, and return when it has ended.

    Raises Timeout for a version that does not come, and TooManyRequests while the cache knows nothing yet.
    """
    if not await cache.is_loaded(PATIENCE):
        raise errors.initializing()
    stream = stream_of(kind, kind.scope(namespace), options, wanted)
    held = cache.of(kind)
    outlet = outlet_for(request)
    backlog: Iterable[Event] = ()
    opening = b""
    if options.from_state:
        await _up_to_date(cache, storage, options)
        start = cache.revision
        opening = stream.existing(held.scan(kind.scope(namespace)))
        if options.initial and options.bookmarks:
            opening += stream.bookmark(start, ends_initial=True)
    elif options.version in ("", "0"):
        await _up_to_date(cache, storage, options)
        start = cache.revision
    else:
        start = int(options.version)
        try:
            backlog = held.since(start)
        except Compacted as gone:
            await outlet.open()
            await outlet.write(
                orjson.dumps({"type": "ERROR", "object": errors.too_old(start, gone.revision).status()}) + b"\n"
            )
            return await outlet.end()
    watcher = Watcher(LONGEST_QUEUE)
    share = options.selector.only(held.field) if held.field else None
    held.join(watcher, share)
    try:
        await outlet.open()
        opening += b"".join(map(stream.line, backlog))
        if opening:
            await outlet.write(opening)
        if await _follow(outlet, stream, watcher, cache, options, start):
            return await outlet.end()
        return outlet.response
    finally:
        held.leave(watcher, share)


async def _up_to_date(cache: Cache, storage: Storage, options: WatchOptions) -> None:
    """Until the cache is as new as was asked for: as the storage is now, or as a version seen elsewhere."""
    if options.version == "0":
        return
    if options.version:
        wanted = int(options.version)
    else:
        _, wanted = await storage.get("/registry/revision/watch")
    if not await cache.wait_for(wanted, PATIENCE):
        raise errors.too_large_version(wanted, cache.revision)


async def _follow(
    outlet: Outlet, stream: Stream, watcher: Watcher, cache: Cache, options: WatchOptions, start: int
) -> bool:
    """Until the stream's time is over; False when the client has gone."""
    clock = asyncio.get_running_loop().time
    until = clock() + (options.seconds or SHORTEST_DEFAULT * random.uniform(1, 2))
    bookmark_at = clock() + BOOKMARK_EVERY * random.uniform(0.9, 1.1) if options.bookmarks else until
    written = float("-inf")
    while True:
        lines, size = [], 0
        while watcher.events and size < PIECE:
            event = watcher.events.popleft()
            if event.revision > start:
                lines.append(stream.line(event))
                size += len(lines[-1])
        text = b"".join(lines)
        if text:
            await outlet.write(text)
            written = clock()
            continue
        if watcher.closed:
            return True
        if outlet.left:
            return False
        now = clock()
        if options.bookmarks and (now >= bookmark_at or now >= until):
            await outlet.write(stream.bookmark(max(cache.revision, start)))
            bookmark_at = now + BOOKMARK_EVERY
        if now >= until:
            return True
        await watcher.wait(min(until - now, bookmark_at - now, LOOK_UP) + 0.001)
        if (early := written + GATHER - clock()) > 0:
            await asyncio.sleep(early)
