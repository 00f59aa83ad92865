"""Hooks that need no engine, against servers that are really there."""

from __future__ import annotations

import time
from typing import Any

import pytest
from aiohttp import web

from k8slab.kube.kubelet.hooks import HookError, run_hook
from k8slab.kube.kubelet.probes import Target

ENGINE: Any = None
TARGET = Target(ENGINE, "id", {"name": "web"}, "127.0.0.1")


@pytest.mark.parametrize("status", [200, 500])
async def test_whatever_answers_has_been_told(status: int) -> None:
    told: list[tuple[str, str]] = []

    async def answer(request: web.Request) -> web.Response:
        told.append((request.path, request.headers["User-Agent"]))
        return web.Response(status=status)

    app = web.Application()
    app.router.add_get("/bye", answer)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        await run_hook(TARGET, {"httpGet": {"port": runner.addresses[0][1], "path": "/bye"}})
    finally:
        await runner.cleanup()
    assert told == [("/bye", "kube-lifecycle/1.32")]


@pytest.mark.parametrize(
    ("handler", "why"),
    [
        ({"httpGet": {"port": 1, "path": "/bye"}}, "connect: connection refused"),
        ({"httpGet": {"port": "nowhere"}}, 'couldn\'t find port: "nowhere" in container "web"'),
        ({"tcpSocket": {"port": 1}}, "invalid handler"),
        ({}, "invalid handler"),
    ],
)
async def test_what_could_not_be_done_is_said(handler: dict[str, Any], why: str) -> None:
    with pytest.raises(HookError, match=why):
        await run_hook(TARGET, handler)


async def test_a_hook_may_just_take_its_time() -> None:
    began = time.monotonic()
    await run_hook(TARGET, {"sleep": {"seconds": 1}})
    assert time.monotonic() - began >= 1
