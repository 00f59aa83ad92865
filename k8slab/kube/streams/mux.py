"""The streams of one SPDY connection, on whatever carries its bytes."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from k8slab.kube.spdy.connection import (
    LARGEST_PIECE,
    Connection,
    Event,
    Failed,
    Opened,
    Received,
    Replied,
    WasReset,
    WentAway,
    Widened,
)
from k8slab.kube.spdy.frames import GoAway, Headers, Reset
from k8slab.kube.streams.carrier import FAREWELL, Carrier
from k8slab.kube.streams.pipe import Pipe

log = logging.getLogger(__name__)

_WHOLE: Final = 0


class Stream:
    """``read`` gives no bytes at the end; ``write`` raises ConnectionError once nobody listens any more.

    ``cut`` is set when it was reset, or the connection is gone.
    """

    def __init__(self, mux: Mux, number: int, headers: Headers) -> None:
        self.number = number
        self.headers = headers
        self.incoming = Pipe()
        self.widened = asyncio.Event()
        self.cut = asyncio.Event()
        self._mux = mux

    async def read(self) -> bytes:
        content = await self.incoming.read()
        await self._mux.consumed(self, len(content))
        return content

    async def write(self, content: bytes) -> None:
        await self._mux.write(self, content)

    async def finish(self) -> None:
        """Nothing more will be written."""
        await self._mux.finish(self)

    async def reset(self, status: Reset = Reset.CANCEL) -> None:
        self.incoming.abandon()
        await self._mux.reset(self, status)


class Mux:
    """``accept`` gives the streams that the peer opens, each answered already; ``gone`` is set when no more can come.

    Ends with everything it holds when its context is left.
    """

    def __init__(self, carrier: Carrier, *, server: bool = True) -> None:
        self.gone = asyncio.Event()
        self._carrier = carrier
        self._connection = Connection(server=server)
        self._streams: dict[int, Stream] = {}
        self._accepted: asyncio.Queue[Stream | None] = asyncio.Queue()
        self._sending = asyncio.Lock()

    @asynccontextmanager
    async def running(self) -> AsyncIterator[Mux]:
        reading = asyncio.create_task(self._read())
        try:
            yield self
        finally:
            try:
                with contextlib.suppress(ConnectionError, TimeoutError):
                    async with asyncio.timeout(FAREWELL):
                        await self._end()
            finally:
                reading.cancel()
                await asyncio.gather(reading, return_exceptions=True)
                await self._carrier.close()

    async def accept(self) -> Stream | None:
        """The next stream; None when no more will come."""
        return await self._accepted.get()

    async def open(self, headers: Headers) -> Stream:
        stream = Stream(self, self._connection.open(headers), headers)
        self._streams[stream.number] = stream
        await self._flush()
        return stream

    async def consumed(self, stream: Stream, count: int) -> None:
        if count:
            self._connection.consumed(stream.number, count)
            # Its reader has the bytes whether or not the peer can still be told.
            with contextlib.suppress(ConnectionError):
                await self._flush()

    async def write(self, stream: Stream, content: bytes) -> None:
        view = memoryview(content)
        while view:
            if not self._connection.is_open(stream.number):
                raise ConnectionResetError("the stream is closed")
            room = self._connection.sendable(stream.number)
            if not room:
                stream.widened.clear()
                await stream.widened.wait()
                continue
            size = min(room, LARGEST_PIECE)
            self._connection.send(stream.number, view[:size])
            view = view[size:]
            await self._flush()

    async def finish(self, stream: Stream) -> None:
        self._connection.send(stream.number, b"", fin=True)
        await self._flush()

    async def reset(self, stream: Stream, status: Reset) -> None:
        self._connection.reset(stream.number, status)
        self._forget(stream.number)
        await self._flush()

    async def _read(self) -> None:
        try:
            while content := await self._carrier.read():
                for event in self._connection.receive(content):
                    await self._handle(event)
                await self._flush()
                if self._connection.over:
                    return
        except ConnectionError:
            return
        finally:
            self.gone.set()
            self._accepted.put_nowait(None)
            for number in list(self._streams):
                self._forget(number)

    async def _handle(self, event: Event) -> None:
        match event:
            case Opened():
                stream = Stream(self, event.stream, event.headers)
                self._streams[event.stream] = stream
                if event.fin:
                    stream.incoming.end()
                self._connection.reply(event.stream, {})
                self._accepted.put_nowait(stream)
            case Received():
                if found := self._streams.get(event.stream):
                    await found.incoming.feed(event.content)
                    if event.fin:
                        found.incoming.end()
            case Replied(fin=True):
                if found := self._streams.get(event.stream):
                    found.incoming.end()
            case WasReset():
                self._forget(event.stream)
            case Widened():
                for number, one in self._streams.items():
                    if event.stream in (_WHOLE, number):
                        one.widened.set()
            case WentAway():
                self.gone.set()
            case Failed():
                log.info("a stream's connection ended: %s", event.why)

    def _forget(self, number: int) -> None:
        """Its reader comes to the end, its writer finds it closed."""
        if stream := self._streams.pop(number, None):
            self._connection.reset(number, Reset.CANCEL)
            stream.incoming.end()
            stream.widened.set()
            stream.cut.set()

    async def _flush(self) -> None:
        async with self._sending:
            while out := self._connection.take():
                await self._carrier.write(out)

    async def _end(self) -> None:
        """Finish every stream, and say that there is nothing more."""
        for stream in list(self._streams.values()):
            stream.incoming.abandon()
            self._connection.send(stream.number, b"", fin=True)
        self._connection.end(GoAway.OK)
        await self._flush()
