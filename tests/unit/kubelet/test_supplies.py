"""Tokens that are renewed in time, objects that are followed for as long as somebody uses them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from k8slab.kube.client import ApiUnavailable, Object, ObjectList, WatchEvent
from k8slab.kube.clock import from_epoch, rfc3339
from k8slab.kube.kubelet.supplies import ApiSupplies
from tests.unit.kubelet.pods import a_config_map, a_pod

HOUR = 3600


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(5):
        while not holds():  # noqa: ASYNC110 (what is waited for are steps of this very loop)
            await asyncio.sleep(0)


class Server:
    """A client of a server that says what it is told to; ``now`` is everybody's clock."""

    def __init__(self) -> None:
        self.now = 1_000_000.0
        self.away = False
        self.asked: list[dict[str, Any]] = []
        self.objects: list[Object] = []
        self.news: asyncio.Queue[WatchEvent] = asyncio.Queue()
        self.watches = 0

    async def request_token(self, namespace: str, account: str, spec: dict[str, Any]) -> Object:
        if self.away:
            raise ApiUnavailable("away")
        self.asked.append({"namespace": namespace, "account": account, **spec})
        expires = rfc3339(from_epoch(self.now + spec["expirationSeconds"]))
        return {"spec": spec, "status": {"token": f"t{len(self.asked)}", "expirationTimestamp": expires}}

    async def list(self, resource: str, namespace: str, **selectors: str) -> ObjectList:
        return ObjectList(list(self.objects), "1")

    async def watch(self, resource: str, namespace: str, **options: Any) -> AsyncIterator[WatchEvent]:
        self.watches += 1
        try:
            while True:
                yield await self.news.get()
        finally:
            self.watches -= 1


@pytest.fixture
async def server() -> Server:
    return Server()


def supplies(server: Any, changed: list[str] | None = None) -> ApiSupplies:
    told = [] if changed is None else changed
    return ApiSupplies(server, "node-0", told.append, now=lambda: server.now)


async def test_a_token_is_bound_to_its_pod_and_kept(server: Server) -> None:
    made, pod = supplies(server), a_pod(serviceAccountName="robot")
    assert [await made.token(pod, "", HOUR) for _ in range(2)] == ["t1", "t1"]
    assert server.asked == [
        {
            "namespace": "default",
            "account": "robot",
            "audiences": [],
            "expirationSeconds": HOUR,
            "boundObjectRef": {"kind": "Pod", "apiVersion": "v1", "name": "nginx", "uid": "u-1"},
        }
    ]
    assert await made.token(pod, "vault", HOUR) == "t2"
    assert server.asked[1]["audiences"] == ["vault"]


@pytest.mark.parametrize(
    ("life", "still", "renewed"),
    [(HOUR, 0.79 * HOUR, 0.8 * HOUR), (600, 469.0, 480.0), (48 * HOUR, 24 * HOUR - 11.0, 24 * HOUR)],
    ids=["an hour", "the shortest", "longer than a day"],
)
async def test_a_token_is_renewed_in_time(server: Server, life: int, still: float, renewed: float) -> None:
    made, began = supplies(server), server.now
    await made.token(a_pod(), "", life)
    server.now = began + still
    assert await made.token(a_pod(), "", life) == "t1"
    server.now = began + renewed
    assert await made.token(a_pod(), "", life) == "t2"


async def test_an_old_token_serves_while_the_api_is_away_and_not_beyond_its_end(server: Server) -> None:
    made, began = supplies(server), server.now
    await made.token(a_pod(), "", HOUR)
    server.away = True
    server.now = began + HOUR - 1
    assert await made.token(a_pod(), "", HOUR) == "t1"
    server.now = began + HOUR
    with pytest.raises(ApiUnavailable):
        await made.token(a_pod(), "", HOUR)


async def test_an_object_is_followed_until_its_last_pod_is_gone(server: Server) -> None:
    told: list[str] = []
    made, pod = supplies(server, told), a_pod()
    other = {**pod, "metadata": {**pod["metadata"], "uid": "u-2"}}
    assert await made.find(pod, "configmaps", "conf") is None
    assert await made.find(other, "configmaps", "conf") is None
    obj = a_config_map("conf", {"a": "1"})
    obj["metadata"]["resourceVersion"] = "2"
    await server.news.put(WatchEvent("ADDED", obj))
    await until(lambda: len(told) == 2)
    assert sorted(told) == ["u-1", "u-2"]
    assert await made.find(pod, "configmaps", "conf") == obj
    assert server.watches == 1
    made.forget("u-1")
    assert await made.find(other, "configmaps", "conf") == obj
    made.forget("u-2")
    await until(lambda: not server.watches)
    await made.close()
