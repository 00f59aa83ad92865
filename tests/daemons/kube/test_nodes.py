"""What becomes of pods when their node falls silent, comes back, or is taken away."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from typing import Any

import pytest

from k8slab.kube.client import KubeClient, Object
from k8slab.kube.controllers.informers import SharedInformers
from k8slab.kube.controllers.node_lifecycle import condition
from k8slab.kube.controllers.pod_garbage import PodGarbage
from tests.daemons.kube.conftest import Api, Kubectl, kubectls
from tests.daemons.kube.hollow import hollow
from tests.daemons.kube.nodes import Nodes, beating_nodes
from tests.daemons.processes import Etcd, Supervisor, eventually, free_port, start_etcd

GRACE = 1.5
UNREACHABLE = "node.kubernetes.io/unreachable"


@pytest.fixture(scope="module")
def own_api(session_supervisor: Supervisor) -> Api:
    """Nodes are everybody's: these tests have a cluster of their own."""
    from tests.daemons.kube.conftest import start_api

    etcd: Etcd = start_etcd(session_supervisor)
    seconds = ("--default-unreachable-toleration-seconds=1", "--default-not-ready-toleration-seconds=1")
    api = start_api(session_supervisor, etcd, *seconds)
    grace = (f"--node-monitor-grace-period={GRACE}s", "--node-monitor-period=200ms", "--node-eviction-rate=1")
    keep = "--terminated-pod-gc-threshold=2"
    session_supervisor.km("controller-manager", f"--master={api.url}", f"--port={free_port()}", *grace, keep).start()
    return api


@pytest.fixture
async def client(own_api: Api) -> AsyncIterator[KubeClient]:
    async with KubeClient(own_api.url) as client:
        yield client


@pytest.fixture
async def nodes(client: KubeClient) -> AsyncIterator[Nodes]:
    async with beating_nodes(client, "node-a", "node-b") as nodes:
        yield nodes


def pod(name: str, node: str = "node-b", **spec: Any) -> Object:
    return {"metadata": {"name": name}, "spec": {"nodeName": node, "containers": [{"name": "c", "image": "i"}], **spec}}


async def effects(client: KubeClient, node: str) -> set[tuple[str, str]]:
    found = (await client.get("nodes", node))["spec"].get("taints") or ()
    return {(one["key"], one["effect"]) for one in found}


async def names(client: KubeClient, namespace: str) -> set[str]:
    """Of the pods that are there and stay."""
    pods = (await client.list("pods", namespace)).items
    return {one["metadata"]["name"] for one in pods if not one["metadata"].get("deletionTimestamp")}


async def is_ready(client: KubeClient, namespace: str, name: str) -> bool:
    return condition(await client.get("pods", name, namespace), "Ready").get("status") == "True"


async def test_pods_leave_a_silent_node_as_their_tolerations_say(
    client: KubeClient, nodes: Nodes, namespace: str, own_api: Api, tmp_path: Any
) -> None:
    for_ever = {"key": UNREACHABLE, "operator": "Exists", "effect": "NoExecute"}
    await client.create("pods", pod("default"), namespace)
    await client.create("pods", pod("elsewhere", "node-a"), namespace)
    await client.create("pods", pod("stays", tolerations=[for_ever]), namespace)
    await client.create("pods", pod("waits", tolerations=[{**for_ever, "tolerationSeconds": 3600}]), namespace)
    every = {"default", "elsewhere", "stays", "waits"}
    async with hollow(client, namespace) as kubelet:
        kubelet.lingers = True

        async def all_ready() -> bool:
            return all([await is_ready(client, namespace, name) for name in every])

        await eventually(all_ready, what="all pods are ready")
        nodes.beating.discard("node-b")
        silent = time.monotonic()

        async def evicted() -> bool:
            return await names(client, namespace) == every - {"default"}

        await eventually(evicted, what="the pod with the default toleration leaves", timeout=GRACE + 6)
        assert time.monotonic() - silent > GRACE
        assert await effects(client, "node-b") == {(UNREACHABLE, "NoSchedule"), (UNREACHABLE, "NoExecute")}
        assert await effects(client, "node-a") == set()
        assert not await is_ready(client, namespace, "stays")
        assert await is_ready(client, namespace, "elsewhere")
        gone = await client.get("pods", "default", namespace)
        why = condition(gone, "DisruptionTarget")
        assert (why["status"], why["reason"]) == ("True", "DeletionByTaintManager")
        kubectl = Kubectl(next(iter(kubectls().values())), own_api.url, tmp_path)

        async def said() -> bool:
            shown = await asyncio.to_thread(kubectl, "get", "events", "-n", namespace, "--no-headers")
            return f"Marking for deletion Pod {namespace}/default" in shown

        await eventually(said, what="the eviction is told as an event")

        nodes.beating.add("node-b")

        async def clean() -> bool:
            return await effects(client, "node-b") == set()

        await eventually(clean, what="the node that is back has no taint")
        assert await names(client, namespace) == every - {"default"}

        async def cancelled() -> bool:
            shown = await asyncio.to_thread(kubectl, "get", "events", "-n", namespace, "--no-headers")
            return f"Cancelling deletion of Pod {namespace}/waits" in shown

        await eventually(cancelled, what="what would have been evicted later is told to stay")


async def test_nobody_leaves_when_there_is_nowhere_to_go(client: KubeClient, nodes: Nodes, namespace: str) -> None:
    await client.create("pods", pod("here"), namespace)
    nodes.beating.clear()

    async def both_are_out_of_reach() -> bool:
        found = [await effects(client, name) for name in ("node-a", "node-b")]
        return found == [{(UNREACHABLE, "NoSchedule")}] * 2

    await eventually(both_are_out_of_reach, what="both nodes take no new pods, and evict none")
    nodes.beating.add("node-a")

    async def one_evicts() -> bool:
        return (UNREACHABLE, "NoExecute") in await effects(client, "node-b")

    await eventually(one_evicts, what="with one node back the other is left")


async def test_when_most_nodes_fall_silent_together_their_pods_stay(client: KubeClient) -> None:
    async with beating_nodes(client, "w", "x", "y", "z") as nodes:
        nodes.beating.intersection_update({"w"})

        async def silent() -> bool:
            return all([(UNREACHABLE, "NoSchedule") in await effects(client, name) for name in ("x", "y", "z")])

        await eventually(silent, what="three are out of reach")
        # Their last beats were not at one moment: the first may have been left before; now all would have been.
        await asyncio.sleep(3)
        left = [name for name in ("x", "y", "z") if (UNREACHABLE, "NoExecute") in await effects(client, name)]
        assert len(left) <= 1
        nodes.beating.add("x")

        async def two_are_left() -> bool:
            return all([(UNREACHABLE, "NoExecute") in await effects(client, name) for name in ("y", "z")])

        await eventually(two_are_left, what="with two of four back the others are left, one after another")


async def test_a_taint_put_by_hand_evicts(client: KubeClient, nodes: Nodes, namespace: str) -> None:
    seconds = {"key": "maintenance", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 1}
    await client.create("pods", pod("at-once"), namespace)
    await client.create("pods", pod("later", tolerations=[seconds]), namespace)
    await client.create("pods", pod("elsewhere", "node-a"), namespace)
    async with hollow(client, namespace):
        taint = {"key": "maintenance", "effect": "NoExecute"}
        await client.patch("nodes", "node-b", {"spec": {"taints": [taint]}})

        async def first() -> bool:
            return "at-once" not in await names(client, namespace)

        await eventually(first, what="what does not tolerate it leaves")
        assert "later" in await names(client, namespace)

        async def second() -> bool:
            return await names(client, namespace) == {"elsewhere"}

        await eventually(second, what="what tolerates it for a second leaves then")


async def test_cordon_and_uncordon_are_taints_too(client: KubeClient, nodes: Nodes) -> None:
    await client.patch("nodes", "node-a", {"spec": {"unschedulable": True}})

    async def cordoned() -> bool:
        return await effects(client, "node-a") == {("node.kubernetes.io/unschedulable", "NoSchedule")}

    await eventually(cordoned, what="the cordon shows as a taint")
    await client.patch("nodes", "node-a", {"spec": {"unschedulable": None}})

    async def clean() -> bool:
        return await effects(client, "node-a") == set()

    await eventually(clean, what="and goes with it")


async def test_pods_of_a_node_that_is_no_more_go_with_it(client: KubeClient, nodes: Nodes, namespace: str) -> None:
    """With a short quarantine, against the real server: the controller-manager's own is of 40 seconds."""
    await client.create("pods", pod("orphan"), namespace)
    await client.create("pods", pod("early", "node-c"), namespace)
    await client.create("pods", pod("kept", "node-a"), namespace)
    informers = SharedInformers(client)
    garbage = PodGarbage(client, informers, threshold=0, quarantine=0.5)
    nodes.beating.discard("node-b")
    await client.delete("nodes", "node-b")
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(informers.run()), group.create_task(garbage.run())]

        async def gone() -> bool:
            return await names(client, namespace) == {"kept"}

        await eventually(gone, what="pods without a node are gone")
        for task in tasks:
            task.cancel()


async def test_of_pods_that_ended_the_newest_are_kept(client: KubeClient, nodes: Nodes, namespace: str) -> None:
    async with hollow(client, namespace, fate=lambda pod: "Succeeded") as kubelet:
        for number in range(4):
            await client.create("pods", pod(f"p{number}", "node-a"), namespace)
            # Their age is in whole seconds.
            created = time.time()
            await eventually(lambda created=created: _is_past(int(created) + 1), what="the next second")

        async def thinned_out() -> bool:
            return await names(client, namespace) == {"p2", "p3"}

        await eventually(thinned_out, what="the two newest are left")
        assert len(kubelet.pods.cache) <= 4


async def _is_past(moment: float) -> bool:
    return time.time() >= moment
