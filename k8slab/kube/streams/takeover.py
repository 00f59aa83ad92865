"""Taking a request's connection away from the HTTP server, for a protocol that is upgraded to."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Mapping
from typing import Any, Final, TypeVar

from aiohttp import web
from aiohttp.abc import AbstractStreamWriter

from k8slab.kube.streams.carrier import READ, Connection
from k8slab.kube.streams.keepalive import watch_over

T = TypeVar("T")

LOOK_UP: Final = 1.0


class Taken(web.StreamResponse):
    """What a handler returns whose connection is no longer the HTTP server's: nothing is written, it is closed."""

    def __init__(self) -> None:
        super().__init__(status=101)
        self.force_close()

    async def prepare(self, request: web.BaseRequest) -> AbstractStreamWriter | None:
        return None

    async def write_eof(self, data: bytes = b"") -> None:
        return None


class _Protocol(asyncio.StreamReaderProtocol):
    """Feeds a reader, and tells the HTTP server when the connection is lost: it still counts it as its own."""

    def __init__(self, reader: asyncio.StreamReader, former: asyncio.Protocol) -> None:
        super().__init__(reader)
        self._former = former

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self._former.connection_lost(exc)


def take(request: web.BaseRequest) -> Connection:
    """From here on the connection is the caller's, who must close it. Raises ConnectionResetError when it is gone."""
    transport = request.transport
    if transport is None or transport.is_closing():
        raise ConnectionResetError("the client has gone")
    former: Any = request.protocol
    reader = asyncio.StreamReader(limit=READ)
    protocol = _Protocol(reader, former)
    # What came behind the request's head, which the HTTP server has put aside.
    early: bytes = getattr(former, "_message_tail", b"")
    watch_over(transport)
    transport.set_protocol(protocol)
    protocol.connection_made(transport)
    if not transport.is_reading():
        transport.resume_reading()
    if early:
        reader.feed_data(early)
    loop = asyncio.get_running_loop()
    return Connection(reader, asyncio.StreamWriter(transport, protocol, reader, loop))


SWITCHING: Final = "HTTP/1.1 101 Switching Protocols"


async def switch(request: web.BaseRequest, protocol: str, headers: Mapping[str, str]) -> Connection:
    """Answer 101 for ``protocol``, and take the connection over."""
    taken = take(request)
    lines = [SWITCHING, "Connection: Upgrade", f"Upgrade: {protocol}", *(f"{k}: {v}" for k, v in headers.items())]
    await taken.write("\r\n".join([*lines, "", ""]).encode())
    return taken


def break_off(request: web.BaseRequest) -> ConnectionResetError:
    """For an answer that cannot be brought to its end: half of one must not look like a whole one."""
    if request.transport is not None:
        request.transport.close()
    return ConnectionResetError("the answer broke off")


async def while_there(request: web.BaseRequest, work: Awaitable[T]) -> T:
    """What ``work`` gives. Raises ConnectionResetError once the client has gone: nobody must be waited for in vain."""
    task = asyncio.ensure_future(work)
    try:
        while not (await asyncio.wait({task}, timeout=LOOK_UP))[0]:
            if request.transport is None or request.transport.is_closing():
                raise ConnectionResetError("the client has gone")
        return task.result()
    finally:
        if not task.done():
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


def upgrade_of(request: web.BaseRequest) -> str:
    """The protocol that the client wants to upgrade to, in lower case; empty for an ordinary request."""
    wishes = ",".join(request.headers.getall("Connection", [])).lower()
    if "upgrade" not in (wish.strip() for wish in wishes.split(",")):
        return ""
    return request.headers.get("Upgrade", "").strip().lower()
