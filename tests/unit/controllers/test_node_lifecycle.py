"""Silence is what a node does not say while it could."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from k8slab.kube.client import ApiError, ApiUnavailable, Object, ObjectList
from k8slab.kube.controllers.node_lifecycle import NodeLifecycle, condition

TROUBLES = [ApiUnavailable("away"), ApiError(500, "InternalError", "etcd"), ApiError(504, "Timeout", "")]


class Api:
    """One node, and a clock that moves when told to."""

    def __init__(self) -> None:
        self.now = 100.0
        self.node: Object = {"metadata": {"name": "node-0", "resourceVersion": "1"}, "status": {}}
        self.trouble: Exception | None = None
        self.seconds = 0.0
        self.beats_before_patch = False
        self.renewed = 0
        self.secret = False
        self.events: list[str] = []
        self.beat()
        informers: Any = SimpleNamespace(of=lambda resource: SimpleNamespace(cache={}))
        recorder: Any = SimpleNamespace(say=lambda obj, kind, reason, message: self.events.append(reason))
        client: Any = self
        self.lifecycle = NodeLifecycle(client, informers, recorder, grace=6, period=1, clock=lambda: self.now)

    @property
    def ready(self) -> str:
        return str(condition(self.node, "Ready")["status"])

    def beat(self) -> None:
        version = str(int(self.node["metadata"]["resourceVersion"]) + 1)
        self.node["metadata"] = {**self.node["metadata"], "resourceVersion": version}
        self.node["status"] = {"conditions": [{"type": "Ready", "status": "True", "lastHeartbeatTime": version}]}

    async def list(self, resource: str, namespace: str | None = None) -> ObjectList:
        self.now += self.seconds
        if self.trouble:
            raise self.trouble
        if resource == "leases" and self.secret:
            raise ApiError(403, "Forbidden", "leases")
        if resource == "leases":
            assert namespace == "kube-node-lease"
            return ObjectList([{"metadata": {"name": "node-0"}, "spec": {"renewTime": str(self.renewed)}}], "1")
        return ObjectList([{**self.node, "kind": "Node"}], "1")

    async def patch(self, resource: str, name: str, patch: Any, *, subresource: str) -> Object:
        if self.beats_before_patch:
            self.beat()
        if patch["metadata"]["resourceVersion"] != self.node["metadata"]["resourceVersion"]:
            raise ApiError(409, "Conflict", "modified")
        self.node["status"] = patch["status"]
        return self.node

    async def pass_seconds(self, seconds: int) -> None:
        for _ in range(seconds):
            self.now += 1
            await self.lifecycle.look()


async def test_a_silent_node_is_unknown_after_the_grace() -> None:
    api = Api()
    await api.pass_seconds(7)
    assert api.ready == "True"
    await api.pass_seconds(1)
    assert api.ready == "Unknown"
    assert api.events == ["NodeNotReady"]


async def test_a_renewed_lease_is_a_sign_of_life() -> None:
    api = Api()
    for _ in range(20):
        api.renewed += 1
        await api.pass_seconds(5)
    assert api.ready == "True"
    await api.pass_seconds(8)
    assert (api.ready, api.events) == ("Unknown", ["NodeNotReady"])


async def test_where_leases_may_not_be_read_the_status_alone_speaks() -> None:
    api = Api()
    api.secret = True
    await api.pass_seconds(5)
    api.beat()
    await api.pass_seconds(5)
    assert api.ready == "True"
    await api.pass_seconds(3)
    assert api.ready == "Unknown"


async def test_the_mark_of_silence_is_no_sign_of_life() -> None:
    api = Api()
    await api.pass_seconds(8)
    assert api.ready == "Unknown"
    await api.pass_seconds(3)
    assert api.lifecycle.silent == {"node-0"}


@pytest.mark.parametrize("trouble", TROUBLES)
async def test_nobody_is_silent_while_the_api_is_away(trouble: Exception) -> None:
    api = Api()
    await api.pass_seconds(3)
    api.trouble = trouble
    await api.pass_seconds(60)
    api.trouble = None
    await api.pass_seconds(6)
    assert api.ready == "True"
    api.beat()
    await api.pass_seconds(6)
    assert (api.ready, api.events) == ("True", [])


async def test_a_node_that_stays_silent_after_the_outage_is_unknown() -> None:
    api = Api()
    api.trouble = TROUBLES[0]
    await api.pass_seconds(60)
    api.trouble = None
    await api.pass_seconds(8)
    assert api.ready == "Unknown"


async def test_nobody_is_silent_while_the_api_takes_long() -> None:
    api = Api()
    await api.pass_seconds(3)
    api.seconds = 20.0
    await api.pass_seconds(1)
    api.seconds = 0.0
    await api.pass_seconds(5)
    assert api.ready == "True"


async def test_a_heartbeat_that_comes_meanwhile_wins() -> None:
    api = Api()
    await api.pass_seconds(7)
    api.beats_before_patch = True
    await api.pass_seconds(1)
    assert (api.ready, api.events) == ("True", [])
