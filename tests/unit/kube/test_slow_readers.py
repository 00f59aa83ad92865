"""Readers of watches who are slow, or hopelessly behind: what is kept for them, and for how long."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from aiohttp import web

from k8slab.kube.api import outlet, watching
from k8slab.kube.api.cache import Cache, Entry, Event, Watcher
from k8slab.kube.api.kinds.small import CONFIG_MAP
from k8slab.kube.api.negotiation import Wanted
from k8slab.kube.api.outlet import outlet_for
from k8slab.kube.api.selectors import EVERYTHING
from k8slab.kube.api.storage.memory import MemoryStorage
from k8slab.kube.api.watching import PIECE, Stream, WatchOptions


def event(revision: int, size: int = 1) -> Event:
    body = {"metadata": {"name": "c", "namespace": "n"}, "data": {"a": "x" * size}}
    return Event(revision, Entry(CONFIG_MAP, CONFIG_MAP.key("n", "c"), CONFIG_MAP.encode(body), revision), None)


def test_nothing_more_is_kept_for_who_is_cut_off() -> None:
    watcher = Watcher(2)
    for revision in range(1, 10):
        watcher.push(event(revision))
    assert watcher.closed
    assert [one.revision for one in watcher.events] == [1, 2, 3]


class Recording:
    """An outlet that notes how much it is given at once."""

    left = False
    response: Any = None

    def __init__(self) -> None:
        self.sizes: list[int] = []

    async def open(self) -> None: ...

    async def write(self, lines: bytes) -> None:
        self.sizes.append(len(lines))

    async def end(self) -> web.StreamResponse:
        return web.StreamResponse()


async def test_a_long_backlog_is_told_in_pieces() -> None:
    watcher, told = Watcher(1000), Recording()
    for revision in range(1, 401):
        watcher.push(event(revision, 20_000))
    watcher.close()
    options = WatchOptions(EVERYTHING)
    stream = Stream(CONFIG_MAP, CONFIG_MAP.prefix, options, Wanted())
    assert await watching._follow(told, stream, watcher, Cache(MemoryStorage(), ()), options, 0)
    assert sum(told.sizes) > 400 * 20_000
    assert max(told.sizes) < PIECE + 30_000


async def test_who_reads_slowly_but_reads_is_not_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    """All of it takes several times as long as a reader may take nothing."""
    monkeypatch.setattr(outlet, "STUCK", 1.0)
    size = 24 << 20

    async def handle(request: web.BaseRequest) -> web.StreamResponse:
        out = outlet_for(request)
        await out.open()
        await out.write(b"x" * size)
        return await out.end()

    server = await asyncio.get_running_loop().create_server(web.Server(handle), "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=32 << 10)
    writer.write(b"GET / HTTP/1.0\r\n\r\n")
    read, began = 0, asyncio.get_running_loop().time()
    while piece := await reader.read(64 << 10):
        read += len(piece)
        await asyncio.sleep(0.005)
    assert read >= size
    assert asyncio.get_running_loop().time() - began > outlet.STUCK
    writer.close()
    server.close()
