"""Whose pods are whose, which go first, and when a count can be trusted."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from k8slab.kube.client import ApiError, ApiUnavailable, Object, ObjectList
from k8slab.kube.controllers.informers import SharedInformers
from k8slab.kube.controllers.owned_pods import OwnedPods, is_available, pod_of, slow_start, to_delete
from k8slab.kube.controllers.workqueue import WorkQueue

LABELS = {"app": "web"}


def owner(name: str = "web", uid: str = "u1", **meta: Any) -> Object:
    metadata = {"name": name, "namespace": "n", "uid": uid, "resourceVersion": "1", **meta}
    return {"kind": "ReplicaSet", "apiVersion": "apps/v1", "metadata": metadata, "spec": {"selector": SELECTOR}}


SELECTOR = {"matchLabels": LABELS}


def pod(name: str, controller: str = "", *, version: int = 1, labels: dict[str, str] = LABELS, **rest: Any) -> Object:
    metadata: Object = {"name": name, "namespace": "n", "uid": name, "labels": labels, "resourceVersion": str(version)}
    if controller:
        reference = {"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "web", "uid": controller}
        metadata["ownerReferences"] = [{**reference, "controller": True}]
    return {"kind": "Pod", "apiVersion": "v1", "metadata": metadata, "spec": {}, "status": {"phase": "Running"}, **rest}


class Api:
    """What an owner's pods ask of the server."""

    def __init__(self, *owners: Object) -> None:
        self.owners = {one["metadata"]["name"]: one for one in owners}
        self.patched: list[tuple[str, Object]] = []
        self.version = 10
        self.trouble: Exception | None = None
        self.events: list[str] = []
        client: Any = self
        self.informers = SharedInformers(client)
        recorder: Any = self
        self.pods = OwnedPods(client, self.informers, recorder)
        self.queue = WorkQueue("test")
        self.pods.report_to("replicasets", self.queue)

    def say(self, obj: Object, kind: str, reason: str, message: str, *, component: str) -> None:
        self.events.append(f"{reason} {message}")
        assert component == "replicaset-controller"

    async def find(self, resource: str, name: str, namespace: str) -> Object | None:
        return self.owners.get(name)

    async def patch(self, resource: str, name: str, patch: Object, namespace: str, *, content_type: str) -> Object:
        self.patched.append((name, patch["metadata"]["ownerReferences"][0]))
        return pod(name)

    async def create(self, resource: str, obj: Object, namespace: str) -> Object:
        if self.trouble is not None:
            raise self.trouble
        self.version += 1
        meta = {**obj["metadata"], "name": f"web-{self.version}", "resourceVersion": str(self.version)}
        return {**obj, "metadata": meta}

    async def delete(self, resource: str, name: str, namespace: str, *, uid: str) -> Object:
        return {}

    async def list(self, resource: str, namespace: str | None, **selectors: str) -> ObjectList:
        listed = self.owners.values() if resource == "replicasets" else self.shown
        return ObjectList(list(listed), str(self.version))

    async def show(self, *pods: Object) -> None:
        """The pods as the informers find them."""
        self.shown = pods
        for informer in self.informers._informers.values():
            await informer._relist()

    def queued(self) -> list[str]:
        self.queue._queued.clear()
        return [self.queue._ready.get_nowait() for _ in range(len(self.queue))]


async def names(api: Api, of: Object) -> set[str]:
    return {one["metadata"]["name"] for one in await api.pods.claim(of, SELECTOR)}


async def test_what_matches_and_belongs_to_nobody_is_adopted() -> None:
    web = owner()
    api = Api(web)
    await api.show(pod("mine", "u1"), pod("free"), pod("theirs", "u2"), pod("else", labels={"app": "db"}))
    assert await names(api, web) == {"mine", "free"}
    adopted = {"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "web", "uid": "u1"}
    assert api.patched == [("free", {**adopted, "controller": True, "blockOwnerDeletion": True})]


async def test_what_is_no_longer_chosen_is_let_go() -> None:
    web = owner()
    api = Api(web)
    await api.show(pod("mine", "u1"), pod("relabelled", "u1", labels={"app": "db"}))
    assert await names(api, web) == {"mine"}
    assert api.patched == [("relabelled", {"$patch": "delete", "uid": "u1"})]


@pytest.mark.parametrize("now", [owner(uid="another"), owner(deletionTimestamp="2026-01-01T00:00:00Z"), None])
async def test_an_owner_that_is_gone_takes_nothing_over(now: Object | None) -> None:
    api = Api(*([now] if now else []))
    await api.show(pod("free"))
    assert await names(api, owner()) == set()
    assert api.patched == []


async def test_an_owner_is_told_of_its_pods_and_of_those_it_could_take() -> None:
    api = Api(owner())
    await api.show()
    await api.show(pod("else", labels={"app": "db"}), pod("theirs", "u2"))
    assert api.queued() == []
    await api.show(pod("free"))
    assert api.queued() == ["n/web"]
    await api.show(pod("free", "u1", version=2))
    assert api.queued() == ["n/web"]
    await api.show()
    assert api.queued() == ["n/web"]


async def test_an_owner_of_many_waits_for_more_to_change() -> None:
    api = Api(owner())
    await api.show()
    many = [pod(f"p{number}", "u1") for number in range(50)]
    api.pods.report_to("replicasets", api.queue, settle=0.001)
    await api.show(*many)
    assert api.queued() == []
    handled = asyncio.Event()

    async def handle(key: str) -> None:
        handled.set()

    working = asyncio.create_task(api.queue.run(handle))
    await asyncio.wait_for(handled.wait(), 5)
    working.cancel()


async def test_a_count_is_trusted_when_all_writes_were_seen() -> None:
    web = owner()
    api = Api(web)
    await api.show(pod("old", "u1"))
    assert await api.pods.all_seen(web)
    await api.pods.create(web, [pod_of({}, web)] * 3)
    assert not await api.pods.all_seen(web)
    await api.show(pod("old", "u1"))
    assert await api.pods.all_seen(web), "the list is as new as the last of the writes"
    await api.pods.delete(web, [pod("old", "u1")])
    assert not await api.pods.all_seen(web)
    gone = pod("old", "u1", version=2)
    gone["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    await api.show(gone)
    assert await api.pods.all_seen(web), "one on its way out is not counted any more"
    assert [one.split()[0] for one in api.events] == ["SuccessfulCreate"] * 3 + ["SuccessfulDelete"]


@pytest.mark.parametrize("trouble", [ApiUnavailable("broke"), ApiError(500, "", "etcdserver: leader changed")])
async def test_pods_that_may_have_been_made_are_looked_for_before_others_are(trouble: Exception) -> None:
    web = owner()
    api = Api(web)
    await api.show(pod("old", "u1"))
    api.trouble = trouble
    with pytest.raises(type(trouble)):
        await api.pods.create(web, [pod_of({}, web)])
    # It was made all the same, and no word of it has come yet.
    api.shown = (pod("old", "u1"), pod("made", "u1", version=12), pod("theirs", "u2", version=20))
    assert not await api.pods.all_seen(web)
    api.version = 12
    await api.show(*api.shown)
    assert await api.pods.all_seen(web)


@pytest.mark.parametrize("trouble", [ApiUnavailable("broke"), ApiError(403, "Forbidden", "quota")])
async def test_nothing_is_waited_for_when_no_pod_was_made(trouble: Exception) -> None:
    web = owner()
    api = Api(web)
    await api.show(pod("old", "u1"))
    api.trouble = trouble
    with pytest.raises(type(trouble)):
        await api.pods.create(web, [pod_of({}, web)])
    assert await api.pods.all_seen(web)


async def test_slow_start_stops_where_it_fails() -> None:
    tried: list[int] = []

    async def act(number: int) -> None:
        tried.append(number)
        if number == 4:
            raise ApiError(403, "Forbidden", "quota")

    with pytest.raises(ApiError):
        await slow_start(range(100), act)
    assert tried == [*range(7)], "one, two, and the four of which one failed"


def test_the_pods_that_go_first() -> None:
    def one(name: str, node: str, ready: bool, *, cost: int = 0, phase: str = "Running", created: int = 1) -> Object:
        made = pod(name, "u1", spec={"nodeName": node} if node else {})
        made["metadata"]["annotations"] = {"controller.kubernetes.io/pod-deletion-cost": str(cost)}
        made["metadata"]["creationTimestamp"] = f"20{created:02}-01-01T00:00:00Z"
        conditions = [{"type": "Ready", "status": str(ready), "lastTransitionTime": "2001-01-01T00:00:00Z"}]
        made["status"] = {"phase": phase, "conditions": conditions}
        return made

    pods = [
        one("worth-most", "a", True, cost=9),
        one("alone", "b", True),
        one("doubled", "c", True),
        one("unready", "a", False),
        one("pending", "a", False, phase="Pending"),
        one("nowhere", "", False, phase="Pending"),
    ]
    related = [*pods, one("c2", "c", True), one("c3", "c", True)]
    order = [one["metadata"]["name"] for one in to_delete(pods, 5, related)]
    assert order == ["nowhere", "pending", "unready", "doubled", "alone"]
    assert len(to_delete(pods, 9)) == 6


def test_available_is_ready_for_long_enough() -> None:
    made = pod("p")
    assert not is_available(made, 0)
    made["status"]["conditions"] = [{"type": "Ready", "status": "True", "lastTransitionTime": "1970-01-01T00:01:40Z"}]
    assert is_available(made, 0)
    assert not is_available(made, 10, now=109)
    assert is_available(made, 10, now=110)
