"""Bytes on their way from one task to another, never more than a bound of them."""

from __future__ import annotations

import asyncio
from typing import Final

LIMIT: Final = 128 * 1024
PIECE: Final = 64 * 1024


class Pipe:
    def __init__(self, limit: int = LIMIT) -> None:
        self._limit = limit
        self._held = bytearray()
        self._ended = False
        self._abandoned = False
        self._readable = asyncio.Event()
        self._writable = asyncio.Event()
        self._writable.set()

    async def feed(self, content: bytes) -> None:
        """Returns once less than the bound is held; what comes after the end or to an abandoned pipe is dropped."""
        if self._ended or self._abandoned or not content:
            return
        self._held += content
        self._readable.set()
        if len(self._held) >= self._limit:
            self._writable.clear()
            await self._writable.wait()

    def end(self) -> None:
        """What is held can still be read."""
        self._ended = True
        self._readable.set()

    def abandon(self) -> None:
        """Nobody will read any more."""
        self._abandoned = True
        self._held.clear()
        self._writable.set()
        self.end()

    async def read(self) -> bytes:
        """Some bytes; none at the end."""
        while not self._held and not self._ended:
            self._readable.clear()
            await self._readable.wait()
        content = bytes(self._held[:PIECE])
        del self._held[:PIECE]
        if len(self._held) < self._limit:
            self._writable.set()
        return content
