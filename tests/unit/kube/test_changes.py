"""What a change asks of the storage while the cache is behind: nothing that the storage has already said."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from ipaddress import IPv4Network

import orjson
import pytest

from k8slab.kube.api.admission import Admission
from k8slab.kube.api.allocation import Allocator
from k8slab.kube.api.cache import Cache
from k8slab.kube.api.errors import ApiFailure
from k8slab.kube.api.kinds import KINDS
from k8slab.kube.api.kinds.namespace import NAMESPACE
from k8slab.kube.api.kinds.small import CONFIG_MAP
from k8slab.kube.api.known import Known
from k8slab.kube.api.meta import Object
from k8slab.kube.api.registry import Registry
from k8slab.kube.api.storage.base import Check, Record, Write
from k8slab.kube.api.storage.memory import MemoryStorage
from k8slab.kube.api.written import MOST, Written

KEY = CONFIG_MAP.key("default", "colours")


class Counted(MemoryStorage):
    def __init__(self) -> None:
        super().__init__()
        self.reads = 0
        self.commits = 0

    async def get(self, key: str) -> tuple[Record | None, int]:
        self.reads += 1
        return await super().get(key)

    async def commit(self, checks: Sequence[Check], writes: Sequence[Write]) -> int:
        self.commits += 1
        return await super().commit(checks, writes)


def painted(name: str, colour: str) -> Object:
    return {"metadata": {"name": name, "namespace": "default"}, "data": {"colour": colour}}


@pytest.fixture
async def storage() -> Counted:
    return Counted()


@pytest.fixture
async def registry(storage: Counted) -> AsyncIterator[Registry]:
    """Its cache has what was there at first, and hears of nothing since."""
    cache = Cache(storage, [kind for kind in KINDS if kind.stored and kind.hub is kind])
    made = Registry(storage, cache, Allocator(storage, IPv4Network("10.0.0.0/24")), Admission(Known(cache)))
    running = asyncio.create_task(cache.run())
    await cache.loaded.wait()
    await made.create(NAMESPACE, "", {"metadata": {"name": "default"}})
    await made.create(CONFIG_MAP, "default", painted("colours", "red"))
    assert await cache.wait_for(3, 5)
    running.cancel()
    storage.reads = storage.commits = 0
    yield made


def to(colour: str) -> Callable[[Object], Object]:
    return lambda old: {**old, "data": {**old["data"], colour: colour}}


async def test_a_change_after_our_own_write_is_made_once(storage: Counted, registry: Registry) -> None:
    for colour in ("green", "blue"):
        await registry.change(CONFIG_MAP, "default", "colours", to(colour))
    assert (storage.commits, storage.reads) == (2, 0)
    record, _ = await storage.get(KEY)
    assert record is not None
    assert orjson.loads(record.value)["data"] == {"colour": "red", "green": "green", "blue": "blue"}


async def test_a_refusal_says_what_to_start_from(storage: Counted, registry: Registry) -> None:
    record, _ = await storage.get(KEY)
    assert record is not None
    await storage.commit((), (Write(KEY, record.value.replace(b"red", b"pink")),))
    storage.reads = storage.commits = 0
    done = await registry.change(CONFIG_MAP, "default", "colours", to("green"))
    assert (storage.commits, storage.reads) == (2, 0)
    assert orjson.loads(done.value)["data"] == {"colour": "pink", "green": "green"}


async def test_a_refusal_says_that_it_is_gone(storage: Counted, registry: Registry) -> None:
    await storage.commit((), (Write(KEY, None),))
    with pytest.raises(ApiFailure) as failure:
        await registry.change(CONFIG_MAP, "default", "colours", to("green"))
    assert failure.value.code == 404


async def test_what_others_wrote_after_us_is_not_lost(storage: Counted, registry: Registry) -> None:
    done = await registry.change(CONFIG_MAP, "default", "colours", to("green"))
    await storage.commit((), (Write(KEY, done.value.replace(b"red", b"pink")),))
    done = await registry.change(CONFIG_MAP, "default", "colours", to("blue"))
    assert orjson.loads(done.value)["data"] == {"colour": "pink", "green": "green", "blue": "blue"}


def test_only_what_the_cache_cannot_have_is_kept() -> None:
    reached = 0
    written = Written(lambda: reached)
    for revision in range(1, MOST + 3):
        written.keep(Record(f"/{revision}", b"", revision))
    assert written.ahead("/2") is None
    assert written.ahead("/3") == Record("/3", b"", 3)
    reached = MOST
    assert written.ahead("/3") is None
    assert written.ahead(f"/{MOST + 1}") is not None
    written.forget(f"/{MOST + 1}")
    assert written.ahead(f"/{MOST + 1}") is None
