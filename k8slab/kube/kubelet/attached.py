"""The streams of something that runs in the engine, on a connection that the engine has handed over."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Final

from k8slab.kube.streams.carrier import READ, Connection

_HEAD: Final = 8

Resize = Callable[[tuple[int, int]], Awaitable[None]]


class Attached:
    """A ``Process`` of ``k8slab.kube.streams.commands``. ``identity``: of an executed command, "" for a container."""

    def __init__(self, connection: Connection, *, tty: bool, resize: Resize, identity: str = "") -> None:
        self.identity = identity
        self._connection = connection
        self._tty = tty
        self._resize = resize

    async def output(self) -> AsyncIterator[tuple[int, bytes]]:
        """With a terminal all of it is stdout's; without, the engine says of each piece whose it is."""
        if self._tty:
            while content := await self._connection.read():
                yield 1, content
            return
        reader = self._connection.reader
        while True:
            try:
                head = await reader.readexactly(_HEAD)
            except (asyncio.IncompleteReadError, OSError):
                return
            number, left = head[0], int.from_bytes(head[4:])
            while left:
                content = await reader.read(min(left, READ))
                if not content:
                    return
                left -= len(content)
                yield number, content

    async def write(self, content: bytes) -> None:
        await self._connection.write(content)

    def end_input(self) -> None:
        self._connection.end()

    async def resize(self, width: int, height: int) -> None:
        await self._resize((width, height))

    def close(self) -> None:
        self._connection.abort()
