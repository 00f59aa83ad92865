"""The memory storage keeps the promises of the seam; the cache follows it."""

from __future__ import annotations

import asyncio

import pytest

from k8slab.kube.api import lists
from k8slab.kube.api.cache import Cache
from k8slab.kube.api.errors import ApiFailure
from k8slab.kube.api.kinds.small import CONFIG_MAP
from k8slab.kube.api.lists import Lister, ListOptions
from k8slab.kube.api.selectors import EVERYTHING
from k8slab.kube.api.storage.base import Check, Compacted, FutureRevision, Refused, Write
from k8slab.kube.api.storage.memory import MemoryStorage


async def put(storage: MemoryStorage, key: str, value: bytes, after: int = 0) -> int:
    return await storage.commit((Check(key, after),), (Write(key, value),))


async def test_checks_hold_or_nothing_happens() -> None:
    storage = MemoryStorage()
    first = await put(storage, "/registry/x/a", b"1")
    with pytest.raises(Refused) as refused:
        await storage.commit((Check("/registry/x/a", 0),), (Write("/registry/x/b", b"2"),))
    found = refused.value.found["/registry/x/a"]
    assert found is not None
    assert (found.value, found.revision) == (b"1", first)
    assert (await storage.get("/registry/x/b"))[0] is None
    assert await put(storage, "/registry/x/a", b"2", first) > first


async def test_pages_are_of_one_revision() -> None:
    storage = MemoryStorage()
    for name in "abcd":
        await put(storage, f"/registry/x/{name}", name.encode())
    page = await storage.page("/registry/x/", limit=2)
    assert ([record.key[-1] for record in page.records], page.remaining) == (["a", "b"], 2)
    await storage.commit((), (Write("/registry/x/c", None),))
    rest = await storage.page("/registry/x/", after=page.records[-1].key, revision=page.revision)
    assert [record.key[-1] for record in rest.records] == ["c", "d"]
    with pytest.raises(FutureRevision):
        await storage.page("/registry/x/", revision=1000)
    storage.compact(page.revision + 1)
    with pytest.raises(Compacted):
        await storage.page("/registry/x/", revision=page.revision)


async def test_the_cache_is_the_list_and_the_watch() -> None:
    storage = MemoryStorage()
    encoded = [CONFIG_MAP.encode({"metadata": {"name": name, "namespace": "n"}}) for name in "abc"]
    await put(storage, CONFIG_MAP.key("n", "a"), encoded[0])
    cache = Cache(storage, (CONFIG_MAP,))
    running = asyncio.create_task(cache.run())
    await cache.loaded.wait()
    start = cache.revision
    last = await put(storage, CONFIG_MAP.key("n", "b"), encoded[1])
    await put(storage, CONFIG_MAP.key("n", "junk"), b"junk")
    end = await storage.commit((), (Write(CONFIG_MAP.key("n", "a"), None),))
    assert await cache.wait_for(end, 1.0)
    held = cache.of(CONFIG_MAP)
    assert [entry.obj["metadata"]["name"] for entry in held.scan(CONFIG_MAP.scope("n"))] == ["b"]
    events = held.since(start)
    assert [(event.revision, event.entry is None) for event in events] == [(last, False), (end, True)]
    assert events[0].entry is not None
    served = CONFIG_MAP.served(events[0].entry.value, last)
    assert served.startswith(b'{"kind":"ConfigMap","apiVersion":"v1","metadata":{"resourceVersion":"%d",' % last)
    with pytest.raises(Compacted):
        held.since(start - 1)
    running.cancel()


async def test_a_key_with_a_time_to_live_goes() -> None:
    storage = MemoryStorage()
    await storage.commit((), (Write("/registry/x/a", b"1", ttl=0),))
    await storage.commit((), (Write("/registry/x/b", b"1", ttl=1),))
    async for batch in storage.watch("/registry/", after=3):
        assert [(change.key, change.value) for change in batch.changes] == [("/registry/x/b", None)]
        break
    assert (await storage.get("/registry/x/a"))[0] is not None


async def test_nothing_is_listed_from_a_cache_that_knows_nothing_yet(monkeypatch: pytest.MonkeyPatch) -> None:
    storage = MemoryStorage()
    await put(storage, CONFIG_MAP.key("n", "a"), CONFIG_MAP.encode({"metadata": {"name": "a", "namespace": "n"}}))
    cache = Cache(storage, (CONFIG_MAP,))
    lister, anything = Lister(storage, cache), ListOptions(EVERYTHING, version="0")
    early = asyncio.create_task(lister.read(CONFIG_MAP, "n", anything))
    await asyncio.sleep(0)
    with monkeypatch.context() as patch:
        patch.setattr(lists, "PATIENCE", 0.01)
        with pytest.raises(ApiFailure, match="initializing") as refused:
            await lister.read(CONFIG_MAP, "n", anything)
    assert (refused.value.code, refused.value.retry_after) == (429, 1)
    running = asyncio.create_task(cache.run())
    assert [record.key for record in (await early).records] == [CONFIG_MAP.key("n", "a")]
    running.cancel()
