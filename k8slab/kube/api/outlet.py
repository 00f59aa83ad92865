"""Where the lines of a watch go: a chunked answer, or a WebSocket for those who ask to upgrade (browsers do)."""

from __future__ import annotations

import asyncio
from typing import Final, Protocol

from aiohttp import WSCloseCode, web

# A reader that takes nothing for this long, in seconds, with its buffers full, is gone or as good as gone.
STUCK: Final = 30.0

# As much as a reader is given at once: one that is slow takes some of it in that time, and the rest waits here once.
SLICE: Final = 256 * 1024


class Outlet(Protocol):
    @property
    def response(self) -> web.StreamResponse: ...

    @property
    def left(self) -> bool:
        """Whether the reader has gone."""
        ...

    async def open(self) -> None: ...

    async def write(self, lines: bytes) -> None:
        """Whole lines. Raises ConnectionResetError when the reader has gone, or takes nothing for too long."""
        ...

    async def end(self) -> web.StreamResponse: ...


def outlet_for(request: web.BaseRequest) -> Outlet:
    if request.headers.get("Upgrade", "").lower() == "websocket":
        return _WebSocket(request)
    return _Chunks(request)


class _Chunks:
    def __init__(self, request: web.BaseRequest) -> None:
        self._request = request
        self.response = web.StreamResponse(
            headers={"Content-Type": "application/json", "Cache-Control": "no-cache, private"}
        )

    @property
    def left(self) -> bool:
        return self._request.transport is None or self._request.transport.is_closing()

    async def open(self) -> None:
        await self.response.prepare(self._request)

    async def write(self, lines: bytes) -> None:
        try:
            for start in range(0, len(lines), SLICE):
                async with asyncio.timeout(STUCK):
                    await self.response.write(memoryview(lines)[start : start + SLICE])
        except TimeoutError:
            if self._request.transport is not None:
                self._request.transport.abort()
            raise ConnectionResetError("the reader takes nothing") from None

    async def end(self) -> web.StreamResponse:
        await self.response.write_eof()
        return self.response


class _WebSocket:
    """One text message for each line."""

    def __init__(self, request: web.BaseRequest) -> None:
        self._request = request
        self.response = web.WebSocketResponse(heartbeat=STUCK, max_msg_size=4096)
        self._reading: asyncio.Task[None] | None = None

    @property
    def left(self) -> bool:
        return self.response.closed

    async def open(self) -> None:
        await self.response.prepare(self._request)
        self._reading = asyncio.create_task(self._read(), name="watch over WebSocket")

    async def _read(self) -> None:
        """What a reader says is of no interest, but its pings and its leaving are."""
        async for _ in self.response:
            pass

    async def write(self, lines: bytes) -> None:
        try:
            async with asyncio.timeout(STUCK):
                for line in lines.splitlines():
                    await self.response.send_str(line.decode())
        except TimeoutError:
            if self._request.transport is not None:
                self._request.transport.abort()
            raise ConnectionResetError("the reader takes nothing") from None

    async def end(self) -> web.StreamResponse:
        await self.response.close(code=WSCloseCode.OK)
        if self._reading is not None:
            self._reading.cancel()
        return self.response
