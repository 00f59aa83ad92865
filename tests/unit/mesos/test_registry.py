"""The registry's shards, and how the registrar puts mutations together."""

from __future__ import annotations

import asyncio
import os
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from k8slab.mesos.master.membership import RateLimit, parse_percentage, parse_rate
from k8slab.mesos.master.registrar import Registrar, RegistryError
from k8slab.mesos.master.registry import NAMES, Registry, outdated, shard_of
from k8slab.mesos.master.storage import LARGEST_TRANSACTION, FileStorage, portions

ZNODE_LIMIT = 1 << 20


def info(agent_id: str, **more: Any) -> dict[str, Any]:
    return {"id": {"value": agent_id}, "hostname": f"host of {agent_id}", **more}


def incompressible(agent_id: str) -> dict[str, Any]:
    """As large as an AgentInfo with ports, disks and attributes, and as hard to compress as can be."""
    return info(agent_id, attributes=[{"name": "noise", "type": "TEXT", "text": {"value": os.urandom(1024).hex()}}])


class Gated:
    """A storage whose stores wait to be let through."""

    def __init__(self) -> None:
        self.stored: list[Mapping[str, bytes]] = []
        self.begun: asyncio.Queue[None] = asyncio.Queue()
        self.gate = asyncio.Semaphore(0)
        self.error: Exception | None = None

    async def fetch(self) -> Mapping[str, bytes]:
        return {}

    async def store(self, shards: Mapping[str, bytes]) -> None:
        self.stored.append(shards)
        self.begun.put_nowait(None)
        await self.gate.acquire()
        if self.error is not None:
            raise self.error


def registrar(storage: Any, failures: list[str], *, store_timeout: float = 5.0) -> Registrar:
    return Registrar(storage, fetch_timeout=5.0, store_timeout=store_timeout, on_failure=failures.append)


def test_what_was_stored_is_what_is_loaded() -> None:
    registry = Registry()
    for name in ("a", "b", "c", "d"):
        registry.admit(info(name))
    registry.mark_unreachable(["b"], 12.5)
    registry.mark_gone("c", 13.5)
    registry.remove("d")
    registry.set_weights({"red": 2.5})
    again = Registry(registry.take_dirty())
    assert again.agents == {"a": info("a")}
    assert (again.unreachable, again.gone, again.weights) == ({"b": 12.5}, {"c": 13.5}, {"red": 2.5})


def test_only_what_changed_is_stored_again() -> None:
    registry = Registry()
    for number in range(1000):
        registry.admit(info(f"agent-{number}"))
    assert len(registry.take_dirty()) == len(NAMES) - 1
    assert registry.take_dirty() == {}
    registry.mark_unreachable(["agent-7"], 1.0)
    assert list(registry.take_dirty()) == [shard_of("agent-7")]


def test_an_unreachable_agent_returns_and_a_gone_one_does_not() -> None:
    registry = Registry()
    for name in ("a", "b"):
        registry.admit(info(name))
    registry.mark_unreachable(["a", "never heard of"], 1.0)
    assert registry.unreachable == {"a": 1.0}
    registry.mark_gone("b", 2.0)
    for name in ("a", "b"):
        registry.admit(info(name, port=5051))
    assert registry.agents == {"a": info("a", port=5051)}
    assert (registry.unreachable, registry.gone) == ({}, {"b": 2.0})


def test_four_thousand_agents_stay_far_below_a_znodes_limit() -> None:
    registry = Registry()
    master_id = uuid.uuid4()
    for number in range(4000):
        registry.admit(incompressible(f"{master_id}-S{number}"))
    shards = registry.take_dirty()
    assert sum(map(len, shards.values())) > 4 * ZNODE_LIMIT
    assert max(map(len, shards.values())) < ZNODE_LIMIT / 4
    parts = list(portions(shards, LARGEST_TRANSACTION))
    assert {name: content for part in parts for name, content in part.items()} == shards
    assert max(sum(map(len, part.values())) for part in parts) <= LARGEST_TRANSACTION


def test_the_longest_list_of_gone_agents_stays_below_a_znodes_limit() -> None:
    registry = Registry()
    for _ in range(102_400):
        registry.mark_gone(f"{uuid.uuid4()}-S0", 1.0)
    assert max(map(len, registry.take_dirty().values())) < ZNODE_LIMIT / 4


@pytest.mark.parametrize("contents", [{"agents-000": b"rubbish"}, {"agents-999": b"x"}, {"weights": b"\x78\x9c"}])
def test_what_is_no_registry_is_refused(contents: dict[str, bytes]) -> None:
    with pytest.raises(ValueError, match="shard"):
        Registry(contents)


def test_old_and_surplus_entries() -> None:
    since = {"a": 1.0, "c": 3.0, "b": 2.0, "d": 4.0}
    assert outdated(since, before=2.5, keep=10) == ["a", "b"]
    assert outdated(since, before=0.0, keep=1) == ["a", "b", "c"]
    assert outdated(since, before=0.0, keep=4) == []


async def test_mutations_that_come_during_a_store_share_the_next() -> None:
    storage, failures = Gated(), list[str]()
    keeper = registrar(storage, failures)
    await keeper.recover()
    first = asyncio.create_task(keeper.apply(lambda registry: registry.admit(info("first"))))
    await storage.begun.get()
    names = [f"agent-{number}" for number in range(50)]
    others = [
        asyncio.create_task(keeper.apply(lambda registry, name=name: registry.admit(info(name)))) for name in names
    ]
    await asyncio.sleep(0)
    assert keeper.metrics()["registrar/queued_operations"] == 1 + len(others)
    assert len(storage.stored) == 1
    assert not first.done()
    storage.gate.release()
    await first
    await storage.begun.get()
    assert not any(other.done() for other in others)
    storage.gate.release()
    await asyncio.gather(*others)
    assert set(Registry({**storage.stored[0], **storage.stored[1]}).agents) == {"first", *names}
    assert (len(storage.stored), failures) == (2, [])


async def test_a_store_that_fails_ends_everything_once() -> None:
    storage, failures = Gated(), list[str]()
    keeper = registrar(storage, failures)
    running = asyncio.create_task(keeper.apply(lambda registry: registry.set_weights({"a": 2.0})))
    await storage.begun.get()
    waiting = asyncio.create_task(keeper.apply(lambda registry: registry.set_weights({"b": 2.0})))
    await asyncio.sleep(0)
    assert keeper.metrics()["registrar/queued_operations"] == 2
    storage.error = RegistryError("another master took over the registry")
    storage.gate.release()
    outcomes = await asyncio.gather(running, waiting, return_exceptions=True)
    assert [type(outcome) for outcome in outcomes] == [RegistryError, RegistryError]
    with pytest.raises(RegistryError, match="took over"):
        await keeper.apply(lambda registry: registry.set_weights({"c": 2.0}))
    assert failures == ["another master took over the registry"]
    assert len(storage.stored) == 1


async def test_a_store_that_takes_too_long_is_a_failure() -> None:
    failures: list[str] = []
    keeper = registrar(Gated(), failures, store_timeout=0.05)
    with pytest.raises(RegistryError, match=r"not stored within 0\.05 s"):
        await keeper.apply(lambda registry: registry.set_weights({"a": 2.0}))
    assert failures == ["the registry was not stored within 0.05 s"]


async def test_files_hold_it_between_two_masters(tmp_path: Path) -> None:
    for weight, before in ((2.0, {}), (3.0, {"red": 2.0})):
        keeper = registrar(FileStorage(tmp_path / "registry"), [])
        assert (await keeper.recover()).weights == before
        await keeper.apply(lambda registry, weight=weight: registry.set_weights({"red": weight}))
    (tmp_path / "registry" / "weights").write_bytes(b"rubbish")
    with pytest.raises(RegistryError, match="shard weights cannot be read"):
        await registrar(FileStorage(tmp_path / "registry"), []).recover()


async def test_one_at_a_time_through_the_rate_limit() -> None:
    limit, loop = RateLimit(0.05), asyncio.get_running_loop()
    began = loop.time()
    await asyncio.gather(*(limit.acquire() for _ in range(4)))
    assert loop.time() - began >= 0.15


@pytest.mark.parametrize("text", ["", "1", "0/1mins", "x/1mins", "1/forever"])
def test_what_is_no_rate(text: str) -> None:
    with pytest.raises(ValueError, match=r"expected|not a duration"):
        parse_rate(text)


@pytest.mark.parametrize("text", ["", "50", "x%", "101%", "-1%"])
def test_what_is_no_percentage(text: str) -> None:
    with pytest.raises(ValueError, match="expected a percentage"):
        parse_percentage(text)


def test_rates_and_percentages() -> None:
    assert parse_rate("2/1mins") == 30.0
    assert parse_percentage("75%") == 0.75
