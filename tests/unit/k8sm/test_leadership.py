"""Who of several schedulers leads."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from k8slab.k8sm.scheduler import store as module
from k8slab.k8sm.scheduler.store import FrameworkStore, LostLeadership
from k8slab.kube.api.storage.base import Check, Record, Refused, StorageUnavailable, Write


class Etcd:
    """One key; ``drop_answers``: so many of the next writes are done, and nobody hears of it."""

    def __init__(self) -> None:
        self.record: Record | None = None
        self.revision = 0
        self.drop_answers = 0

    async def commit(self, checks: Sequence[Check], writes: Sequence[Write]) -> int:
        (check,), (write,) = checks, writes
        if check.revision != (self.record.revision if self.record else 0):
            raise Refused({check.key: self.record})
        self.revision += 1
        self.record = Record(write.key, write.value or b"", self.revision)
        if self.drop_answers:
            self.drop_answers -= 1
            raise StorageUnavailable("no answer")
        return self.revision


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "RENEW_EVERY", 0.01)
    monkeypatch.setattr(module, "RETRY", 0.01)


@pytest.mark.usefixtures("quick")
async def test_a_leader_whose_write_was_heard_and_not_answered_goes_on() -> None:
    etcd = Etcd()
    store = FrameworkStore(etcd, "Kubernetes", "me")  # type: ignore[arg-type]
    etcd.drop_answers = 1
    async with asyncio.timeout(1):
        await store.lead()
    etcd.drop_answers = 1
    holding = asyncio.create_task(store.hold())
    await asyncio.sleep(0.1)
    assert not holding.done()
    assert etcd.revision > 5
    etcd.record = Record("/k8sm/Kubernetes/leader", b"another", 100)
    with pytest.raises(LostLeadership, match="another leads now"):
        await holding
