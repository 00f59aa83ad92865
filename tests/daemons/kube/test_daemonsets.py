"""Daemon sets by kubectl, with real servers; the nodes are the test's own and the pods are hollow."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from k8slab.kube.client import KubeClient, Object
from tests.daemons.kube.conftest import Api, Kubectl, kubectls, start_api
from tests.daemons.kube.hollow import Hollow, hollow
from tests.daemons.kube.nodes import Nodes, beating_nodes
from tests.daemons.processes import Supervisor, eventually, free_port, start_etcd

HASH = "controller-revision-hash"


@pytest.fixture(scope="module")
def own_api(session_supervisor: Supervisor) -> Api:
    """Nodes are everybody's: these tests have a cluster of their own."""
    api = start_api(session_supervisor, start_etcd(session_supervisor))
    session_supervisor.km("controller-manager", f"--master={api.url}", f"--port={free_port()}").start()
    return api


@pytest.fixture
async def client(own_api: Api) -> AsyncIterator[KubeClient]:
    async with KubeClient(own_api.url) as client:
        yield client


@pytest.fixture
def kubectl(own_api: Api, tmp_path: Any) -> Kubectl:
    found = kubectls()
    return Kubectl(found.get("1.32") or next(iter(found.values())), own_api.url, tmp_path)


@pytest.fixture
async def nodes(client: KubeClient) -> AsyncIterator[Nodes]:
    async with beating_nodes(client, "node-a", "node-b", "node-c") as nodes:
        yield nodes


@pytest.fixture
async def kubelet(client: KubeClient, nodes: Nodes, namespace: str) -> AsyncIterator[Hollow]:
    async with hollow(client, namespace) as kubelet:
        yield kubelet
        await client.delete("daemonsets", "d", namespace, propagation="Background")


def daemon_set(image: str = "i:1", *, pod: dict[str, Any] | None = None, **spec: Any) -> Object:
    container = {"name": "c", "image": image}
    template = {"metadata": {"labels": {"app": "d"}}, "spec": {"containers": [container], **(pod or {})}}
    full = {"selector": {"matchLabels": {"app": "d"}}, "template": template, **spec}
    return {"apiVersion": "apps/v1", "kind": "DaemonSet", "metadata": {"name": "d"}, "spec": full}


async def places(client: KubeClient, namespace: str) -> dict[str, Object]:
    """The pods that are there and stay, by their nodes; fails when there are two on one."""
    found = [
        one for one in (await client.list("pods", namespace)).items if not one["metadata"].get("deletionTimestamp")
    ]
    placed = [one for one in found if one["spec"].get("nodeName")]
    by_node = {one["spec"]["nodeName"]: one for one in placed}
    assert len(by_node) == len(placed)
    return by_node


async def until_on(client: KubeClient, namespace: str, *nodes: str) -> dict[str, Object]:
    async def there() -> dict[str, Object]:
        found = await places(client, namespace)
        return found if set(found) == set(nodes) else {}

    if not nodes:
        await until(client, namespace, lambda status: status["currentNumberScheduled"] == 0)
        return {}
    return await eventually(there, what=f"pods on {nodes}")


async def until(client: KubeClient, namespace: str, holds: Callable[[Object], Any]) -> Object:
    async def probe() -> Object | None:
        found = await client.get("daemonsets", "d", namespace)
        is_new = found["status"].get("observedGeneration") == found["metadata"]["generation"]
        return found if is_new and holds(found["status"]) else None

    found = await eventually(probe, what="the daemon set's status")
    assert found is not None
    return found


async def test_a_pod_on_each_node_and_on_those_that_come(
    client: KubeClient, nodes: Nodes, kubelet: Hollow, kubectl: Kubectl, namespace: str
) -> None:
    inside = ("-n", namespace)
    await asyncio.to_thread(kubectl, "create", "-f", "-", *inside, stdin=json.dumps(daemon_set()))
    found = await until_on(client, namespace, "node-a", "node-b", "node-c")
    tolerated = {one["key"] for one in found["node-a"]["spec"]["tolerations"] if "tolerationSeconds" not in one}
    assert {f"node.kubernetes.io/{one}" for one in ("not-ready", "unreachable", "unschedulable")} <= tolerated
    (term,) = found["node-a"]["spec"]["affinity"]["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"][
        "nodeSelectorTerms"
    ]
    assert term["matchFields"] == [{"key": "metadata.name", "operator": "In", "values": ["node-a"]}]
    said = await asyncio.to_thread(kubectl, "rollout", "status", "ds/d", *inside, "--timeout=15s")
    assert 'daemon set "d" successfully rolled out' in said
    row = await asyncio.to_thread(kubectl, "get", "ds", "d", *inside, "--no-headers")
    assert row.split()[1:6] == ["3"] * 5
    await nodes.add("node-d")
    await client.patch("nodes", "node-a", {"spec": {"unschedulable": True}})
    await until_on(client, namespace, "node-a", "node-b", "node-c", "node-d")
    await client.delete("pods", found["node-a"]["metadata"]["name"], namespace)

    async def made_anew() -> bool:
        now = (await places(client, namespace)).get("node-a")
        return now is not None and now["metadata"]["uid"] != found["node-a"]["metadata"]["uid"]

    await eventually(made_anew, what="another pod on the node, cordoned as it is")
    await until(client, namespace, lambda status: status["numberReady"] == 4)


async def test_only_on_nodes_that_it_is_for(client: KubeClient, nodes: Nodes, kubelet: Hollow, namespace: str) -> None:
    await client.create("daemonsets", daemon_set(pod={"nodeSelector": {"disk": "ssd"}}), namespace)
    await until_on(client, namespace)
    await client.patch("nodes", "node-b", {"metadata": {"labels": {"disk": "ssd"}}})
    await until_on(client, namespace, "node-b")
    taint = {"key": "dedicated", "value": "x", "effect": "NoSchedule"}
    await client.patch("nodes", "node-c", {"metadata": {"labels": {"disk": "ssd"}}, "spec": {"taints": [taint]}})
    await client.patch("nodes", "node-a", {"metadata": {"labels": {"disk": "ssd"}}})
    await until_on(client, namespace, "node-a", "node-b")
    await client.patch("nodes", "node-b", {"metadata": {"labels": {"disk": None}}})
    await until_on(client, namespace, "node-a")
    alone = {"desiredNumberScheduled": 1, "numberReady": 1, "numberMisscheduled": 0}
    await until(client, namespace, lambda status: alone.items() <= status.items())


async def test_a_rolling_update_takes_one_node_after_the_other_and_can_be_undone(
    client: KubeClient, nodes: Nodes, kubelet: Hollow, kubectl: Kubectl, namespace: str
) -> None:
    inside = ("-n", namespace)
    most = 0

    def watch_most(kind: str, pod: Object, old: Object | None) -> None:
        nonlocal most
        up = sum(1 for one in kubelet.pods.cache.values() if one["status"].get("phase") == "Running")
        most = max(most, 3 - up)

    await client.create("daemonsets", daemon_set(), namespace)
    await until(client, namespace, lambda status: status.get("numberAvailable") == 3)
    first = {one["metadata"]["labels"][HASH] for one in (await places(client, namespace)).values()}
    kubelet.pods.subscribe(watch_most)
    most = 0
    await asyncio.to_thread(kubectl, "set", "image", "ds/d", "c=i:2", *inside)
    await asyncio.to_thread(kubectl, "rollout", "status", "ds/d", *inside, "--timeout=20s")
    second = {one["metadata"]["labels"][HASH] for one in (await places(client, namespace)).values()}
    assert most == 1
    assert len(first) == len(second) == 1
    assert first != second
    history = await asyncio.to_thread(kubectl, "rollout", "history", "ds/d", *inside)
    assert [line.split()[0] for line in history.splitlines()[2:] if line] == ["1", "2"]
    await asyncio.to_thread(kubectl, "rollout", "undo", "ds/d", *inside)
    await asyncio.to_thread(kubectl, "rollout", "status", "ds/d", *inside, "--timeout=20s")
    again = await places(client, namespace)
    assert {one["metadata"]["labels"][HASH] for one in again.values()} == first
    assert {one["spec"]["containers"][0]["image"] for one in again.values()} == {"i:1"}


async def test_a_broken_image_stops_the_rollout_at_one_node(
    client: KubeClient, nodes: Nodes, kubelet: Hollow, namespace: str
) -> None:
    await client.create("daemonsets", daemon_set(), namespace)
    await until(client, namespace, lambda status: status.get("numberAvailable") == 3)
    kubelet.fate = lambda pod: "Pending" if pod["spec"]["containers"][0]["image"] == "broken" else "Running"
    await client.patch("daemonsets", "d", daemon_set("broken"), namespace)
    await until(client, namespace, lambda status: status.get("updatedNumberScheduled") == 1)
    shown = await until(client, namespace, lambda status: status.get("numberUnavailable") == 1)
    assert shown["status"]["numberAvailable"] == 2
    await client.patch("daemonsets", "d", daemon_set("i:3"), namespace)
    await until(client, namespace, lambda status: status.get("updatedNumberScheduled") == 3 == status["numberReady"])


async def test_with_a_surge_the_new_pod_comes_first(
    client: KubeClient, nodes: Nodes, kubelet: Hollow, namespace: str
) -> None:
    least = 3

    def watch_least(kind: str, pod: Object, old: Object | None) -> None:
        nonlocal least
        least = min(least, sum(1 for one in kubelet.pods.cache.values() if one["status"].get("phase") == "Running"))

    strategy = {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}}
    await client.create("daemonsets", daemon_set(updateStrategy=strategy), namespace)
    await until(client, namespace, lambda status: status.get("numberAvailable") == 3)
    kubelet.pods.subscribe(watch_least)
    least = 3
    await client.patch("daemonsets", "d", daemon_set("i:2"), namespace)
    await until(client, namespace, lambda status: status.get("updatedNumberScheduled") == 3 == status["numberReady"])
    assert least == 3


async def test_on_delete_renews_only_what_is_deleted(
    client: KubeClient, nodes: Nodes, kubelet: Hollow, namespace: str
) -> None:
    await client.create("daemonsets", daemon_set(updateStrategy={"type": "OnDelete"}), namespace)
    await until(client, namespace, lambda status: status.get("numberAvailable") == 3)
    await client.patch("daemonsets", "d", daemon_set("i:2"), namespace)
    await until(client, namespace, lambda status: not status.get("updatedNumberScheduled"))
    doomed = (await places(client, namespace))["node-b"]
    await client.delete("pods", doomed["metadata"]["name"], namespace)
    await until(
        client, namespace, lambda status: status.get("updatedNumberScheduled") == 1 and status["numberReady"] == 3
    )
    images = {node: one["spec"]["containers"][0]["image"] for node, one in (await places(client, namespace)).items()}
    assert images == {"node-a": "i:1", "node-b": "i:2", "node-c": "i:1"}


async def test_a_pod_that_failed_is_replaced(client: KubeClient, nodes: Nodes, kubelet: Hollow, namespace: str) -> None:
    await client.create("daemonsets", daemon_set(), namespace)
    await until(client, namespace, lambda status: status.get("numberAvailable") == 3)
    failed = (await places(client, namespace))["node-b"]
    await kubelet.become(failed, "Failed")

    async def replaced() -> bool:
        now = (await places(client, namespace)).get("node-b")
        return now is not None and now["metadata"]["uid"] != failed["metadata"]["uid"]

    await eventually(replaced, what="another pod on the node")
    await until(client, namespace, lambda status: status["numberReady"] == 3)
