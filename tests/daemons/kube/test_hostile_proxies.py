"""Paths, headers, statuses and answers that a proxy could stumble over."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Iterator
from urllib.parse import urlsplit

import aiohttp
import pytest

from k8slab.kube.client import ApiError, KubeClient
from tests.daemons.kube.conftest import Api
from tests.daemons.kube.test_streams import add_node, add_pod


@pytest.fixture(autouse=True)
def no_traceback(api: Api) -> Iterator[None]:
    before = api.daemon.log.stat().st_size
    yield
    written = api.daemon.log.read_bytes()[before:].decode(errors="replace")
    assert "Traceback" not in written, written
    assert "never retrieved" not in written, written


class Raw:
    """Answers whatever it is told to; ``heads``: what it was asked."""

    def __init__(self) -> None:
        self.answer = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
        self.heads: list[bytes] = []

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            self.heads.append(await reader.readuntil(b"\r\n\r\n"))
            writer.write(self.answer)
            await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()


@pytest.fixture
async def behind(client: KubeClient, namespace: str) -> AsyncIterator[Raw]:
    """A node of the namespace's name."""
    raw = Raw()
    server = await asyncio.start_server(raw.serve, "127.0.0.1", 0)
    await add_node(client, namespace, server.sockets[0].getsockname()[1])
    async with server:
        yield raw
    await client.delete("nodes", namespace)


async def ask(api: Api, head: bytes) -> bytes:
    """The whole answer to a request that closes its connection."""
    place = urlsplit(api.url)
    reader, writer = await asyncio.open_connection(place.hostname, place.port)
    writer.write(head + b"\r\nHost: x\r\nConnection: close\r\n\r\n")
    async with asyncio.timeout(20):
        answer = await reader.read()
    writer.close()
    return answer


@pytest.mark.parametrize(
    ("rest", "sent"),
    [
        (b"/%ff%00%0d%0aX:y", b"/%ff%00%0d%0aX:y"),
        (b"//a//../b/./c", b"//a//../b/./c"),
        (b'/a|b{c}"d\\e^f`<g>', b'/a|b{c}"d\\e^f`<g>'),
        (b"/?", b"/"),
        (b"/x?a=%zz&&b", b"/x?a=%zz&&b"),
    ],
)
async def test_paths_are_sent_on_as_they_came(api: Api, behind: Raw, namespace: str, rest: bytes, sent: bytes) -> None:
    answer = await ask(api, b"GET /api/v1/nodes/%s/proxy%s HTTP/1.1" % (namespace.encode(), rest))
    assert answer.startswith(b"HTTP/1.1 200 "), answer
    assert behind.heads[0].split(b" ")[1] == sent


@pytest.mark.parametrize("seed", range(20))
async def test_any_path_and_header(api: Api, behind: Raw, namespace: str, seed: int) -> None:
    chance = random.Random(seed)
    printable = bytes(range(0x21, 0x7F)) + bytes(range(0x80, 0x100))
    rest = bytes(chance.choice(printable) for _ in range(chance.randrange(60)))
    value = bytes(chance.choice(printable) for _ in range(chance.randrange(60)))
    upgrade = b"\r\nConnection: upgrade\r\nUpgrade: " + value if seed % 2 else b""
    for place in (b"/api/v1/nodes/%s/proxy/" % namespace.encode(), b"/api/v1/nodes/", b"/api/v1/pods/x/exec?"):
        head = b"GET " + place + rest + b" HTTP/1.1\r\nX-Any: " + value + upgrade
        answer = await ask(api, head)
        assert answer.startswith((b"HTTP/1.1 ", b"HTTP/1.0 ")), answer
        assert not answer.startswith(b"HTTP/1.1 500"), answer


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\nX: \xff\xe9\r\nContent-Length: 2\r\n\r\nok",
        b"HTTP/1.1 302 Found\r\nLocation: /\xe9\xff\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 302 Found\r\nLocation: http://[\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 200 \r\nContent-Length: 2\r\n\r\nok",
        b"HTTP/1.1 204 No Content\r\n\r\n",
        b"HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n",
        b"HTTP/1.0 200 OK\r\n\r\nuntil the end",
        b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Encoding: gzip\r\nContent-Length: 3\r\n\r\nnot",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Type: text/html\r\n\r\n5\r\n<a hr\r\nzz",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz",
        b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nok",
        b"HTTP/1.1 999 What\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 101 Switching\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX: a\rb\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX Y: a\r\n: b\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: zz\r\n\r\n",
    ],
)
@pytest.mark.parametrize("upgrade", [b"", b"\r\nConnection: upgrade\r\nUpgrade: websocket"])
async def test_any_answer(api: Api, behind: Raw, namespace: str, answer: bytes, upgrade: bytes) -> None:
    behind.answer = answer
    head = b"GET /api/v1/nodes/%s/proxy/x HTTP/1.1%s" % (namespace.encode(), upgrade)
    got = await ask(api, head)
    assert got.startswith(b"HTTP/1."), got
    assert not got.startswith(b"HTTP/1.1 500"), got


async def test_statuses_that_name_no_place(api: Api, client: KubeClient, namespace: str) -> None:
    addresses = ["not an address", "a/b", "[::1", "::1%x", "\u00e9", "x:y", "127.0.0.1\r\nX: y"]
    async with aiohttp.ClientSession(api.url) as http:
        for number, address in enumerate(addresses):
            name = f"{namespace}-{number}"
            status = {"addresses": [{"type": "InternalIP", "address": address}]}
            await client.create("nodes", {"metadata": {"name": name}, "status": status})
            await add_pod(client, namespace, f"web{number}", node=name)
            with pytest.raises(ApiError, match="must be a valid IP address"):
                await client.patch(
                    "pods", f"web{number}", {"status": {"podIP": address}}, namespace, subresource="status"
                )
            inside = f"/api/v1/namespaces/{namespace}/pods/web{number}"
            headers = {"Connection": "Upgrade", "Upgrade": "SPDY/3.1"}
            for path, more in (
                (f"/api/v1/nodes/{name}/proxy/x", {}),
                (f"{inside}/proxy/x", {}),
                (f"{inside}/proxy/x", headers),
                (f"{inside}/log", {}),
                (f"{inside}/exec?command=x&stdout=true", headers),
            ):
                async with http.get(path, headers=more) as answer:
                    assert answer.status in (400, 500, 503), (address, path)
                    assert (await answer.json())["kind"] == "Status"
            await client.delete("nodes", name)
