"""`km teardown` against a master and an agent of a few lines: what it waits for, and what it says when it cannot."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from typing import Any

import pytest
from aiohttp import web

from k8slab.k8sm import teardown
from k8slab.mesos.client.errors import MesosError


def framework(number: int, name: str = "kubernetes", hostname: str = "here") -> dict[str, Any]:
    return {"id": f"f{number}", "name": name, "hostname": hostname}


class Mesos:
    """A master and an agent. Executors end when ``looks`` looks at them are through; -1: never."""

    def __init__(self) -> None:
        self.address = self.agent = ""
        self.frameworks: list[dict[str, Any]] = []
        self.completed: list[dict[str, Any]] = []
        self.on_agent: list[dict[str, Any]] = []
        self.looks = 0
        self.ended: list[str] = []

    async def state(self, request: web.Request) -> web.Response:
        return web.json_response(
            {
                "frameworks": self.frameworks,
                "completed_frameworks": self.completed,
                "slaves": [{"pid": f"slave(1)@{self.agent}", "active": True}],
            }
        )

    async def order(self, request: web.Request) -> web.Response:
        asked = await request.json()
        assert asked["type"] == "TEARDOWN"
        self.ended.append(asked["teardown"]["framework_id"]["value"])
        return web.Response(status=200)

    async def agent_state(self, request: web.Request) -> web.Response:
        left = self.on_agent if self.looks else []
        self.looks -= self.looks > 0
        return web.json_response({"frameworks": left})


@pytest.fixture
async def mesos(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Mesos]:
    monkeypatch.setattr(teardown, "LOOK_EVERY", 0.01)
    made = Mesos()
    master, agent = web.Application(), web.Application()
    for path in ("/state", "/master/state"):
        master.router.add_get(path, made.state)
    master.router.add_post("/api/v1", made.order)
    for path in ("/state", "/slave(1)/state"):
        agent.router.add_get(path, made.agent_state)
    runners = [web.AppRunner(app) for app in (master, agent)]
    for runner in runners:
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
    made.address, made.agent = (f"127.0.0.1:{runner.addresses[0][1]}" for runner in runners)
    yield made
    for runner in runners:
        await runner.cleanup()


async def test_it_ends_what_is_meant_and_waits_for_its_executors(mesos: Mesos) -> None:
    mesos.frameworks = [framework(1), framework(2, hostname="there"), framework(3, name="batch")]
    mesos.on_agent, mesos.looks = mesos.frameworks, 2
    assert await teardown.teardown(mesos.address, "kubernetes", "here", patience=5) == ["f1"]
    assert mesos.ended == ["f1"]
    assert mesos.looks == 0


async def test_executors_of_a_teardown_that_was_cut_off_are_waited_for(mesos: Mesos) -> None:
    mesos.completed = mesos.on_agent = [framework(1)]
    mesos.looks = 2
    assert await teardown.teardown(mesos.address, "kubernetes", "here", patience=5) == []
    assert mesos.looks == 0


async def test_executors_that_stay_are_an_error_that_says_where(mesos: Mesos) -> None:
    mesos.frameworks = mesos.on_agent = [framework(1)]
    mesos.looks = -1
    with pytest.raises(TimeoutError, match=rf"after 0.2 s there are still executors at slave\(1\)@{mesos.agent}"):
        await teardown.teardown(mesos.address, "kubernetes", None, patience=0.2)


async def test_without_a_master_it_says_so(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(MesosError) as raised:
        await teardown.teardown("127.0.0.1:1", "kubernetes", None, patience=0.3)
    assert raised.value.text

    async def failing(*_: object) -> list[str]:
        raise raised.value

    monkeypatch.setattr(teardown, "teardown", failing)
    flags = ["--mesos-master=127.0.0.1:1", "--framework-name=kubernetes"]
    with caplog.at_level(logging.ERROR):
        assert await asyncio.to_thread(teardown.run, flags) == 1
    assert f"not all is gone: {raised.value}" in caplog.text
