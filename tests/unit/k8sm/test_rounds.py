"""Act, pause, act again."""

from __future__ import annotations

import asyncio

import pytest

from k8slab.k8sm.scheduler import rounds as module
from k8slab.k8sm.scheduler.rounds import Rounds
from k8slab.mesos.client import MesosError


class Master:
    subscribed = True


class Work:
    def __init__(self, *, failures: int = 0, pause: float | None = None) -> None:
        self.failures = failures
        self.times = 0
        self.acted = asyncio.Event()
        self.master = Master()
        self.rounds = Rounds(self.master, self.act, lambda: pause)  # type: ignore[arg-type]

    async def act(self) -> None:
        self.times += 1
        self.acted.set()
        if self.times <= self.failures:
            raise MesosError(0, "nobody hears")

    async def done(self, times: int) -> None:
        async with asyncio.timeout(2):
            while self.times < times:
                self.acted.clear()
                await self.acted.wait()


async def test_what_could_not_be_told_is_tried_again_without_being_woken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "RETRY", 0.01)
    work = Work(failures=2)
    running = asyncio.create_task(work.rounds.run())
    await work.done(3)
    await asyncio.sleep(0.05)
    assert work.times == 3
    work.rounds.wake()
    await work.done(4)
    running.cancel()


async def test_nothing_is_done_without_a_subscription_whatever_is_due() -> None:
    work = Work(pause=0.001)
    work.master.subscribed = False
    running = asyncio.create_task(work.rounds.run())
    await asyncio.sleep(0.05)
    assert work.times == 0
    work.master.subscribed = True
    work.rounds.wake()
    await work.done(3)
    running.cancel()
