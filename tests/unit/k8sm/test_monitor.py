"""The monitor of a package: what it finds worth telling, and that it is told by real calls."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from urllib.parse import parse_qsl

import pytest
from aiohttp import web

from k8slab.k8sm import monitor
from k8slab.k8sm.monitor import Memory, Service, Services, Told, Webhook, news, serve

UP, DOWN = Service(ready=True), Service(ready=False)


def died(deaths: int, *, ready: bool = False) -> Service:
    return Service(ready=ready, deaths=deaths, cause={"code": "1"})


@pytest.mark.parametrize(
    ("told", "seen", "events"),
    [
        (Told(), {"a": DOWN, "b": DOWN}, ["start"]),
        (Told(), {"a": UP, "b": UP}, ["start", "ready"]),
        (Told(started=True), {"a": UP, "b": DOWN}, []),
        (Told(started=True), {"a": UP, "b": UP}, ["ready"]),
        (Told(started=True, ready=True), {"a": UP, "b": UP}, []),
        # Killed on purpose: the count of deaths stands, and coming back is no news.
        (Told(started=True, ready=True), {"a": UP, "b": DOWN}, []),
        (Told(started=True, ready=True), {"a": died(1), "b": UP}, ["failure of a"]),
        (Told(started=True, ready=True), {"a": died(2, ready=True), "b": UP}, ["failure of a", "ready"]),
        (Told(started=True, ready=True, deaths={"a": 2}), {"a": died(2, ready=True), "b": UP}, []),
        (Told(started=True, ready=False, deaths={"a": 1}), {"a": died(1), "b": died(3)}, ["failure of b"]),
        (Told(), {"a": died(3)}, ["start", "failure of a"]),
    ],
)
def test_what_is_worth_telling(told: Told, seen: Mapping[str, Service], events: list[str]) -> None:
    known, found = news(told, seen)
    assert [f"failure of {one['daemon']}" if "daemon" in one else one["event"] for one in found] == events
    assert news(known, seen)[1] == [], "nothing is told twice"


def test_a_daemon_that_comes_back_is_ready_again_after_a_failure_only() -> None:
    known, _ = news(Told(), {"a": UP})
    known, events = news(known, {"a": DOWN})
    assert events == []
    known, events = news(known, {"a": UP})
    assert events == []
    known, events = news(known, {"a": died(1)})
    assert events == [{"event": "failure", "daemon": "a", "code": "1"}]
    assert news(known, {"a": died(1, ready=True)})[1] == [{"event": "ready"}]


def test_a_count_that_cannot_be_read_for_a_moment_is_no_new_failure() -> None:
    known, _ = news(Told(started=True, ready=True), {"a": died(2, ready=True)})
    known, events = news(known, {"a": UP})
    assert events == []
    assert news(known, {"a": died(2, ready=True)})[1] == []


class Machine:
    """Services as their supervisor keeps them on disk, and an ``s6-svstat`` that reads them."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.services = folder / "service"
        programs = folder / "bin"
        programs.mkdir()
        asked = programs / "s6-svstat"
        asked.write_text('#!/bin/sh\ncat "$3/supervise/status"\n')
        asked.chmod(0o755)
        monkeypatch.setenv("PATH", f"{programs}:/usr/bin:/bin")
        self._writes = 0

    def set(self, name: str, *, ready: bool) -> None:
        folder = self.services / name / "supervise"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "status").write_text("true\n" if ready else "false\n")
        # Two writes within one tick of the file system's clock would look like one.
        self._writes += 1
        os.utime(folder / "status", ns=(self._writes, self._writes))

    def die(self, name: str, *, code: int, signal: int) -> None:
        folder = self.services / name
        count = folder / "restarts"
        (folder / "cause").write_text(f"{code} {signal}\n")
        count.write_text(f"{int(count.read_text()) + 1 if count.exists() else 1}\n")


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    return Machine(tmp_path, monkeypatch)


def test_services_are_read_as_their_supervisor_keeps_them(machine: Machine) -> None:
    services = Services(machine.services, ["a", "b"])
    assert services.look() == {"a": DOWN, "b": DOWN}
    machine.set("a", ready=True)
    machine.set("b", ready=False)
    assert services.look() == {"a": UP, "b": DOWN}
    machine.die("b", code=3, signal=0)
    machine.set("a", ready=False)
    machine.die("a", code=256, signal=9)
    assert services.look() == {"a": Service(False, 1, {"signal": "9"}), "b": Service(False, 1, {"code": "3"})}


class Listener:
    """An HTTP endpoint that keeps what it was told; the first ``deaf`` calls it answers with 503."""

    def __init__(self) -> None:
        self.deaf = 0
        self.url = ""
        self.calls: asyncio.Queue[tuple[str, str, dict[str, str]]] = asyncio.Queue()

    async def heard(self) -> tuple[str, str, dict[str, str]]:
        return await asyncio.wait_for(self.calls.get(), 20)

    async def event(self) -> str:
        return (await self.heard())[2]["event"]

    async def handle(self, request: web.Request) -> web.Response:
        if self.deaf:
            self.deaf -= 1
            return web.Response(status=503)
        body = dict(parse_qsl(await request.text()))
        self.calls.put_nowait((request.path_qs, request.content_type, body))
        return web.Response(text="thanks")


@pytest.fixture
async def listener() -> AsyncIterator[Listener]:
    found = Listener()
    app = web.Application()
    app.add_routes([web.post("/hook", found.handle)])
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    host, port = runner.addresses[0]
    found.url = f"http://{host}:{port}/hook?who=me"
    yield found
    await runner.cleanup()


async def test_a_package_is_told_of_from_its_start_through_a_failure(
    machine: Machine, listener: Listener, tmp_path: Path
) -> None:
    machine.set("api", ready=False)
    listener.deaf = 1
    webhook = Webhook(listener.url, "text/plain", {"package": "kubernetes"})
    stop = asyncio.Event()

    def monitor() -> asyncio.Task[int]:
        return asyncio.create_task(serve(Services(machine.services, ["api"]), webhook, Memory(tmp_path / "m"), stop))

    running = monitor()
    assert await listener.heard() == ("/hook?who=me", "text/plain", {"event": "start", "package": "kubernetes"})
    machine.set("api", ready=True)
    assert await listener.event() == "ready"
    machine.die("api", code=1, signal=0)
    machine.set("api", ready=False)
    assert (await listener.heard())[2] == {"event": "failure", "daemon": "api", "code": "1", "package": "kubernetes"}
    stop.set()
    assert await running == 0
    # Its successor goes on where it ended.
    stop.clear()
    running = monitor()
    machine.set("api", ready=True)
    assert await listener.event() == "ready"
    stop.set()
    assert await running == 0
    assert listener.calls.empty()


@pytest.mark.parametrize("host", ["a..b", "a" * 70])
async def test_a_name_that_nobody_can_be_asked_for_does_not_end_the_monitor(
    machine: Machine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, host: str
) -> None:
    monkeypatch.setattr(monitor, "FIRST_PAUSE", 0.0)
    machine.set("api", ready=True)
    memory, stop = Memory(tmp_path / "m"), asyncio.Event()
    webhook = Webhook(f"http://{host}/", "text/plain", {})
    running = asyncio.create_task(serve(Services(machine.services, ["api"]), webhook, memory, stop))
    async with asyncio.timeout(20):
        # Both calls are given up, and it goes on.
        while not memory.recall().ready:
            assert not running.done()
            await asyncio.sleep(0.01)
    stop.set()
    assert await running == 0
