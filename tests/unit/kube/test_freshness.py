"""Reads from the cache show what a read of the storage would have shown."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from k8slab.kube.api.cache import Cache
from k8slab.kube.api.freshness import Freshness
from k8slab.kube.api.kinds.small import CONFIG_MAP
from k8slab.kube.api.lists import Lister, ListOptions
from k8slab.kube.api.selectors import EVERYTHING
from k8slab.kube.api.storage.base import Record, StorageUnavailable, Write
from k8slab.kube.api.storage.memory import MemoryStorage

KEY = CONFIG_MAP.key("default", "colours")


class Asked(MemoryStorage):
    """Counts what it is asked; each answer may have to be let out."""

    def __init__(self) -> None:
        super().__init__()
        self.questions = 0
        self.asked = asyncio.Event()
        self.answering: Callable[[], Awaitable[None]] | None = None

    async def get(self, key: str) -> tuple[Record | None, int]:
        self.questions += 1
        self.asked.set()
        found = await super().get(key)
        if self.answering is not None:
            await self.answering()
        return found


def body(colour: str) -> bytes:
    return CONFIG_MAP.encode({"metadata": {"name": "colours", "namespace": "default"}, "data": {"colour": colour}})


async def loaded(storage: MemoryStorage) -> tuple[Cache, asyncio.Task[None]]:
    cache = Cache(storage, (CONFIG_MAP,))
    running = asyncio.create_task(cache.run())
    await cache.loaded.wait()
    return cache, running


def run(story: Awaitable[Any]) -> None:
    async def bounded() -> None:
        async with asyncio.timeout(10):
            await story

    asyncio.run(bounded())


def test_reads_that_come_together_share_a_question() -> None:
    async def story() -> None:
        storage = Asked()
        revision = await storage.commit((), (Write(KEY, body("red")),))
        cache, running = await loaded(storage)
        found = await asyncio.gather(*(cache.newest(CONFIG_MAP, KEY) for _ in range(50)))
        assert {record and record.revision for record, _ in found} == {revision}
        assert storage.questions == 1
        running.cancel()

    run(story())


def test_a_write_that_the_cache_has_not_heard_of_is_read_from_the_storage() -> None:
    async def story() -> None:
        storage = MemoryStorage()
        await storage.commit((), (Write(KEY, body("red")),))
        cache, running = await loaded(storage)
        running.cancel()
        revision = await storage.commit((), (Write(KEY, body("blue")),))
        record, at = await cache.newest(CONFIG_MAP, KEY)
        assert record is not None and (record.value, record.revision, at) == (body("blue"), revision, revision)
        listing = await Lister(storage, cache).read(CONFIG_MAP, "default", ListOptions(EVERYTHING))
        assert [one.value for one in listing.records] == [body("blue")]

    run(story())


def test_a_question_asked_before_a_read_began_does_not_answer_it() -> None:
    async def story() -> None:
        storage, gate = Asked(), asyncio.Event()
        storage.answering = gate.wait
        freshness = Freshness(storage, lambda: 1)
        early = asyncio.create_task(freshness.confirmed())
        await storage.asked.wait()
        await storage.commit((), (Write(KEY, body("red")),))
        late = asyncio.create_task(freshness.confirmed())
        await asyncio.sleep(0)
        gate.set()
        assert [await early, await late] == [True, False]

    run(story())


def test_what_waits_for_a_silent_answer_asks_for_itself() -> None:
    async def story() -> None:
        storage, never = Asked(), asyncio.Event()
        storage.answering = never.wait
        freshness = Freshness(storage, lambda: 1)
        stuck = asyncio.create_task(freshness.confirmed())
        await storage.asked.wait()
        storage.answering = None
        assert await freshness.confirmed()
        assert not stuck.done()
        stuck.cancel()

    run(story())


def test_a_storage_put_back_to_an_earlier_state_is_not_taken_for_the_known_one() -> None:
    async def story() -> None:
        freshness = Freshness(MemoryStorage(), lambda: 1000)
        assert not await freshness.confirmed()

    run(story())


def test_while_nothing_comes_after_a_change_of_others_each_read_costs_one_question() -> None:
    async def story() -> None:
        storage = Asked()
        await storage.commit((), (Write(KEY, body("red")),))
        cache, running = await loaded(storage)
        running.cancel()
        await storage.commit((), (Write("/elsewhere", b"x"),))
        for _ in range(10):
            await cache.newest(CONFIG_MAP, KEY)
        assert storage.questions == 11

    run(story())


def test_trouble_reaches_all_who_wait() -> None:
    async def story() -> None:
        storage = Asked()
        cache, running = await loaded(storage)

        async def refuse() -> None:
            raise StorageUnavailable("etcdserver: no leader")

        storage.answering = refuse
        found = await asyncio.gather(*(cache.newest(CONFIG_MAP, KEY) for _ in range(5)), return_exceptions=True)
        assert [str(one) for one in found] == ["etcdserver: no leader"] * 5
        running.cancel()

    run(story())


@pytest.mark.parametrize(("limit", "found", "more"), [(0, 4, False), (4, 4, False), (3, 3, True)])
def test_a_list_that_fits_needs_no_page(limit: int, found: int, more: bool) -> None:
    async def story() -> None:
        storage = MemoryStorage()
        for number in range(4):
            name = f"m-{number}"
            value = CONFIG_MAP.encode({"metadata": {"name": name, "namespace": "default"}})
            await storage.commit((), (Write(CONFIG_MAP.key("default", name), value),))
        cache, running = await loaded(storage)
        listing = await Lister(storage, cache).read(CONFIG_MAP, "default", ListOptions(EVERYTHING, limit=limit))
        assert (len(listing.records), bool(listing.token)) == (found, more)
        running.cancel()

    run(story())
