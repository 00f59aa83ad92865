"""What a prober concludes from what its probes find, and when it looks."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import pytest

from k8slab.kube.kubelet.engine import EngineError
from k8slab.kube.kubelet.observation import Health, Seen
from k8slab.kube.kubelet.prober import Prober, Threshold
from k8slab.kube.kubelet.probes import Result
from tests.unit.kubelet.pods import a_container, a_pod, dead, running

GOOD, BAD = Result(True), Result(False, "no")


@pytest.mark.parametrize(
    ("spec", "results", "verdicts"),
    [
        ({}, "-", [None]),
        ({}, "---", [None, None, False]),
        ({}, "--+--", [None, None, True, None, None]),
        ({"failureThreshold": 1}, "-", [False]),
        ({"successThreshold": 2}, "+-++", [None, None, None, True]),
    ],
)
def test_thresholds(spec: dict[str, int], results: str, verdicts: list[bool | None]) -> None:
    threshold = Threshold(spec)
    assert [threshold.verdict(one == "+") for one in results] == verdicts


class Place:
    """Where looks give what they are told to give; time passes at once."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, **looks: list[Result | Exception]) -> None:
        self.looks = looks
        self.slept: list[float] = []
        self.said: list[tuple[str, str]] = []
        self.order: list[str] = []
        self.changes = 0
        self.idle = asyncio.Event()
        self.prober = Prober(self._look, lambda reason, said, name: self.said.append((reason, said)), self._changed)
        sleep = asyncio.sleep

        async def pass_time(seconds: float) -> None:
            self.slept.append(seconds)
            await sleep(0)

        monkeypatch.setattr("k8slab.kube.kubelet.prober.asyncio.sleep", pass_time)

    async def _look(self, seen: Seen, container: Mapping[str, Any], spec: Mapping[str, Any]) -> Result:
        name = spec["of"]
        self.order.append(name)
        if not self.looks[name]:
            self.idle.set()
            await asyncio.Event().wait()
        result = self.looks[name].pop(0)
        if isinstance(result, Exception):
            raise result
        return result

    def _changed(self) -> None:
        self.changes += 1

    async def watch(self, seen: Seen, *, until_idle: bool = True, status: Any = None, **settings: int) -> Health:
        pod = a_pod(a_container(**{f"{kind}Probe": {"of": kind, **settings} for kind in self.looks}))
        pod["status"] = status or {}
        self.prober.follow(pod, (seen,))
        if until_idle:
            await self.idle.wait()
        else:
            await asyncio.gather(*(one.task for one in self.prober._watches.values() if one.task))
        health = self.prober.health(seen)
        await self.prober.close()
        return health


async def test_a_container_without_probes_is_well(monkeypatch: pytest.MonkeyPatch) -> None:
    place = Place(monkeypatch)
    place.prober.follow(a_pod(), (running(),))
    assert place.prober.health(running()) == Health()


async def test_readiness_is_false_until_it_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    assert await Place(monkeypatch, readiness=[BAD]).watch(running()) == Health(ready=False)
    assert await Place(monkeypatch, readiness=[GOOD]).watch(running()) == Health()
    place = Place(monkeypatch, readiness=[GOOD, BAD, BAD, BAD])
    assert await place.watch(running()) == Health(ready=False)
    assert place.changes == 2
    assert place.said == [("Unhealthy", "Readiness probe failed: no")] * 3


async def test_liveness_gives_up_once(monkeypatch: pytest.MonkeyPatch) -> None:
    place = Place(monkeypatch, liveness=[GOOD, BAD, BAD, BAD])
    assert await place.watch(running(), until_idle=False) == Health(failed="liveness")
    assert place.changes == 1


async def test_a_look_that_was_not_possible_says_nothing_about_the_container(monkeypatch: pytest.MonkeyPatch) -> None:
    place = Place(monkeypatch, liveness=[EngineError(409, "is paused")] * 5)
    assert await place.watch(running()) == Health()
    assert place.said[0] == ("Unhealthy", "Liveness probe errored: is paused")


async def test_nothing_unexpected_ends_the_looks(monkeypatch: pytest.MonkeyPatch) -> None:
    place = Place(monkeypatch, readiness=[OverflowError("getsockaddrarg: port must be 0-65535."), GOOD])
    async with asyncio.timeout(5):
        assert await place.watch(running()) == Health()
    why = "Readiness probe errored: getsockaddrarg: port must be 0-65535."
    assert place.said == [("Unhealthy", why)]


async def test_startup_comes_before_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    place = Place(monkeypatch, startup=[BAD, GOOD], liveness=[], readiness=[GOOD])
    assert await place.watch(running()) == Health()
    assert place.order[:2] == ["startup", "startup"]
    place = Place(monkeypatch, startup=[BAD] * 3, liveness=[BAD])
    assert await place.watch(running(), until_idle=False) == Health(started=False, failed="startup")
    assert "liveness" not in place.order


async def test_the_initial_delay_counts_from_the_containers_start(monkeypatch: pytest.MonkeyPatch) -> None:
    place = Place(monkeypatch, readiness=[GOOD, GOOD])
    await place.watch(running(started=datetime.now(UTC)), initialDelaySeconds=30, periodSeconds=7)
    assert 29 < place.slept[0] <= 30
    assert place.slept[1:] == [7, 7]


async def test_what_was_told_of_the_same_container_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    told = {"name": "web", "ready": True, "started": True, "containerID": "docker://web0"}
    status = {"containerStatuses": [told]}
    assert await Place(monkeypatch, readiness=[], startup=[]).watch(running(), status=status) == Health()
    other = {"containerStatuses": [{**told, "containerID": "docker://another"}]}
    assert not (await Place(monkeypatch, readiness=[]).watch(running(), status=other)).ready


async def test_the_dead_are_not_looked_at_and_what_was_found_stays_until_they_are_gone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    place = Place(monkeypatch, liveness=[BAD] * 3)
    await place.watch(running(), until_idle=False)
    pod = a_pod(a_container(livenessProbe={"of": "liveness"}))
    place.prober.follow(pod, (dead(code=137),))
    assert place.prober.health(dead()).failed == "liveness"
    place.prober.follow(pod, ())
    assert place.prober.health(dead()) == Health()
    assert len(place.order) == 3
