"""A SPDY client of the tests' own, which can do what a real one never would."""

from __future__ import annotations

import asyncio
from urllib.parse import urlsplit

from k8slab.kube.spdy.connection import Connection, Event, Received
from tests.daemons.kube.conftest import Api


class Spdy:
    """A client of the test's own."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, head: str = "") -> None:
        self.reader, self.writer, self.head = reader, writer, head
        self.connection = Connection(server=False)
        self.events: list[Event] = []

    async def flush(self) -> None:
        self.writer.write(self.connection.take())
        await self.writer.drain()

    async def until(self, kind: type[Event], count: int = 1) -> list[Event]:
        """The events of this kind, as soon as there are so many."""
        async with asyncio.timeout(30):
            while len(found := [one for one in self.events if isinstance(one, kind)]) < count:
                content = await self.reader.read(1 << 16)
                assert content, f"the connection ended before {kind.__name__}: {self.events[-3:]}"
                self.events += self.connection.receive(content)
        return found

    async def whole(self, stream: int) -> bytes:
        """All that came on a stream, once it has ended."""
        async with asyncio.timeout(30):
            while True:
                pieces = [one for one in self.events if isinstance(one, Received) and one.stream == stream]
                if pieces and pieces[-1].fin:
                    return b"".join(one.content for one in pieces)
                content = await self.reader.read(1 << 16)
                assert content, f"the connection ended before stream {stream}"
                self.events += self.connection.receive(content)

    async def ended(self) -> bytes:
        """What still came until the other side closed."""
        async with asyncio.timeout(30):
            try:
                return await self.reader.read()
            except ConnectionError:
                return b""


async def upgraded(api: Api, namespace: str, what: str, *headers: str) -> Spdy:
    reader, writer, head = await _asked(api, namespace, what, *headers)
    assert head.startswith("HTTP/1.1 101 "), head
    return Spdy(reader, writer, head)


async def answer_to(api: Api, namespace: str, what: str, *headers: str) -> str:
    """The head of an answer that may be a refusal."""
    _, writer, head = await _asked(api, namespace, what, *headers)
    writer.close()
    return head


async def _asked(
    api: Api, namespace: str, what: str, *headers: str
) -> tuple[asyncio.StreamReader, asyncio.StreamWriter, str]:
    place = urlsplit(api.url)
    reader, writer = await asyncio.open_connection(place.hostname, place.port)
    lines = [f"POST /api/v1/namespaces/{namespace}/pods/web/{what} HTTP/1.1", f"Host: {place.netloc}"]
    lines += ["Connection: Upgrade", "Upgrade: SPDY/3.1", *headers, "", ""]
    writer.write("\r\n".join(lines).encode())
    head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 20)
    return reader, writer, head.decode()
