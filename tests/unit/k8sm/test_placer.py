"""What Mesos is told about offers, by what waits."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest

from k8slab.k8sm.resources import Defaults
from k8slab.k8sm.scheduler import placer as module
from k8slab.k8sm.scheduler.matching import Policy
from k8slab.k8sm.scheduler.offers import OfferRegistry
from k8slab.k8sm.scheduler.placer import BUSY_REFUSAL, IDLE_REFUSAL, QUIET, Placer
from k8slab.k8sm.scheduler.queue import PodQueue
from k8slab.k8sm.scheduler.tasks import TaskRegistry
from k8slab.kube.scheduler.census import Census
from tests.unit.k8sm.samples import EXECUTOR, a_pod, an_offer, nodes, parsed

TTL = 5.0


class Master:
    """Notes what it is told; tells nothing."""

    subscribed = True

    def __init__(self) -> None:
        self.told: list[tuple[Any, ...]] = []

    async def accept(self, offers: Sequence[str], operations: Any, *, refuse_seconds: float) -> None:
        self.told.append(("accept", *offers, refuse_seconds))

    async def decline(self, offers: Sequence[str], *, refuse_seconds: float) -> None:
        self.told.append(("decline", *offers, refuse_seconds))

    async def revive(self) -> None:
        self.told.append(("revive",))

    async def suppress(self) -> None:
        self.told.append(("suppress",))


class Pods:
    """The store's part that is asked here."""

    def __init__(self) -> None:
        self.nodes, self.namespaces, self.census = nodes(2), {}, Census()
        self.complaints: list[str] = []

    def scheduled(self, pod: Any, host: str) -> None: ...

    def by_uid(self, uid: str) -> str:
        return uid

    def unschedulable(self, pod: Any, reason: str) -> None:
        self.complaints.append(reason)


class Reconciler:
    def soon(self) -> None: ...


@dataclass
class Stage:
    monkeypatch: pytest.MonkeyPatch
    master: Master = field(default_factory=Master)
    pods: Pods = field(default_factory=Pods)
    queue: PodQueue = field(default_factory=PodQueue)
    offers: OfferRegistry = field(default_factory=OfferRegistry)
    now: float = 1000.0

    def __post_init__(self) -> None:
        self.monkeypatch.setattr(module, "_now", lambda: self.now)
        self.placer = Placer(
            self.master,  # type: ignore[arg-type]
            self.pods,  # type: ignore[arg-type]
            Policy(EXECUTOR, Defaults()),
            queue=self.queue,
            offers=self.offers,
            tasks=TaskRegistry(),
            reconciler=Reconciler(),  # type: ignore[arg-type]
            offer_ttl=TTL,
        )

    def offer(self, number: int = 0, **what: Any) -> None:
        self.offers.add(parsed(an_offer(number, **what), now=self.now))

    def wait(self, pod: dict[str, Any]) -> None:
        if self.queue.put(pod, self.now):
            self.placer.want_offers()

    async def round(self, *, after: float = 0.0) -> list[tuple[Any, ...]]:
        """What the master is told in the next round, so many seconds later."""
        self.now += after
        self.master.told.clear()
        await self.placer._round()
        return list(self.master.told)


@pytest.fixture
def stage(monkeypatch: pytest.MonkeyPatch) -> Stage:
    return Stage(monkeypatch)


async def test_with_nobody_waiting_offers_go_back_and_then_none_is_wanted(stage: Stage) -> None:
    stage.placer.subscribed()
    stage.offer()
    assert await stage.round(after=TTL - 1) == []
    assert await stage.round(after=1) == [("decline", "O0", IDLE_REFUSAL)]
    assert await stage.round(after=QUIET - TTL - 1) == []
    assert await stage.round(after=1) == [("suppress",)]
    assert stage.placer.suppressed
    assert await stage.round(after=1) == []


async def test_the_first_pod_that_waits_brings_offers_back(stage: Stage) -> None:
    stage.placer.subscribed()
    await stage.round(after=QUIET)
    assert stage.placer.suppressed
    stage.wait(a_pod())
    assert await stage.round() == [("revive",)]
    assert not stage.placer.suppressed
    stage.offer()
    assert await stage.round() == [("accept", "O0", 0)]
    assert len(stage.queue) == 0


async def test_what_fits_nobody_who_waits_stays_away_for_as_long_as_they_are_patient(stage: Stage) -> None:
    stage.placer.subscribed()
    stage.wait(a_pod(limits={"cpu": "64"}))
    assert await stage.round() == [("revive",)]
    stage.offer()
    assert await stage.round(after=0.1) == []
    assert ("decline", "O0", BUSY_REFUSAL) in await stage.round(after=TTL)
    assert stage.pods.complaints == [
        "0/2 nodes are available: 1 Insufficient cpu (needs 64; minion-0 has 4, its executor needs 0.25 of it), "
        "1 node(s) offered nothing (minion-1)."
    ]
    # What was sent back is remembered, and offers are asked for again with the next complaint.
    assert await stage.round(after=10) == [("revive",)]
    assert "minion-0 has 4" in stage.pods.complaints[-1]


async def test_pods_of_a_flock_share_a_call_and_what_is_left_is_wanted_back(stage: Stage) -> None:
    stage.placer.subscribed()
    stage.offer()
    stage.offer(1, agent=1)
    for number in range(10):
        stage.wait(a_pod(f"p{number}"))
    stage.wait(a_pod("big", limits={"cpu": "64"}))
    told = await stage.round()
    assert sorted(told) == [("accept", "O0", 0), ("accept", "O1", 0), ("revive",)]
    assert len(stage.queue) == 1
    assert stage.placer.launches == 10
