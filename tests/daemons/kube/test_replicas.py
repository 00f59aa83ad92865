"""Replica sets and replication controllers keep as many pods as they are asked for."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator

import pytest

from k8slab.kube.client import KubeClient, Object
from tests.daemons.kube.conftest import Api, Kubectl
from tests.daemons.kube.hollow import hollow
from tests.daemons.processes import Supervisor, eventually, free_port

TEMPLATE = {"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [{"name": "c", "image": "busybox"}]}}
SETS = {"replicasets": {"matchLabels": {"app": "web"}}, "replicationcontrollers": {"app": "web"}}


@pytest.fixture(scope="module", autouse=True)
def controllers(session_supervisor: Supervisor, api: Api) -> Iterator[None]:
    daemon = session_supervisor.km("controller-manager", f"--master={api.url}", f"--port={free_port()}").start()
    yield
    daemon.stop()


async def make(client: KubeClient, namespace: str, replicas: int, resource: str = "replicasets") -> Object:
    spec = {"replicas": replicas, "selector": SETS[resource], "template": TEMPLATE}
    return await client.create(resource, {"metadata": {"name": "web"}, "spec": spec}, namespace)


async def pods_of(client: KubeClient, namespace: str) -> list[Object]:
    return [one for one in (await client.list("pods", namespace)).items if not one["metadata"].get("deletionTimestamp")]


async def settled(client: KubeClient, namespace: str, wanted: int, resource: str = "replicasets") -> Object:
    """The owner, once as many pods as wanted run and it says so itself."""

    async def probe() -> Object | None:
        owner = await client.get(resource, "web", namespace)
        status = owner["status"]
        counts = (status["replicas"], status.get("readyReplicas", 0), status.get("availableReplicas", 0))
        observed = status.get("observedGeneration") == owner["metadata"]["generation"]
        return owner if observed and counts == (wanted, wanted, wanted) else None

    found = await eventually(probe, what=f"{resource} web has {wanted} pods")
    assert found is not None
    assert len(await pods_of(client, namespace)) == wanted
    return found


@pytest.mark.parametrize("resource", SETS)
async def test_scale_up_and_down(client: KubeClient, newest_kubectl: Kubectl, namespace: str, resource: str) -> None:
    kubectl, inside = newest_kubectl, ("-n", namespace)
    async with hollow(client, namespace, node="node-a"):
        owner = await make(client, namespace, 2, resource)
        assert (await settled(client, namespace, 2, resource))["status"]["fullyLabeledReplicas"] == 2
        for pod in await pods_of(client, namespace):
            (reference,) = pod["metadata"]["ownerReferences"]
            assert (reference["uid"], reference["controller"]) == (owner["metadata"]["uid"], True)
            assert re.fullmatch("web-[bcdfghjklmnpqrstvwxz2456789]{5}", pod["metadata"]["name"])
        for wanted in (20, 2, 0):
            await asyncio.to_thread(kubectl, "scale", resource, "web", f"--replicas={wanted}", *inside)
            await settled(client, namespace, wanted, resource)

        async def told() -> str:
            said = await asyncio.to_thread(kubectl, "describe", resource, "web", *inside)
            return said if "SuccessfulDelete" in said else ""

        # Events are written when what they tell of is done.
        described = await eventually(told, what="the deletions are told")
    source = "replicaset-controller" if resource == "replicasets" else "replication-controller"
    assert re.search(rf"Normal +SuccessfulCreate .* {source} +Created pod: web-", described)
    assert re.search(rf"Normal +SuccessfulDelete .* {source} +Deleted pod: web-", described)


async def test_a_pod_that_goes_or_ends_is_replaced(client: KubeClient, namespace: str) -> None:
    async with hollow(client, namespace, node="node-a") as kubelet:
        await make(client, namespace, 3)
        await settled(client, namespace, 3)
        first, second, third = await pods_of(client, namespace)
        await client.delete("pods", first["metadata"]["name"], namespace)
        await kubelet.become(second, "Failed")

        async def replaced() -> bool:
            names = {one["metadata"]["name"] for one in await pods_of(client, namespace)}
            return first["metadata"]["name"] not in names and len(names) == 4 and third["metadata"]["name"] in names

        await eventually(replaced, what="two new pods beside the one that stayed and the one that failed")


async def test_pods_are_taken_over_and_let_go(client: KubeClient, namespace: str) -> None:
    async with hollow(client, namespace, node="node-a"):
        stray = {"metadata": {"name": "stray", "labels": {"app": "web"}}, "spec": TEMPLATE["spec"]}
        await client.create("pods", stray, namespace)
        owner = await make(client, namespace, 2)
        await settled(client, namespace, 2)
        adopted = await client.get("pods", "stray", namespace)
        assert adopted["metadata"]["ownerReferences"][0]["uid"] == owner["metadata"]["uid"]

        await client.patch("pods", "stray", {"metadata": {"labels": {"app": "debugged"}}}, namespace)

        async def let_go() -> bool:
            freed = await client.get("pods", "stray", namespace)
            return "ownerReferences" not in freed["metadata"] and len(await pods_of(client, namespace)) == 3

        await eventually(let_go, what="the stray pod belongs to nobody, and another is in its place")


async def test_the_pods_that_do_not_work_go_first(client: KubeClient, namespace: str) -> None:
    async with hollow(client, namespace, node="node-a") as kubelet:
        await make(client, namespace, 5)
        await settled(client, namespace, 5)
        broken = (await pods_of(client, namespace))[1:3]
        for pod in broken:
            await kubelet.become(pod, "Running", ready=False)

        async def noticed() -> bool:
            return (await client.get("replicasets", "web", namespace))["status"].get("readyReplicas") == 3

        await eventually(noticed, what="two are not ready")
        await client.patch("replicasets", "web", {"spec": {"replicas": 3}}, namespace)
        await settled(client, namespace, 3)
        left = {one["metadata"]["name"] for one in await pods_of(client, namespace)}
        assert not left & {one["metadata"]["name"] for one in broken}


async def test_pods_that_may_not_be_made(client: KubeClient, newest_kubectl: Kubectl, namespace: str) -> None:
    await client.create("resourcequotas", {"metadata": {"name": "few"}, "spec": {"hard": {"pods": "2"}}}, namespace)
    await make(client, namespace, 4)

    async def failure() -> Object | None:
        status = (await client.get("replicasets", "web", namespace))["status"]
        return next((one for one in status.get("conditions", ()) if one["type"] == "ReplicaFailure"), None)

    found = await eventually(failure, what="the replica set says that it cannot make its pods")
    assert found is not None
    assert (found["status"], found["reason"]) == ("True", "FailedCreate")
    assert re.match(r'pods "web-\w{5}" is forbidden: exceeded quota: few', found["message"])

    async def told() -> bool:
        described = await asyncio.to_thread(newest_kubectl, "describe", "rs", "web", "-n", namespace)
        return bool(re.search(r"Warning +FailedCreate .*Error creating: pods .* exceeded quota: few", described))

    await eventually(told, what="events say so")
    assert len(await pods_of(client, namespace)) == 2
    await client.delete("resourcequotas", "few", namespace)

    async def whole() -> bool:
        return len(await pods_of(client, namespace)) == 4 and await failure() is None

    await eventually(whole, what="without the quota all are made, and nothing is said any more")


async def test_ready_for_long_enough(client: KubeClient, namespace: str) -> None:
    spec = {"replicas": 2, "minReadySeconds": 2, "selector": SETS["replicasets"], "template": TEMPLATE}
    async with hollow(client, namespace, node="node-a"):
        await client.create("replicasets", {"metadata": {"name": "web"}, "spec": spec}, namespace)

        async def ready() -> Object | None:
            status = (await client.get("replicasets", "web", namespace))["status"]
            return status if status.get("readyReplicas") == 2 else None

        status = await eventually(ready, what="both are ready")
        assert status is not None
        assert "availableReplicas" not in status
        await settled(client, namespace, 2)
