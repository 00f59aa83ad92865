"""Single probes, against servers that are really there."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from aiohttp import web

from k8slab.kube.kubelet.probes import ProbeError, Result, Target, port_of, probe


def target(**container: Any) -> Target:
    engine: Any = None
    return Target(engine, "id", {"name": "web", **container}, "127.0.0.1")


@pytest.fixture
async def port() -> AsyncIterator[int]:
    async def echo(request: web.Request) -> web.Response:
        return web.Response(text=f"{request.headers.get('User-Agent')} {request.headers.get('X')} {request.host}")

    async def status(request: web.Request) -> web.Response:
        headers = {"Location": request.query["to"]} if "to" in request.query else {}
        return web.Response(status=int(request.match_info["status"]), text="said", headers=headers)

    async def slow(request: web.Request) -> web.Response:
        await asyncio.sleep(30)
        return web.Response()

    app = web.Application()
    app.add_routes([web.get("/", echo), web.get("/status/{status}", status), web.get("/slow", slow)])
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    yield runner.addresses[0][1]
    await runner.cleanup()


@pytest.mark.parametrize(
    ("path", "well", "said", "warning"),
    [
        ("/status/200", True, "said", False),
        ("/status/399", True, "Probe terminated redirects, Response body: said", True),
        ("/status/400", False, "HTTP probe failed with statuscode: 400", False),
        ("/status/503", False, "HTTP probe failed with statuscode: 503", False),
        ("/status/302?to=/status/200", True, "said", False),
        ("/status/302?to=/status/500", False, "HTTP probe failed with statuscode: 500", False),
        ("/status/302?to=http://elsewhere/", True, "Probe terminated redirects, Response body: said", True),
        ("status/200", True, "said", False),
    ],
)
async def test_http(port: int, path: str, well: bool, said: str, warning: bool) -> None:
    result = await probe(target(), {"httpGet": {"port": port, "path": path}})
    assert (result.well, result.said, result.warning, result.answered) == (well, said, warning, True)


async def test_http_introduces_itself(port: int) -> None:
    headers = [{"name": "X", "value": "1"}, {"name": "Host", "value": "www.example.com"}]
    result = await probe(target(), {"httpGet": {"port": port, "httpHeaders": headers}})
    assert result.said == "kube-probe/1.32 1 www.example.com"


async def test_http_without_an_answer(port: int) -> None:
    result = await probe(target(), {"httpGet": {"port": port, "path": "/slow"}, "timeoutSeconds": 1})
    why = "context deadline exceeded (Client.Timeout exceeded while awaiting headers)"
    assert result == Result(False, f'Get "http://127.0.0.1:{port}/slow": {why}')
    result = await probe(target(), {"httpGet": {"port": 1, "path": "/x"}})
    assert result.said == 'Get "http://127.0.0.1:1/x": dial tcp 127.0.0.1:1: connect: connection refused'


async def test_tcp(port: int) -> None:
    named = target(ports=[{"name": "http", "containerPort": port}])
    assert await probe(named, {"tcpSocket": {"port": "http"}}) == Result(True)
    assert (await probe(named, {"tcpSocket": {"port": 1}})).said == "dial tcp 127.0.0.1:1: connect: connection refused"


def test_a_ports_name_must_be_the_containers() -> None:
    with pytest.raises(ProbeError, match='couldn\'t find port: "none" in container "web"'):
        port_of(target().container, "none")
    assert port_of(target().container, "80") == 80


@pytest.mark.parametrize(
    ("service", "well", "said"),
    [
        ("", True, "service healthy"),
        ("down", False, 'service unhealthy (responded with "NOT_SERVING")'),
        ("unknown", False, "error: health rpc probe failed: unknown service"),
    ],
)
async def test_grpc(service: str, well: bool, said: str) -> None:
    from grpc import StatusCode, unary_unary_rpc_method_handler
    from grpc import method_handlers_generic_handler as handlers
    from grpc.aio import server

    async def check(request: bytes, context: Any) -> bytes:
        name = request[2:].decode()
        if name == "unknown":
            await context.abort(StatusCode.NOT_FOUND, "unknown service")
        return b"\x08\x02" if name == "down" else b"\x08\x01"

    health = server()
    health.add_generic_rpc_handlers(
        (handlers("grpc.health.v1.Health", {"Check": unary_unary_rpc_method_handler(check)}),)
    )
    port = health.add_insecure_port("127.0.0.1:0")
    await health.start()
    try:
        assert await probe(target(), {"grpc": {"port": port, "service": service}}) == Result(well, said)
    finally:
        await health.stop(None)


async def test_grpc_that_nobody_serves() -> None:
    result = await probe(target(), {"grpc": {"port": 1}})
    assert result.said.startswith('timeout: failed to connect service "127.0.0.1:1" within 1s')
