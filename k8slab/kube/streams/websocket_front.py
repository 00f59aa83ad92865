"""Remote commands over WebSocket: messages whose first byte, or digit, names the channel."""

from __future__ import annotations

import asyncio
import base64
import binascii
import contextlib
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Final

from aiohttp import WSMsgType, web

from k8slab.kube.streams.carrier import FAREWELL
from k8slab.kube.streams.keepalive import watch_over
from k8slab.kube.streams.pipe import Pipe
from k8slab.kube.streams.session import Outcome, Session, Sink, Source, Wish
from k8slab.kube.streams.spdy_front import NoCommonProtocol

V5: Final = "v5.channel.k8s.io"
V4: Final = "v4.channel.k8s.io"
V4_BASE64: Final = "v4.base64.channel.k8s.io"
V1: Final = "channel.k8s.io"
V1_BASE64: Final = "base64.channel.k8s.io"
COMMANDS: Final = (V5, V4, V4_BASE64, V1, V1_BASE64, "")
LARGEST_MESSAGE: Final = 1 << 20

STDIN, STDOUT, STDERR, ERROR, RESIZE = range(5)
CLOSE: Final = 255
BAD_MESSAGE: Final = 1002


def negotiate(request: web.BaseRequest, served: Sequence[str]) -> str:
    """The first of the client's protocols that is served; "" when it names none. Raises NoCommonProtocol."""
    asked = [one.strip() for line in request.headers.getall("Sec-WebSocket-Protocol", []) for one in line.split(",")]
    for one in asked or [""]:
        if one in served:
            return one
    raise NoCommonProtocol(
        f"unable to negotiate protocol: client supports [{' '.join(asked)}], "
        f"server accepts [{' '.join(one for one in served if one)}]"
    )


async def open_socket(request: web.BaseRequest, protocol: str) -> web.WebSocketResponse:
    """Upgrade to a protocol that was negotiated. Raises aiohttp's HTTPBadRequest for what is no such handshake."""
    protocols = (protocol,) if protocol else ()
    socket = web.WebSocketResponse(protocols=protocols, compress=False, max_msg_size=LARGEST_MESSAGE)
    await socket.prepare(request)
    watch_over(request.transport)
    return socket


class Channels:
    """Numbered byte streams on one WebSocket; ``readable`` are those that the client may send on."""

    def __init__(self, socket: web.WebSocketResponse, protocol: str, readable: Sequence[int]) -> None:
        self.gone = asyncio.Event()
        self._socket = socket
        self._base64 = "base64" in protocol
        self._closes = protocol == V5
        self._pipes = {number: Pipe() for number in readable}

    def source(self, number: int) -> Source:
        return self._pipes[number]

    def sink(self, number: int) -> Sink:
        return _Channel(self, number)

    async def send(self, number: int, content: bytes) -> None:
        if self._socket.closed:
            raise ConnectionResetError("the client has gone")
        if self._base64:
            await self._socket.send_str(f"{number}{base64.b64encode(content).decode()}")
        else:
            await self._socket.send_bytes(bytes((number,)) + content)

    async def read(self) -> None:
        """Take in what the client sends, until it ends or breaks the rules."""
        try:
            while True:
                message = await self._socket.receive()
                if message.type is WSMsgType.BINARY:
                    good = await self._take(message.data)
                elif message.type is WSMsgType.TEXT:
                    good = await self._take(message.data.encode())
                else:
                    return
                if not good:
                    await self._socket.close(code=BAD_MESSAGE)
                    return
        finally:
            self.gone.set()
            for pipe in self._pipes.values():
                pipe.end()

    def abandon(self) -> None:
        for pipe in self._pipes.values():
            pipe.abandon()

    async def _take(self, message: bytes) -> bool:
        if not message:
            return True
        number, content = message[0], message[1:]
        if self._base64:
            number -= ord("0")
            try:
                content = base64.b64decode(content, validate=True)
            except binascii.Error:
                return False
        elif number == CLOSE and self._closes:
            pipe = self._pipes.get(content[0]) if content else None
            if pipe is None:
                return False
            pipe.end()
            return True
        pipe = self._pipes.get(number)
        if pipe is not None:
            await pipe.feed(content)
        return True


class _Channel:
    def __init__(self, channels: Channels, number: int) -> None:
        self._channels = channels
        self._number = number

    async def write(self, content: bytes) -> None:
        await self._channels.send(self._number, content)


class _Session:
    def __init__(self, socket: web.WebSocketResponse, channels: Channels, wish: Wish, protocol: str) -> None:
        self.answer = socket
        self.gone = channels.gone
        self.stdin = channels.source(STDIN) if wish.stdin else None
        self.stdout = channels.sink(STDOUT) if wish.stdout else None
        self.stderr = channels.sink(STDERR) if wish.stderr else None
        self.resizes = channels.source(RESIZE) if wish.tty else None
        self._error = channels.sink(ERROR)
        self._says_status = protocol in (V5, V4, V4_BASE64)

    async def finish(self, outcome: Outcome) -> None:
        words = outcome.status() if self._says_status else outcome.text().encode()
        if words:
            await self._error.write(words)


@asynccontextmanager
async def websocket_session(request: web.BaseRequest, wish: Wish) -> AsyncIterator[Session | None]:
    """Upgrade. Raises NoCommonProtocol, or aiohttp's HTTPBadRequest for what is no WebSocket's handshake."""
    protocol = negotiate(request, COMMANDS)
    socket = await open_socket(request, protocol)
    readable = [number for number, wished in ((STDIN, wish.stdin), (RESIZE, wish.tty)) if wished]
    channels = Channels(socket, protocol, readable)
    reading = asyncio.create_task(channels.read())
    try:
        # So that the client sees that it is connected before there is any output.
        await channels.send(STDOUT if wish.stdout else STDERR if wish.stderr else ERROR, b"")
        yield _Session(socket, channels, wish, protocol)
    finally:
        channels.abandon()
        await close(socket, reading)


async def close(socket: web.WebSocketResponse, reading: asyncio.Task[None]) -> None:
    """Say goodbye; a client that does not even take that in is left."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(FAREWELL):
            await socket.close(code=1000)
    reading.cancel()
    await asyncio.gather(reading, return_exceptions=True)
