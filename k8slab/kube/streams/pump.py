"""Two connections joined: what one says the other hears, no faster than it listens, never looked into."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Final

from k8slab.kube.streams.carrier import Connection

LINGER: Final = 10.0


async def join(one: Connection, other: Connection) -> None:
    """Until both have ended, or one is gone. Once one side has ended, the other has a moment to say its last."""
    ways = {asyncio.create_task(_one_way(one, other)), asyncio.create_task(_one_way(other, one))}
    try:
        done, left = await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        if left and all(task.result() for task in done):
            await asyncio.wait(left, timeout=LINGER)
    finally:
        for task in ways:
            task.cancel()
        await asyncio.gather(*ways, return_exceptions=True)
        for connection in (one, other):
            connection.writer.close()


async def _one_way(source: Connection, sink: Connection) -> bool:
    """Whether the source ended properly and the sink was there to be told."""
    with contextlib.suppress(OSError):
        while content := await source.read():
            await sink.write(content)
        sink.end()
        return True
    return False
