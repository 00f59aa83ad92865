"""SPDY's streams on a carrier: whole, apart from each other, never more than a bound of them held."""

from __future__ import annotations

import asyncio
import random

import pytest

from k8slab.kube.spdy.frames import Reset
from k8slab.kube.streams.mux import Mux, Stream
from k8slab.kube.streams.pipe import LIMIT, PIECE, Pipe


class Wire:
    """One end of a carrier in memory: what it is fed, the other end reads."""

    def __init__(self, there: Pipe, here: Pipe) -> None:
        self.there, self.here = there, here

    async def read(self) -> bytes:
        return await self.here.read()

    async def write(self, content: bytes) -> None:
        await self.there.feed(content)

    async def close(self) -> None:
        self.there.end()
        self.here.abandon()


def joined() -> tuple[Mux, Mux]:
    one, other = Pipe(1 << 16), Pipe(1 << 16)
    return Mux(Wire(one, other), server=False), Mux(Wire(other, one), server=True)


async def accepted(mux: Mux) -> Stream:
    stream = await asyncio.wait_for(mux.accept(), 10)
    assert stream is not None
    return stream


async def whole(stream: Stream) -> bytes:
    content = b""
    while piece := await stream.read():
        content += piece
    return content


async def test_many_streams_at_once_arrive_whole() -> None:
    chance = random.Random(1)
    contents = [chance.randbytes(chance.randrange(1, 400_000)) for _ in range(20)]

    async def echo(stream: Stream) -> None:
        while piece := await stream.read():
            await stream.write(piece)
        await stream.finish()

    async def send(stream: Stream, content: bytes) -> None:
        for start in range(0, len(content), 30_000):
            await stream.write(content[start : start + 30_000])
        await stream.finish()

    client, server = joined()
    async with client.running(), server.running(), asyncio.timeout(30):
        async with asyncio.TaskGroup() as group:
            returned = []
            for content in contents:
                stream = await client.open({"streamtype": "data"})
                group.create_task(echo(await accepted(server)))
                group.create_task(send(stream, content))
                returned.append(group.create_task(whole(stream)))
        assert [task.result() for task in returned] == contents


async def test_a_stream_that_nobody_reads_stops_its_writer() -> None:
    client, server = joined()
    async with client.running(), server.running():
        stream = await client.open({})
        unread = await accepted(server)
        sent = 0

        async def send() -> None:
            nonlocal sent
            while True:
                await stream.write(b"x" * PIECE)
                sent += PIECE

        writing = asyncio.create_task(send())
        before = -1
        while sent != before:
            before = sent
            for _ in range(1000):
                await asyncio.sleep(0)
        assert not writing.done()
        assert sent < 4 * LIMIT + 4 * PIECE
        assert len(unread.incoming._held) <= LIMIT + PIECE
        received = 0
        while received < before:
            received += len(await unread.read())
        writing.cancel()


async def test_a_reset_is_heard_by_reader_and_writer() -> None:
    client, server = joined()
    async with client.running(), server.running(), asyncio.timeout(10):
        stream = await client.open({})
        there = await accepted(server)
        await there.reset(Reset.CANCEL)
        assert await stream.read() == b""
        await stream.cut.wait()
        with pytest.raises(ConnectionError):
            await stream.write(b"x")


async def test_the_carriers_end_is_the_streams_end() -> None:
    client, server = joined()
    async with server.running(), asyncio.timeout(10):
        async with client.running():
            await client.open({})
            there = await accepted(server)
        await server.gone.wait()
        assert await there.read() == b""
        assert await server.accept() is None
        with pytest.raises(ConnectionError):
            while True:
                await there.write(b"x" * PIECE)
