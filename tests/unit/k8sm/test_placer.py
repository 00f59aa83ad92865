"""What Mesos is told about offers, by what waits."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest

from k8slab.k8sm.resources import Defaults
from k8slab.k8sm.scheduler import placer as module
from k8slab.k8sm.scheduler.matching import Policy
from k8slab.k8sm.scheduler.offers import RETURN, OfferRegistry
from k8slab.k8sm.scheduler.placer import BUSY_REFUSAL, IDLE_REFUSAL, QUIET, Placer
from k8slab.k8sm.scheduler.queue import PodQueue
from k8slab.k8sm.scheduler.tasks import TaskRegistry
from k8slab.kube.scheduler.census import Census
from k8slab.mesos.client import MesosError
from tests.unit.k8sm.samples import EXECUTOR, a_pod, an_offer, nodes, owned, parsed

TTL = 5.0


class Master:
    """Notes what it is told; tells nothing."""

    subscribed = True

    def __init__(self) -> None:
        self.told: list[tuple[Any, ...]] = []
        self.seconds_per_launch = 0.0
        self.deaf = False
        self.refuses = False
        self.stage: Stage | None = None

    def hear(self, *call: Any) -> None:
        if self.deaf:
            raise MesosError(0, "it hears nothing")
        if self.refuses:
            raise MesosError(403, "it will not have it")
        self.told.append(call)

    async def accept(self, offers: Sequence[str], operations: Any, *, refuse_seconds: float) -> None:
        self.hear("accept", *offers, refuse_seconds)
        if self.stage is not None:
            self.stage.now += self.seconds_per_launch

    async def decline(self, offers: Sequence[str], *, refuse_seconds: float) -> None:
        self.hear("decline", *offers, refuse_seconds)

    async def revive(self) -> None:
        self.hear("revive")

    async def suppress(self) -> None:
        self.hear("suppress")


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
        self.master.stage = self
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
        "0/2 nodes are available: 2 Insufficient cpu (needs 64; minion-0 has 4, its executor needs 0.25 of it, "
        "minion-1 has 4)."
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


async def test_what_falls_due_while_launches_are_told_is_not_slept_through(stage: Stage) -> None:
    stage.placer.subscribed()
    stage.wait(a_pod("big", limits={"cpu": "64"}))
    stage.now += 1.9
    stage.offer()
    stage.wait(a_pod("small"))
    stage.master.seconds_per_launch = 0.5
    await stage.round()
    assert stage.pods.complaints == []
    assert stage.placer._pause() == pytest.approx(0.02)
    await stage.round()
    assert len(stage.pods.complaints) == 1


async def test_who_waits_for_an_offer_that_does_not_return_hears_of_it(stage: Stage) -> None:
    stage.pods.nodes = nodes(1)
    stage.placer.subscribed()
    stage.wait(a_pod("second", limits={"cpu": "3"}))
    stage.now += 3
    stage.offer()
    stage.queue.remove("uid-second")
    stage.wait(a_pod("first", limits={"cpu": "500m"}))
    await stage.round()
    stage.queue.put(a_pod("second", limits={"cpu": "3"}), stage.now - 3)
    assert await stage.round(after=0.1) == [("revive",)]
    pause = stage.placer._pause()
    assert pause is not None
    assert pause <= RETURN
    await stage.round(after=pause + 0.01)
    assert len(stage.pods.complaints) == 1


async def test_offers_whose_call_broke_off_are_given_back_by_the_next_round(stage: Stage) -> None:
    stage.placer.subscribed()
    stage.offer()
    stage.wait(a_pod())
    stage.offer(1, agent=1)
    stage.master.deaf = True
    await stage.round()
    with pytest.raises(MesosError):
        await stage.round(after=TTL)
    stage.master.deaf = False
    assert await stage.round(after=1) == [("decline", "O0", 0), ("decline", "O1", IDLE_REFUSAL)]
    assert await stage.round(after=1) == []


async def test_what_mesos_would_not_have_back_is_not_offered_to_it_again(stage: Stage) -> None:
    stage.placer.subscribed()
    stage.offer()
    stage.master.refuses = True
    with pytest.raises(MesosError):
        await stage.round(after=TTL)
    stage.master.refuses = False
    assert await stage.round(after=1) == []


async def test_offers_of_a_launch_that_was_refused_are_given_back(stage: Stage) -> None:
    stage.placer.subscribed()
    stage.offer()
    stage.wait(a_pod())
    stage.master.refuses = True
    await stage.round()
    stage.master.refuses = False
    assert await stage.round(after=1) == [("decline", "O0", 0)]
    assert await stage.round(after=1) == []


async def test_a_call_for_offers_that_broke_off_is_made_again(stage: Stage) -> None:
    stage.placer.subscribed()
    stage.wait(a_pod())
    stage.master.deaf = True
    with pytest.raises(MesosError):
        await stage.round()
    stage.master.deaf = False
    assert await stage.round(after=1) == [("revive",)]


async def test_a_flock_does_not_pile_up_on_the_only_agent_whose_offer_is_in_hand(stage: Stage) -> None:
    stage.placer.subscribed()
    stage.offer(1, agent=1)
    assert await stage.round(after=TTL) == [("decline", "O1", IDLE_REFUSAL)]
    stage.offer(0, agent=0)
    for number in range(4):
        stage.wait(owned(a_pod(f"p{number}"), "web"))
    assert await stage.round() == [("accept", "O0", 0), ("revive",)]
    assert stage.placer.launches == 1
    stage.offer(2, agent=0, executors=(EXECUTOR.id,))
    stage.offer(3, agent=1)
    await stage.round(after=0.1)
    (group,) = stage.pods.census.groups(owned(a_pod("p4"), "web"))
    assert stage.pods.census.counts(group) == {"minion-0": 2, "minion-1": 2}


async def test_a_flock_takes_what_there_is_when_the_other_agents_do_not_offer_again(stage: Stage) -> None:
    stage.placer.subscribed()
    stage.offer(1, agent=1)
    await stage.round(after=TTL)
    stage.offer(0, agent=0)
    for number in range(4):
        stage.wait(owned(a_pod(f"p{number}"), "web"))
    await stage.round()
    stage.offer(2, agent=0, executors=(EXECUTOR.id,))
    await stage.round(after=0.1)
    assert stage.placer.launches == 1
    pause = stage.placer._pause()
    assert pause is not None
    await stage.round(after=RETURN)
    assert stage.placer.launches == 4


async def test_who_may_yet_be_offered_a_place_does_not_complain_while_others_find_theirs(stage: Stage) -> None:
    stage.placer.subscribed()
    stage.wait(a_pod("all-of-minion-1", limits={"cpu": "3900m"}))
    stage.wait(a_pod("large", limits={"cpu": "64"}))
    for number in range(15):
        stage.offer(number)
        stage.wait(a_pod(f"other-{number}"))
        await stage.round(after=1.9)
    # The large one fits nowhere, whatever is offered, and hears so.
    assert stage.pods.complaints
    assert all("2 Insufficient cpu (needs 64; minion-0 has 4" in one for one in stage.pods.complaints)
    assert stage.placer.launches == 15
    for number in range(15, 20):
        stage.offer(number)
        stage.wait(a_pod(f"other-{number}"))
        await stage.round(after=1.9)
    assert any("1 node(s) offered nothing (minion-1)" in one for one in stage.pods.complaints), "at last it hears"


async def test_who_may_yet_be_offered_a_place_does_not_ask_for_offers_all_the_time(stage: Stage) -> None:
    """A master that is asked for everything anew in each round has no time to offer it."""
    stage.placer.subscribed()
    stage.wait(a_pod("all-of-minion-1", limits={"cpu": "3900m"}))
    stage.offer()
    stage.wait(a_pod("other"))
    told = await stage.round()
    stage.offer(2, cpus=1)
    for _ in range(40):
        told += await stage.round(after=0.05)
    assert stage.placer.launches == 1
    assert told.count(("revive",)) <= 4
    assert stage.pods.complaints == []
