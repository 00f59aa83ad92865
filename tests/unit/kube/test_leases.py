"""One leads at a time, whatever the clocks and the API server do."""

from __future__ import annotations

import asyncio
import random
from typing import Any

import pytest

from k8slab.daemon import FlagParser
from k8slab.kube.client import ApiError, ApiUnavailable, Object
from k8slab.kube.leases import Leadership, LeaseSettings, LostLease, add_flags, lease_settings

SETTINGS = LeaseSettings("kube-system", "lock", duration=15, renew=10, retry=2)


class Api:
    """A server with one lease, and the clock by which the candidates measure."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 0.0
        self.lease: Object | None = None
        self.trouble: Exception | None = None
        self.slept = 0
        self.on_sleep: dict[int, Any] = {}
        monkeypatch.setattr(asyncio, "sleep", self.sleep)
        monkeypatch.setattr(random, "uniform", lambda low, high: low)

    def candidate(self, name: str) -> Leadership:
        client: Any = self
        return Leadership(client, SETTINGS, identity=name, clock=lambda: self.now)

    async def sleep(self, seconds: float) -> None:
        self.now += seconds
        self.slept += 1
        if act := self.on_sleep.get(self.slept):
            act()

    async def find(self, resource: str, name: str, namespace: str) -> Object | None:
        if self.trouble:
            raise self.trouble
        return self.lease

    async def create(self, resource: str, lease: Object) -> Object:
        if self.lease is not None:
            raise ApiError(409, "AlreadyExists", "lock")
        return self.write(lease, 1)

    async def update(self, resource: str, lease: Object) -> Object:
        assert self.lease is not None
        if lease["metadata"]["resourceVersion"] != self.lease["metadata"]["resourceVersion"]:
            raise ApiError(409, "Conflict", "modified")
        return self.write(lease, int(lease["metadata"]["resourceVersion"]) + 1)

    def write(self, lease: Object, version: int) -> Object:
        self.lease = {**lease, "metadata": {**lease["metadata"], "uid": "u", "resourceVersion": str(version)}}
        return self.lease

    @property
    def spec(self) -> Object:
        assert self.lease is not None
        spec: Object = self.lease["spec"]
        return spec


async def test_the_first_leads_and_the_second_waits_until_the_lease_has_run_out(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    api = Api(monkeypatch)
    first, second = api.candidate("first"), api.candidate("second")
    await first.lead()
    assert (api.spec["holderIdentity"], api.spec["leaseTransitions"], api.spec["leaseDurationSeconds"]) == (
        "first",
        0,
        15,
    )
    await second.lead()
    assert 15 <= api.now <= 15 + 2 * SETTINGS.retry
    assert (api.spec["holderIdentity"], api.spec["leaseTransitions"]) == ("second", 1)
    with pytest.raises(LostLease, match="second took the lease"):
        await first.hold()


async def test_what_is_released_is_taken_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    api = Api(monkeypatch)
    first, second = api.candidate("first"), api.candidate("second")
    await first.lead()
    await second.release()
    assert api.spec["holderIdentity"] == "first", "only its holder can give it up"
    await first.release()
    await second.lead()
    assert api.now == 0


async def test_a_lease_that_is_renewed_is_not_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    """However wrong the clock of the one that holds it."""
    api = Api(monkeypatch)
    first, second = api.candidate("first"), api.candidate("second")
    await first.lead()
    began = api.spec["acquireTime"]

    def renew() -> None:
        api.write({**api.lease, "spec": {**api.spec, "renewTime": f"1970-01-01T00:00:{api.slept:02}Z"}}, api.slept + 1)  # type: ignore[dict-item]

    def stop() -> None:
        raise asyncio.CancelledError

    api.on_sleep = {**dict.fromkeys(range(1, 40), renew), 40: stop}
    with pytest.raises(asyncio.CancelledError):
        await second.lead()
    assert api.now == 80
    assert (api.spec["holderIdentity"], api.spec["acquireTime"]) == ("first", began)


@pytest.mark.parametrize("trouble", [ApiUnavailable("away"), ApiError(504, "Timeout", "etcd")])
async def test_a_leader_that_cannot_renew_stops_before_another_may_begin(
    monkeypatch: pytest.MonkeyPatch, trouble: Exception
) -> None:
    api = Api(monkeypatch)
    leader = api.candidate("leader")
    await leader.lead()

    def break_off() -> None:
        api.trouble = trouble

    api.on_sleep = {3: break_off}
    with pytest.raises(LostLease, match="could not be renewed in 10 s"):
        await leader.hold()
    assert 4 + SETTINGS.renew <= api.now < 4 + SETTINGS.duration


async def test_a_short_trouble_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    api = Api(monkeypatch)
    leader = api.candidate("leader")
    await leader.lead()

    def break_off() -> None:
        api.trouble = ApiUnavailable("away")

    def mend() -> None:
        api.trouble = None

    def stop() -> None:
        raise asyncio.CancelledError

    api.on_sleep = {3: break_off, 6: mend, 30: stop}
    with pytest.raises(asyncio.CancelledError):
        await leader.hold()
    assert api.spec["holderIdentity"] == "leader"


@pytest.mark.parametrize(
    ("flag", "why"),
    [
        ("--leader-elect-lease-duration=10s", "must be greater than --leader-elect-renew-deadline"),
        ("--leader-elect-retry-period=9s", "must be greater than 1.2 × --leader-elect-retry-period"),
        ("--leader-elect-resource-lock=endpoints", "'endpoints' is not known"),
        ("--leader-elect-renew-deadline=soon", "'soon' is not a duration"),
    ],
)
def test_flags_that_cannot_be_meant(flag: str, why: str) -> None:
    parser = FlagParser(prog="test")
    add_flags(parser, "lock")
    assert lease_settings(parser.parse_args([])) == SETTINGS
    assert lease_settings(parser.parse_args(["--leader-elect=false"])) is None
    with pytest.raises(ValueError, match=why):
        lease_settings(parser.parse_args([flag]))
