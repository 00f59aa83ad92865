"""What carries a byte stream both ways: a connection, or the binary messages of a WebSocket."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Final, Protocol

from aiohttp import WSMsgType, web

READ: Final = 64 * 1024
FAREWELL: Final = 10.0


class Carrier(Protocol):
    async def read(self) -> bytes:
        """Some bytes; none once the peer has ended or is gone."""

    async def write(self, content: bytes) -> None:
        """Returns when the peer keeps up. Raises ConnectionError when it is gone."""

    async def close(self) -> None:
        """What was written still gets there."""


class Connection:
    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def read(self) -> bytes:
        try:
            return await self.reader.read(READ)
        except OSError:
            return b""

    async def write(self, content: bytes) -> None:
        if self.writer.is_closing():
            raise ConnectionResetError("the connection is closed")
        self.writer.write(content)
        await self.writer.drain()

    def end(self) -> None:
        """Nothing more will be written; the peer may go on."""
        with contextlib.suppress(OSError, RuntimeError):
            if self.writer.can_write_eof() and not self.writer.is_closing():
                self.writer.write_eof()
            else:
                self.writer.close()

    async def close(self) -> None:
        # Closing with bytes unread would make the kernel take back what the peer has not read yet.
        self.end()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(FAREWELL):
                while not self.writer.is_closing() and await self.read():
                    pass
        self.abort()

    def abort(self) -> None:
        self.writer.transport.abort()


class WebSocketTunnel:
    """Where messages begin and end means nothing."""

    def __init__(self, socket: web.WebSocketResponse) -> None:
        self._socket = socket

    async def read(self) -> bytes:
        while True:
            message = await self._socket.receive()
            if message.type is WSMsgType.BINARY:
                if message.data:
                    return bytes(message.data)
            elif message.type is WSMsgType.TEXT:
                await self._socket.close(code=1003, message=b"binary messages only")
                return b""
            else:
                return b""

    async def write(self, content: bytes) -> None:
        await self._socket.send_bytes(content)

    async def close(self) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(FAREWELL):
                await self._socket.close(code=1000)
