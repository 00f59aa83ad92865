"""Requests to pods, services and nodes through the API server, straight and behind kubectl proxy."""

from __future__ import annotations

import asyncio
import gzip
import hashlib
import os
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aiohttp
import pytest
from aiohttp import web

from k8slab.kube.client import KubeClient
from tests.daemons.kube.conftest import Api, Kubectl
from tests.daemons.kube.test_streams import add_node, add_pod
from tests.daemons.processes import free_port

BIG = 8 << 20


class Backend:
    """A web server of the test's own; ``base``: its place below the API server's address, as pod, service, node."""

    def __init__(self) -> None:
        self.port = 0
        self.go_on = asyncio.Event()
        self.gone = asyncio.Event()

    def application(self) -> web.Application:
        app = web.Application(client_max_size=2 * BIG)
        app.router.add_get("/page", self._page)
        app.router.add_get("/packed", self._packed)
        app.router.add_get("/slow", self._slow)
        app.router.add_get("/forever", self._forever)
        app.router.add_get("/socket", self._socket)
        app.router.add_get("/away", self._away)
        app.router.add_get("/big", self._big)
        app.router.add_get("/half", self._half)
        app.router.add_route("*", "/{rest:.*}", self._echo)
        return app

    async def _echo(self, request: web.Request) -> web.Response:
        body = await request.read()
        shown = {
            "method": request.method,
            "target": request.raw_path,
            "headers": dict(request.headers),
            "size": len(body),
            "digest": hashlib.sha256(body).hexdigest(),
        }
        status = int(request.query.get("status", "200"))
        return web.json_response(shown, status=status, headers={"X-Own": "yes"})

    async def _page(self, request: web.Request) -> web.Response:
        text = '<a href="/a/b?c=d#e">x</a><img src=\'i.png\'><a href="http://other/">y</a><p>href="/z"</p>'
        return web.Response(text=text, content_type="text/html")

    async def _packed(self, request: web.Request) -> web.Response:
        body = gzip.compress(b'<form action="/go">')
        return web.Response(body=body, headers={"Content-Type": "text/html", "Content-Encoding": "gzip"})

    async def _slow(self, request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        await response.write(b"first")
        await self.go_on.wait()
        await response.write(b"second")
        return response

    async def _forever(self, request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        try:
            while True:
                await response.write(b"x" * 65536)
        finally:
            self.gone.set()

    async def _socket(self, request: web.Request) -> web.WebSocketResponse:
        socket = web.WebSocketResponse(protocols=("shout",))
        await socket.prepare(request)
        async for message in socket:
            await socket.send_str(message.data.upper())
        return socket

    async def _away(self, request: web.Request) -> web.Response:
        to = request.query.get("to", "/elsewhere?x=1").replace("SELF", f"http://127.0.0.1:{self.port}")
        return web.Response(status=302, headers={"Location": to})

    async def _big(self, request: web.Request) -> web.Response:
        return web.Response(body=b"0123456789abcdef" * (BIG // 16))

    async def _half(self, request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Length": "100"})
        await response.prepare(request)
        await response.write(b"half")
        assert request.transport is not None
        request.transport.close()
        return response


@pytest.fixture
async def backend(client: KubeClient, namespace: str) -> AsyncIterator[Backend]:
    """A pod "web", a service "web" with port "http" 80, and a node of the namespace's name, all of them the backend."""
    made = Backend()
    runner = web.AppRunner(made.application(), access_log=None, shutdown_timeout=0.5)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    made.port = runner.addresses[0][1]
    await add_node(client, namespace, made.port)
    await add_pod(client, namespace, "web", node=namespace)
    spec = {"ports": [{"name": "http", "port": 80}, {"name": "other", "port": 81}]}
    await client.create("services", {"metadata": {"name": "web"}, "spec": spec}, namespace)
    subset = {"addresses": [{"ip": "127.0.0.1"}], "ports": [{"name": "http", "port": made.port}]}
    await client.create("endpoints", {"metadata": {"name": "web"}, "subsets": [subset]}, namespace)
    yield made
    await runner.cleanup()
    await client.delete("nodes", namespace)


@pytest.fixture(params=["pods", "services", "nodes"])
def base(request: pytest.FixtureRequest, backend: Backend, namespace: str) -> str:
    return {
        "pods": f"/api/v1/namespaces/{namespace}/pods/web:{backend.port}/proxy",
        "services": f"/api/v1/namespaces/{namespace}/services/web:http/proxy",
        "nodes": f"/api/v1/nodes/{namespace}:{backend.port}/proxy",
    }[request.param]


@pytest.fixture
async def http(api: Api) -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession(api.url) as session:
        yield session


@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"])
async def test_method_path_query_and_headers(http: aiohttp.ClientSession, base: str, method: str) -> None:
    url = aiohttp.client.URL(f"{base}/a%2Fb/c?d=e&f=%20g", encoded=True)
    headers = {"X-Mine": "1", "Accept-Encoding": "identity", "X-Forwarded-For": "10.9.9.9", "Connection": "close"}
    async with http.request(method, url, headers=headers, data=b"body") as answer:
        assert (answer.status, answer.headers["X-Own"]) == (200, "yes")
        shown = await answer.json()
    assert (shown["method"], shown["target"], shown["size"]) == (method, "/a%2Fb/c?d=e&f=%20g", 4)
    assert shown["headers"]["X-Mine"] == "1"
    assert shown["headers"]["X-Forwarded-For"] == "10.9.9.9, 127.0.0.1"
    assert shown["headers"]["X-Forwarded-Uri"] == f"{base}/a%2Fb/c"
    assert shown["headers"]["Host"].startswith("127.0.0.1:")
    async with http.get(f"{base}/x?status=418") as answer:
        assert answer.status == 418
    async with http.head(f"{base}/big") as answer:
        assert (answer.status, answer.headers["Content-Length"]) == (200, str(BIG))


async def test_bodies_of_any_size_go_through(http: aiohttp.ClientSession, base: str) -> None:
    body = os.urandom(BIG)

    async def pieces() -> AsyncIterator[bytes]:
        for start in range(0, BIG, 100_000):
            yield body[start : start + 100_000]

    for data, headers in ((body, {"Expect": "100-continue"}), (pieces(), {})):
        async with http.post(f"{base}/up", data=data, headers=headers) as answer:
            shown = await answer.json()
        assert (shown["size"], shown["digest"]) == (BIG, hashlib.sha256(body).hexdigest())
    async with http.get(f"{base}/big") as answer:
        assert await answer.read() == b"0123456789abcdef" * (BIG // 16)


async def test_an_answer_comes_as_it_is_made(http: aiohttp.ClientSession, base: str, backend: Backend) -> None:
    async with http.get(f"{base}/slow") as answer:
        assert await asyncio.wait_for(answer.content.readexactly(5), 20) == b"first"
        backend.go_on.set()
        assert await answer.content.read() == b"second"


async def test_who_leaves_is_not_read_for(http: aiohttp.ClientSession, base: str, backend: Backend) -> None:
    async with http.get(f"{base}/forever") as answer:
        await answer.content.readexactly(1 << 20)
    await asyncio.wait_for(backend.gone.wait(), 20)


async def test_half_an_answer_is_no_answer(http: aiohttp.ClientSession, base: str) -> None:
    async with http.get(f"{base}/half") as answer:
        with pytest.raises(aiohttp.ClientPayloadError):
            await answer.read()


async def test_addresses_lead_back_through_the_proxy(http: aiohttp.ClientSession, base: str) -> None:
    async with http.get(base + "?a=b", allow_redirects=False) as answer:
        assert (answer.status, answer.headers["Location"]) == (301, f"{base}/?a=b")
    for given, expected in (
        ("/elsewhere?x=1", f"{base}/elsewhere?x=1"),
        ("SELF/own", f"{base}/own"),
        ("relative", "relative"),
        ("http://other.example/x", "http://other.example/x"),
        (f"{base}/already", f"{base}/already"),
    ):
        async with http.get(f"{base}/away", params={"to": given}, allow_redirects=False) as answer:
            assert answer.status == 302
            if given == "SELF/own" and "pods" not in base and "nodes" not in base:
                assert answer.headers["Location"].endswith("/own")
            else:
                assert answer.headers["Location"] == expected
    async with http.get(f"{base}/page") as answer:
        rewritten = f'<a href="{base}/a/b?c=d#e">x</a>'
        assert await answer.text() == f'{rewritten}<img src=\'i.png\'><a href="http://other/">y</a><p>href="/z"</p>'
    async with http.get(f"{base}/packed") as answer:
        assert await answer.text() == f'<form action="{base}/go">'


async def test_websockets_go_through(http: aiohttp.ClientSession, base: str) -> None:
    async with http.ws_connect(f"{base}/socket", protocols=("shout",)) as socket:
        assert socket.protocol == "shout"
        for number in range(100):
            await socket.send_str(f"hello {number}")
            assert await socket.receive_str() == f"HELLO {number}"
    with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
        await http.ws_connect(f"{base}/x?status=403")
    assert refused.value.status == 403


async def test_what_cannot_be_reached(
    http: aiohttp.ClientSession, client: KubeClient, backend: Backend, namespace: str
) -> None:
    inside = f"/api/v1/namespaces/{namespace}"
    nowhere = free_port()
    await client.create("services", {"metadata": {"name": "lonely"}, "spec": {"ports": [{"port": 80}]}}, namespace)
    await client.create("endpoints", {"metadata": {"name": "lonely"}}, namespace)
    await add_pod(client, namespace, "portless", node=namespace)
    cases = {
        f"{inside}/pods/none/proxy/": (404, "NotFound", 'pods "none" not found'),
        f"{inside}/pods/web:99999/proxy/": (400, "BadRequest", 'invalid pod request "web:99999"'),
        f"{inside}/pods/a:b:c:d/proxy/": (400, "BadRequest", 'invalid pod request "a:b:c:d"'),
        f"{inside}/pods/web:{nowhere}/proxy/": (
            503,
            "ServiceUnavailable",
            f"error trying to reach service: dial tcp 127.0.0.1:{nowhere}: connect: connection refused",
        ),
        f"{inside}/services/none/proxy/": (404, "NotFound", 'endpoints "none" not found'),
        f"{inside}/services/lonely/proxy/": (
            503,
            "ServiceUnavailable",
            'no endpoints available for service "lonely"',
        ),
        f"{inside}/services/web:81/proxy/": (503, "ServiceUnavailable", 'no endpoints available for service "web:81"'),
        f"{inside}/services/web:82/proxy/": (
            503,
            "ServiceUnavailable",
            'no service port 82 found for service "web"',
        ),
        "/api/v1/nodes/none/proxy/": (404, "NotFound", 'nodes "none" not found'),
        f"{inside}/configmaps/x/proxy": (404, "NotFound", "the server could not find the requested resource"),
    }
    for path, (code, reason, message) in cases.items():
        async with http.get(path) as answer:
            status = await answer.json()
        assert (answer.status, status["kind"], status["reason"], status["message"]) == (code, "Status", reason, message)


@asynccontextmanager
async def proxied(kubectl: Kubectl) -> AsyncIterator[str]:
    command = [kubectl.binary, "--server", kubectl.server, "proxy", "--port=0"]
    env = {"HOME": str(kubectl.home), "PATH": os.environ["PATH"]}
    process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE, env=env)
    try:
        assert process.stdout is not None
        line = (await asyncio.wait_for(process.stdout.readline(), 20)).decode()
        found = re.search(r"127\.0\.0\.1:\d+", line)
        assert found is not None, line
        yield f"http://{found[0]}"
    finally:
        process.terminate()
        await process.wait()


async def test_kubectl_proxy(kubectl: Kubectl, backend: Backend, namespace: str) -> None:
    inside = f"/api/v1/namespaces/{namespace}"
    async with proxied(kubectl) as url, aiohttp.ClientSession(url) as http:
        async with http.get(f"{inside}/services/http:web:80/proxy/some/where?a=b") as answer:
            assert (await answer.json())["target"] == "/some/where?a=b"
        async with http.get(f"{inside}/pods/web") as answer:
            assert (await answer.json())["metadata"]["name"] == "web"
        command = ["curl", "-sS", "-d", "@-", f"{url}{inside}/services/web:http/proxy/posted"]
        pipe = asyncio.subprocess.PIPE
        curl = await asyncio.create_subprocess_exec(*command, stdin=pipe, stdout=pipe)
        out, _ = await curl.communicate(b"x" * 100_000)
        assert b'"size": 100000' in out
