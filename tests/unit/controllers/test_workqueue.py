from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager

import pytest
import uvloop

from k8slab.kube.client import ApiError, ApiUnavailable
from k8slab.kube.controllers.workqueue import WorkQueue


@asynccontextmanager
async def working(queue: WorkQueue, handle: Callable[[str], Awaitable[None]], workers: int = 1) -> AsyncIterator[None]:
    task = asyncio.create_task(queue.run(handle, workers=workers))
    yield
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def test_a_key_that_waits_is_there_once() -> None:
    queue, seen, done = WorkQueue("test"), [], asyncio.Event()

    async def handle(key: str) -> None:
        seen.append(key)
        if key == "end":
            done.set()

    for key in ("a", "b", "a", "a", "end"):
        queue.add(key)
    async with working(queue, handle):
        await done.wait()
    assert seen == ["a", "b", "end"]


async def test_a_key_is_never_in_two_hands_and_comes_again_when_it_changed_meanwhile() -> None:
    queue, release, again = WorkQueue("test"), asyncio.Event(), asyncio.Event()
    hands, most, turns = 0, 0, 0

    async def handle(key: str) -> None:
        nonlocal hands, most, turns
        hands, turns = hands + 1, turns + 1
        most = max(most, hands)
        if turns == 1:
            queue.add("a")
            release.set()
            await asyncio.sleep(0)
        else:
            again.set()
        hands -= 1

    queue.add("a")
    async with working(queue, handle, workers=3):
        await release.wait()
        await again.wait()
    assert (most, turns) == (1, 2)


async def test_failures_come_again_later_and_do_not_stop_the_others() -> None:
    queue, done = WorkQueue("test"), asyncio.Event()
    troubles = [ApiUnavailable("away"), ApiError(409, "Conflict", "changed"), KeyError("mistake")]
    seen: list[str] = []

    async def handle(key: str) -> None:
        seen.append(key)
        if key == "bad" and troubles:
            raise troubles.pop()
        if key == "bad":
            done.set()

    queue.add("bad")
    queue.add("good")
    async with working(queue, handle):
        await asyncio.wait_for(done.wait(), 5)
    assert seen == ["bad", "good", "bad", "bad", "bad"]


async def test_what_is_wanted_now_does_not_wait_for_its_timer() -> None:
    queue, done = WorkQueue("test"), asyncio.Event()

    async def handle(key: str) -> None:
        done.set()

    queue.add_after("a", 3600)
    queue.add("a")
    async with working(queue, handle):
        await asyncio.wait_for(done.wait(), 5)
    assert len(queue) == 0


async def test_what_changes_all_the_time_is_handled_all_the_same() -> None:
    queue, done = WorkQueue("test"), asyncio.Event()

    async def handle(key: str) -> None:
        done.set()

    async def keep_changing() -> None:
        while not done.is_set():
            queue.add_after("a", 0.05)
            await asyncio.sleep(0.01)

    async with working(queue, handle):
        await asyncio.wait_for(keep_changing(), 5)


@pytest.mark.parametrize("run", [asyncio.run, uvloop.run])
@pytest.mark.parametrize("soon", [0, 0.0001, 0.01])
def test_the_sooner_of_two_moments_counts(run: Callable[[Coroutine[None, None, None]], None], soon: float) -> None:
    async def look() -> None:
        queue, done = WorkQueue("test"), asyncio.Event()

        async def handle(key: str) -> None:
            done.set()

        queue.add_after("a", 3600)
        queue.add_after("a", soon)
        queue.add_after("a", 3600)
        async with working(queue, handle):
            await asyncio.wait_for(done.wait(), 5)

    run(look())
