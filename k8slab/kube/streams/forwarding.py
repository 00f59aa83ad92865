"""Forwarded ports: each connection of the client's is two streams, one for its data and one for what goes wrong."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

from aiohttp import web

from k8slab.kube.spdy.frames import Reset
from k8slab.kube.streams.carrier import Carrier, Connection, WebSocketTunnel
from k8slab.kube.streams.mux import Mux, Stream
from k8slab.kube.streams.session import Sink
from k8slab.kube.streams.spdy_front import PROTOCOL_HEADER, UPGRADE
from k8slab.kube.streams.spdy_front import negotiate as negotiate_spdy
from k8slab.kube.streams.takeover import switch, upgrade_of
from k8slab.kube.streams.websocket_front import V4, V4_BASE64, Channels, close, negotiate, open_socket

log = logging.getLogger(__name__)

V1: Final = "portforward.k8s.io"
TUNNEL: Final = f"{UPGRADE}+{V1}"
WEBSOCKETS: Final = (TUNNEL, V4, V4_BASE64, "")
PAIR_SECONDS: Final = 30.0
MOST_PORTS: Final = 64


class Refused(Exception):
    """The sentence for the client's error stream."""


Dial = Callable[[int], Awaitable[Connection]]
"""To a port of the pod. Raises Refused."""


class Duplex(Protocol):
    """``cut`` is set once nobody is at the other end any more."""

    cut: asyncio.Event

    async def read(self) -> bytes: ...

    async def write(self, content: bytes) -> None: ...

    async def finish(self) -> None: ...


async def serve_forwarding(request: web.BaseRequest, ports: list[int], dial: Dial) -> web.StreamResponse | None:
    """Upgrade the request and forward until the client goes. ``ports``: those of the query, for plain WebSockets.

    The answer to give back is the WebSocket, or None for one that was taken over. Raises NoCommonProtocol.
    """
    if upgrade_of(request) != "websocket":
        protocol = negotiate_spdy(request, (V1,))
        await _pairs(await switch(request, UPGRADE, {PROTOCOL_HEADER: protocol}), dial)
        return None
    protocol = negotiate(request, WEBSOCKETS)
    socket = await open_socket(request, protocol)
    if protocol == TUNNEL:
        await _pairs(WebSocketTunnel(socket), dial)
    else:
        await _fixed_ports(socket, protocol, ports, dial)
    return socket


@dataclass
class _Pair:
    port: int
    data: Stream | None = None
    error: Stream | None = None
    complete: asyncio.Event = field(default_factory=asyncio.Event)


async def _pairs(carrier: Carrier, dial: Dial) -> None:
    async with Mux(carrier).running() as mux, _tasks() as start:
        waiting: dict[str, _Pair] = {}

        async def run(identity: str, pair: _Pair) -> None:
            try:
                async with asyncio.timeout(PAIR_SECONDS):
                    await pair.complete.wait()
            except TimeoutError:
                for stream in (pair.data, pair.error):
                    if stream is not None:
                        await stream.reset()
                return
            finally:
                waiting.pop(identity, None)
            assert pair.data is not None
            assert pair.error is not None
            await _forward(pair.port, pair.data, pair.error, dial)
            await pair.error.finish()

        while stream := await mux.accept():
            kind, port = stream.headers.get("streamtype", ""), _port(stream.headers.get("port", ""))
            if kind not in ("data", "error") or port is None:
                await stream.reset(Reset.PROTOCOL_ERROR)
                continue
            identity = stream.headers.get("requestid") or str(stream.number - (2 if kind == "data" else 0))
            pair = waiting.get(identity)
            if pair is None:
                pair = waiting[identity] = _Pair(port)
                start(run(identity, pair))
            if getattr(pair, kind) is not None or pair.port != port:
                await stream.reset(Reset.PROTOCOL_ERROR)
                continue
            setattr(pair, kind, stream)
            if pair.data and pair.error:
                pair.complete.set()


class _PortChannel:
    def __init__(self, channels: Channels, number: int) -> None:
        self.cut = channels.gone
        self._source = channels.source(number)
        self._sink = channels.sink(number)

    async def read(self) -> bytes:
        return await self._source.read()

    async def write(self, content: bytes) -> None:
        if content:
            await self._sink.write(content)

    async def finish(self) -> None:
        """This wire has no word for it."""


async def _fixed_ports(socket: web.WebSocketResponse, protocol: str, ports: list[int], dial: Dial) -> None:
    """Two channels for each port, each of which begins with the port's number; one connection to each."""
    channels = Channels(socket, protocol, [2 * index for index in range(len(ports))])
    reading = asyncio.create_task(channels.read())
    try:
        async with _tasks() as start:
            running = []
            for index, port in enumerate(ports):
                for number in (2 * index, 2 * index + 1):
                    await channels.send(number, port.to_bytes(2, "little"))
                channel = _PortChannel(channels, 2 * index)
                running.append(start(_forward(port, channel, channels.sink(2 * index + 1), dial)))
            await asyncio.wait(running)
    except ConnectionError:
        return
    finally:
        channels.abandon()
        await close(socket, reading)


async def _forward(port: int, stream: Duplex, error: Sink, dial: Dial) -> None:
    try:
        try:
            connection = await dial(port)
        except Refused as refused:
            await error.write(str(refused).encode())
            await stream.finish()
            return
        try:
            await _join(stream, connection)
        finally:
            connection.writer.close()
    except ConnectionError:
        log.debug("a forwarded connection to port %d was cut off", port)


async def _join(stream: Duplex, connection: Connection) -> None:
    async def upwards() -> None:
        while content := await stream.read():
            await connection.write(content)
        connection.end()

    async def downwards() -> None:
        while content := await connection.read():
            await stream.write(content)
        await stream.finish()

    # The pod's end decides: once it has said its last, nothing that is sent to it is answered.
    last, cut = asyncio.ensure_future(downwards()), asyncio.ensure_future(stream.cut.wait())
    async with _tasks() as start:
        start(upwards())
        try:
            await asyncio.wait((last, cut), return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in (last, cut):
                task.cancel()
            await asyncio.gather(last, cut, return_exceptions=True)


def _port(text: str) -> int | None:
    return int(text) if text.isascii() and text.isdigit() and 0 < int(text[:6]) < 1 << 16 else None


def ports_of(values: list[str]) -> list[int]:
    """Of a query's ``port=``: several, or several in one. Raises ValueError with a sentence."""
    texts = [one for value in values for one in value.split(",")]
    found = [_port(text.strip()) for text in texts]
    for text, port in zip(texts, found, strict=True):
        if port is None:
            raise ValueError(f"invalid port {text!r}")
    if len(found) > MOST_PORTS:
        raise ValueError(f"at most {MOST_PORTS} ports can be forwarded by one request")
    return [port for port in found if port is not None]


@asynccontextmanager
async def _tasks() -> AsyncIterator[Callable[[Coroutine[Any, Any, None]], asyncio.Task[None]]]:
    """Starts tasks that end with the block, and whose failures are nobody else's."""
    running: set[asyncio.Task[None]] = set()

    def ended(task: asyncio.Task[None]) -> None:
        running.discard(task)
        trouble = None if task.cancelled() else task.exception()
        if trouble is not None and not isinstance(trouble, ConnectionError):
            log.error("forwarding failed", exc_info=trouble)

    def start(work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(work)
        running.add(task)
        task.add_done_callback(ended)
        return task

    try:
        yield start
    finally:
        left = list(running)
        for task in left:
            task.cancel()
        await asyncio.gather(*left, return_exceptions=True)
