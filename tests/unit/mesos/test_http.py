from __future__ import annotations

import asyncio
from typing import Any

import pytest
from aiohttp import web

from k8slab.mesos.http import DEEPEST_JSON, EventStream, Routes, parse_json


class Peer:
    """The response a stream is written to; ``reads`` is whether anybody reads it."""

    def __init__(self, *, reads: bool = True) -> None:
        self.reads = reads
        self.received = b""

    async def write(self, chunk: bytes) -> None:
        self.received += chunk
        if not self.reads:
            await asyncio.Event().wait()


async def test_what_was_sent_before_the_end_arrives() -> None:
    stream, peer = EventStream(), Peer()
    stream.send({"type": "A"})
    stream.send({"type": "B"})
    stream.close()
    stream.send({"type": "C"})
    await stream.pump(peer)  # type: ignore[arg-type]
    assert peer.received == b'12\n{"type":"A"}12\n{"type":"B"}'


async def test_a_peer_that_does_not_read_is_cut_off() -> None:
    stream = EventStream(limit=100)
    pumping = asyncio.create_task(stream.pump(Peer(reads=False)))  # type: ignore[arg-type]
    await asyncio.sleep(0)
    for _ in range(20):
        stream.send({"type": "HEARTBEAT"})
        await asyncio.sleep(0)
    with pytest.raises(asyncio.CancelledError):
        await pumping
    assert stream.closed


@pytest.mark.parametrize(
    ("path", "found"),
    [
        ("/state", "state"),
        ("/master/state/", "state"),
        ("/api/v1/scheduler", "scheduler"),
        ("/api/v1/operator", "operator"),
        ("/master/api/v1", "operator"),
        ("/state/x", None),
        ("/statex", None),
        ("/api/../state", None),
        ("/", None),
        ("/master", None),
    ],
)
def test_routes(path: str, found: str | None) -> None:
    table = Routes("master")
    handlers: dict[str, Any] = {name: _handler() for name in ("state", "scheduler", "operator")}
    table.add("/state", handlers["state"])
    table.add("/api/v1/scheduler", handlers["scheduler"])
    table.add("/api/v1", handlers["operator"], prefix=True)
    assert table.find(path) is (handlers[found] if found else None)


def _handler() -> Any:
    async def handler(_request: web.Request) -> web.Response:
        return web.Response()

    return handler


@pytest.mark.parametrize("around", [(b"[", b"]"), (b'{"a":', b"}"), (b'[1,{"a":[],"b":', b"}]")])
def test_json_has_a_deepest_level(around: tuple[bytes, bytes]) -> None:
    begin, end = around
    levels = begin.count(b"[") + begin.count(b"{") - begin.count(b"[]")
    deepest = DEEPEST_JSON // levels
    parse_json(begin * deepest + b"1" + end * deepest)
    with pytest.raises(ValueError, match="nested deeper"):
        parse_json(begin * (deepest + 1) + b"1" + end * (deepest + 1))


def test_brackets_in_text_are_no_depth() -> None:
    assert parse_json(b'"' + b"[{" * 1000 + b'"') == "[{" * 1000
    assert len(parse_json(b"[" + b"[]," * 1000 + b"[]]")) == 1001
