"""Whoever speaks SPDY, WebSocket or HTTP wrongly, too much or too slowly is ended properly and costs little."""

from __future__ import annotations

import asyncio
import logging
import os
import random
from collections.abc import AsyncIterator
from pathlib import Path
from urllib.parse import urlsplit

import aiohttp
import pytest
from aiohttp import web

from k8slab.kube.client import KubeClient
from k8slab.kube.spdy.connection import MOST_STREAMS, Connection, Event, Received, Replied, WasReset, WentAway
from k8slab.kube.spdy.frames import GoAway, HeaderWriter, Reset, Type, control, data, words
from k8slab.kube.streams import spdy_front
from tests.daemons.kube.conftest import Api
from tests.daemons.kube.kubelet import FakeKubelet, fake_kubelet
from tests.daemons.kube.test_streams import add_node, add_pod
from tests.daemons.processes import eventually, free_port

EXEC = "exec?command=cat&stdin=true&stdout=true"


@pytest.fixture
async def kubelet(client: KubeClient, namespace: str, tmp_path: Path) -> AsyncIterator[FakeKubelet]:
    async with fake_kubelet(tmp_path) as kubelet:
        await add_node(client, namespace, kubelet.port)
        await add_pod(client, namespace, "web", node=namespace)
        yield kubelet
    await client.delete("nodes", namespace)


@pytest.fixture(autouse=True)
def no_traceback(api: Api, caplog: pytest.LogCaptureFixture) -> AsyncIterator[None]:
    """Neither the server nor the kubelet of this test has met anything that it did not expect."""
    before = api.daemon.log.stat().st_size
    yield
    written = api.daemon.log.read_bytes()[before:].decode(errors="replace")
    assert "Traceback" not in written, written
    assert "never retrieved" not in written, written
    assert [record for record in caplog.records if record.levelno >= logging.ERROR] == []


class Spdy:
    """A client of the test's own."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer
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

    async def ended(self) -> bytes:
        """What still came until the other side closed."""
        async with asyncio.timeout(30):
            try:
                return await self.reader.read()
            except ConnectionError:
                return b""


async def upgraded(api: Api, namespace: str, what: str, *headers: str) -> Spdy:
    place = urlsplit(api.url)
    reader, writer = await asyncio.open_connection(place.hostname, place.port)
    lines = [f"POST /api/v1/namespaces/{namespace}/pods/web/{what} HTTP/1.1", f"Host: {place.netloc}"]
    lines += ["Connection: Upgrade", "Upgrade: SPDY/3.1", *headers, "", ""]
    writer.write("\r\n".join(lines).encode())
    head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 20)
    assert head.startswith(b"HTTP/1.1 101 "), head
    return Spdy(reader, writer)


@pytest.mark.parametrize("seed", range(12))
async def test_bytes_that_are_no_spdy(api: Api, kubelet: FakeKubelet, namespace: str, seed: int) -> None:
    chance = random.Random(seed)
    client = await upgraded(api, namespace, EXEC if seed % 2 else "portforward")
    if seed % 3:
        kinds = [*Type, 5, 70]
        junk = b"".join(
            control(chance.choice(kinds), chance.randrange(256), chance.randbytes(chance.randrange(40)))
            for _ in range(50)
        )
        # Whatever the frames before did, this one breaks the rules.
        client.writer.write(junk + data(0, b"x", fin=False))
    else:
        client.writer.write(chance.randbytes(5_000))
        client.writer.write_eof()
    said = await client.ended()
    assert control(Type.GOAWAY, 0, b"")[:4] in said
    if seed % 3:
        assert said[-4:] == words(GoAway.PROTOCOL_ERROR)


async def test_a_header_bomb(api: Api, kubelet: FakeKubelet, namespace: str) -> None:
    client = await upgraded(api, namespace, EXEC)
    packed = HeaderWriter().block({"streamtype": "x" * 10_000_000})
    client.writer.write(control(Type.SYN_STREAM, 0, words(1, 0) + b"\0\0" + packed))
    assert await client.ended() == control(Type.GOAWAY, 0, words(0, GoAway.PROTOCOL_ERROR))


async def test_thousands_of_streams(api: Api, kubelet: FakeKubelet, namespace: str) -> None:
    client = await upgraded(api, namespace, "portforward")
    for number in range(5_000):
        client.connection.open({"streamtype": "error", "port": "80", "requestid": str(number)})
    await client.flush()
    refused = await client.until(WasReset, 5_000 - MOST_STREAMS)
    assert {one.status for one in refused if isinstance(one, WasReset)} == {Reset.REFUSED_STREAM}
    assert len(await client.until(Replied, MOST_STREAMS)) == MOST_STREAMS
    client.writer.close()


async def test_streams_that_nobody_asked_for(api: Api, kubelet: FakeKubelet, namespace: str) -> None:
    client = await upgraded(api, namespace, EXEC)
    client.connection.open({"streamtype": "nonsense"})
    for kind in ("error", "stdin", "stdout"):
        client.connection.open({"streamtype": kind})
    await client.flush()
    (reset,) = await client.until(WasReset)
    assert isinstance(reset, WasReset)
    assert reset.stream == 1
    client.connection.send(5, b"hello", fin=True)
    await client.flush()
    received = await client.until(Received)
    assert received[0] == Received(7, b"hello", fin=False)
    client.writer.close()


async def test_an_upgrade_that_goes_no_further(
    api: Api, kubelet: FakeKubelet, namespace: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(spdy_front, "STREAMS_SECONDS", 0.2)
    client = await upgraded(api, namespace, EXEC)
    client.connection.open({"streamtype": "error"})
    await client.flush()
    await client.until(WentAway)
    client.writer.close()


async def test_who_leaves_takes_the_command_along(api: Api, kubelet: FakeKubelet, namespace: str) -> None:
    pid = kubelet.directory / "pid"
    query = "exec?command=/bin/sh&command=-c&command=echo+$$+>+pid;exec+sleep+1000&stdout=true"
    client = await upgraded(api, namespace, query)
    for kind in ("error", "stdout"):
        client.connection.open({"streamtype": kind})
    await client.flush()

    async def begun() -> bool:
        return pid.exists() and pid.read_text().strip() != ""

    await eventually(begun, what="the command runs")
    process = Path("/proc") / pid.read_text().strip()
    client.writer.transport.abort()

    async def over() -> bool:
        return not process.exists()

    await eventually(over, what="the command has ended")


def resident(pid: int) -> int:
    fields = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
    return int(fields["VmRSS"].split()[0]) * 1024


@pytest.mark.parametrize("wire", ["spdy", "websocket"])
async def test_a_slow_reader_holds_the_command_up(api: Api, kubelet: FakeKubelet, namespace: str, wire: str) -> None:
    count = kubelet.directory / "count"
    script = f"while echo {'x' * 65_000}; do echo >> {count}; done"
    (kubelet.directory / "script").write_text(script)
    query = "exec?command=/bin/sh&command=script&stdout=true"
    before = resident(api.daemon.pid), resident(os.getpid())
    async with aiohttp.ClientSession(api.url) as http:
        if wire == "spdy":
            client = await upgraded(api, namespace, query, "X-Stream-Protocol-Version: v4.channel.k8s.io")
            for kind in ("error", "stdout"):
                client.connection.open({"streamtype": kind})
            await client.flush()
            close = client.writer.transport.abort
        else:
            path = f"/api/v1/namespaces/{namespace}/pods/web/{query}"
            url = aiohttp.client.URL(path, encoded=True)
            socket = await http.ws_connect(url, protocols=("v5.channel.k8s.io",))
            assert socket.protocol == "v5.channel.k8s.io"
            close = socket._response.close  # type: ignore[assignment]

        last = -1

        async def stands_still() -> bool:
            nonlocal last
            now = count.stat().st_size if count.exists() else 0
            still = 0 < now == last
            last = now
            return still

        await eventually(stands_still, interval=0.7, what="the command waits for its reader")
        grown = resident(api.daemon.pid) - before[0], resident(os.getpid()) - before[1]
        assert max(grown) < 16 << 20, grown
        assert last < 1000, "64 MiB went somewhere"
        close()


@pytest.mark.parametrize("seed", range(12))
async def test_frames_that_are_no_websocket(api: Api, kubelet: FakeKubelet, namespace: str, seed: int) -> None:
    chance = random.Random(seed)
    place = urlsplit(api.url)
    reader, writer = await asyncio.open_connection(place.hostname, place.port)
    what = EXEC if seed % 2 else "portforward"
    protocol = "v5.channel.k8s.io" if seed % 2 else "SPDY/3.1+portforward.k8s.io"
    lines = [f"GET /api/v1/namespaces/{namespace}/pods/web/{what} HTTP/1.1", f"Host: {place.netloc}"]
    lines += ["Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13"]
    lines += ["Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==", f"Sec-WebSocket-Protocol: {protocol}", "", ""]
    writer.write("\r\n".join(lines).encode())
    head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 20)
    assert b"101 Switching" in head
    # A reserved opcode in a masked frame, behind things that may mean something.
    messages = [masked(2, chance.randbytes(chance.randrange(1, 200))) for _ in range(seed)]
    writer.write(b"".join(messages) + masked(3, chance.randbytes(10)))
    async with asyncio.timeout(30):
        said = await reader.read()
    assert b"\x88" in said, "no close frame"
    writer.close()


def masked(opcode: int, content: bytes) -> bytes:
    size = bytes((0x80 | len(content),)) if len(content) < 126 else b"\xfe" + len(content).to_bytes(2)
    return bytes((0x80 | opcode,)) + size + b"\0\0\0\0" + content


async def test_a_message_that_is_too_long_or_for_no_channel(api: Api, kubelet: FakeKubelet, namespace: str) -> None:
    path = f"/api/v1/namespaces/{namespace}/pods/web/{EXEC}"
    async with aiohttp.ClientSession(api.url) as http:
        async with http.ws_connect(path, protocols=("v4.channel.k8s.io",)) as socket:
            await socket.send_bytes(b"\0" * (2 << 20))
            while (message := await socket.receive(30)).type is aiohttp.WSMsgType.BINARY:
                pass
            # The word may be lost: with the rest of the message unread, the kernel cuts the connection off.
            assert (message.type, message.data) in ((aiohttp.WSMsgType.CLOSE, 1009), (aiohttp.WSMsgType.CLOSED, None))
        async with http.ws_connect(path, protocols=("v5.channel.k8s.io",)) as socket:
            await socket.send_bytes(b"\xff\x09")
            while (message := await socket.receive(30)).type is aiohttp.WSMsgType.BINARY:
                pass
            assert (message.type, message.data) == (aiohttp.WSMsgType.CLOSE, 1002)
        with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
            await http.ws_connect(path, protocols=("v9.channel.k8s.io",))
        assert refused.value.status == 403
        async with http.get(path) as answer:
            assert (answer.status, (await answer.json())["message"]) == (400, "Upgrade request required")
        async with http.put(path) as answer:
            assert answer.status == 405


@pytest.mark.parametrize(
    ("protocol", "decode"),
    [("channel.k8s.io", bytes), ("v4.channel.k8s.io", bytes), ("base64.channel.k8s.io", None)],
)
async def test_browsers_protocols(
    api: Api, kubelet: FakeKubelet, namespace: str, protocol: str, decode: object
) -> None:
    path = f"/api/v1/namespaces/{namespace}/pods/web/exec?command=/bin/sh&command=-c&command=echo+hi&stdout=true"
    said = []
    async with aiohttp.ClientSession(api.url) as http, http.ws_connect(path, protocols=(protocol,)) as socket:
        assert socket.protocol == protocol
        async for message in socket:
            said.append(message.data)
    if decode is None:
        assert said == ["1", "1aGkK"]
    elif protocol == "v4.channel.k8s.io":
        assert said == [b"\1", b"\1hi\n", b'\3{"metadata":{},"status":"Success"}']
    else:
        assert said == [b"\1", b"\1hi\n"]


async def test_logs_as_messages(api: Api, kubelet: FakeKubelet, namespace: str) -> None:
    path = f"/api/v1/namespaces/{namespace}/pods/web/log"
    async with aiohttp.ClientSession(api.url) as http:
        for protocols, expected in (((), b"one\ntwo\n"), (("base64.binary.k8s.io",), "b25lCnR3bwo=")):
            async with http.ws_connect(path, protocols=protocols) as socket:
                assert [message.data async for message in socket] == [expected]
                assert socket.close_code == 1000
        headers = {"Connection": "Upgrade", "Upgrade": "websocket"}
        async with http.get(path, headers=headers) as answer:
            assert answer.status == 400
            assert (await answer.json())["reason"] == "BadRequest"
        with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
            await http.ws_connect(path, protocols=("v4.channel.k8s.io",))
        assert refused.value.status == 403


async def test_a_log_is_not_followed_for_nobody(api: Api, kubelet: FakeKubelet, namespace: str) -> None:
    path = f"/api/v1/namespaces/{namespace}/pods/web/log?follow=true"
    async with aiohttp.ClientSession(api.url) as http, http.get(path) as answer:
        assert await answer.content.readexactly(8) == b"one\ntwo\n"
    await asyncio.wait_for(kubelet.follower_left.wait(), 20)


async def test_ports_forwarded_over_plain_websockets(api: Api, kubelet: FakeKubelet, namespace: str) -> None:
    async def shout(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while content := await reader.read(1 << 16):
            writer.write(content.upper())
        writer.close()

    server = await asyncio.start_server(shout, "127.0.0.1", 0)
    port, nobody = server.sockets[0].getsockname()[1], free_port()
    path = f"/api/v1/namespaces/{namespace}/pods/web/portforward?ports={port}&ports={nobody}"
    async with server, aiohttp.ClientSession(api.url) as http:
        async with http.ws_connect(path, protocols=("v4.channel.k8s.io",)) as socket:
            heard = dict.fromkeys(range(4), b"")

            async def until(number: int, expected: bytes) -> None:
                while expected not in heard[number]:
                    message = await socket.receive_bytes(timeout=20)
                    heard[message[0]] += message[1:]

            for number, one in enumerate((port, port, nobody, nobody)):
                await until(number, one.to_bytes(2, "little"))
            await socket.send_bytes(b"\0hello")
            await until(0, b"HELLO")
            await until(3, f"dial tcp 127.0.0.1:{nobody}: connect: connection refused".encode())
        with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
            await http.ws_connect(path.replace(str(nobody), "0"), protocols=("v4.channel.k8s.io",))
        assert refused.value.status == 400


async def test_kubelets_that_talk_nonsense(api: Api, client: KubeClient, namespace: str) -> None:
    answers: list[bytes] = []

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answers[0])
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    await add_node(client, namespace, server.sockets[0].getsockname()[1])
    await add_pod(client, namespace, "web", node=namespace)
    base = f"/api/v1/namespaces/{namespace}/pods/web"
    headers = {"Connection": "Upgrade", "Upgrade": "SPDY/3.1"}
    async with server, aiohttp.ClientSession(api.url) as http:
        for said in (b"", b"\0\xff nonsense\r\n\r\n", b"HTTP/1.1 200 OK\r\n" + b"x: y\r\n" * 50_000, b"HTTP/1.1 2"):
            answers[:] = [said]
            async with http.post(f"{base}/exec?command=x&stdout=1", headers=headers) as got:
                assert got.status == 500
                assert (await got.json())["message"].startswith("error dialing backend: ")
            async with http.get(f"{base}/log") as got:
                assert got.status == 500
                assert (await got.json())["kind"] == "Status"
            async with http.get(f"/api/v1/nodes/{namespace}/proxy/x") as got:
                assert got.status == 503
                assert (await got.json())["message"].startswith("error trying to reach service: ")
        answers[:] = [b"HTTP/1.1 500 No\r\nContent-Length: 1000000\r\n\r\nhalf"]
        async with http.post(f"{base}/exec?command=x&stdout=1", headers=headers) as got:
            assert got.status == 500
    await client.delete("nodes", namespace)


async def test_uploads_that_break_off(api: Api, client: KubeClient, namespace: str) -> None:
    began, over = asyncio.Event(), asyncio.Event()

    async def take(request: web.Request) -> web.Response:
        began.set()
        try:
            await request.read()
        finally:
            over.set()
        return web.Response()

    app = web.Application(client_max_size=1 << 30)
    app.router.add_route("*", "/{rest:.*}", take)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    await add_node(client, namespace, runner.addresses[0][1])
    place = urlsplit(api.url)
    _, writer = await asyncio.open_connection(place.hostname, place.port)
    head = f"POST /api/v1/nodes/{namespace}/proxy/x HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n\r\n"
    writer.write(head.encode() + b"half")
    await asyncio.wait_for(began.wait(), 20)
    writer.transport.abort()
    await asyncio.wait_for(over.wait(), 20)
    await runner.cleanup()
    await client.delete("nodes", namespace)
