"""The wires that kubectl does not use any more, or never did: SPDY's elder protocols, browsers' WebSockets."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest

from k8slab.kube.client import KubeClient
from tests.daemons.kube.conftest import Api
from tests.daemons.kube.kubelet import FakeKubelet, fake_kubelet
from tests.daemons.kube.spdy_client import answer_to, upgraded
from tests.daemons.kube.test_streams import add_node, add_pod
from tests.daemons.processes import free_port


@pytest.fixture
async def kubelet(client: KubeClient, namespace: str, tmp_path: Path) -> AsyncIterator[FakeKubelet]:
    async with fake_kubelet(tmp_path) as kubelet:
        await add_node(client, namespace, kubelet.port)
        await add_pod(client, namespace, "web", node=namespace)
        yield kubelet
    await client.delete("nodes", namespace)


@pytest.mark.parametrize(
    ("offered", "chosen", "told"),
    [
        (("v4.channel.k8s.io", "v3.channel.k8s.io"), "v4.channel.k8s.io", b'"reason":"NonZeroExitCode"'),
        (("v9.channel.k8s.io", "v3.channel.k8s.io"), "v3.channel.k8s.io", b"non-zero exit code: 3"),
        (("v2.channel.k8s.io",), "v2.channel.k8s.io", b"non-zero exit code: 3"),
        (("channel.k8s.io",), "channel.k8s.io", b"non-zero exit code: 3"),
        ((), "channel.k8s.io", b"non-zero exit code: 3"),
    ],
)
async def test_protocols_of_spdy(
    api: Api, kubelet: FakeKubelet, namespace: str, offered: tuple[str, ...], chosen: str, told: bytes
) -> None:
    headers = [f"X-Stream-Protocol-Version: {one}" for one in offered]
    query = "exec?command=/bin/sh&command=-c&command=echo+out;exit+3&stdout=true"
    client = await upgraded(api, namespace, query, *headers)
    assert f"x-stream-protocol-version: {chosen}" in client.head.lower()
    error = client.connection.open({"streamtype": "error"})
    stdout = client.connection.open({"streamtype": "stdout"})
    await client.flush()
    assert b"out\n" in await client.whole(stdout)
    assert told in await client.whole(error)
    client.writer.close()


async def test_a_protocol_that_nobody_knows(api: Api, kubelet: FakeKubelet, namespace: str) -> None:
    head = await answer_to(api, namespace, "exec?command=x&stdout=true", "X-Stream-Protocol-Version: v9.channel.k8s.io")
    assert head.startswith("HTTP/1.1 403 ")
    head = await answer_to(api, namespace, "portforward", "X-Stream-Protocol-Version: v4.channel.k8s.io")
    assert head.startswith("HTTP/1.1 403 ")


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
