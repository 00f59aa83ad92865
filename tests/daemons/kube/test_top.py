"""kubectl top, of kubelets that say what is used, and of some that do not."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from k8slab.kube.client import KubeClient
from tests.daemons.kube.conftest import Api, Kubectl
from tests.daemons.kube.kubelet import FakeKubelet, fake_kubelet
from tests.daemons.kube.test_streams import add_node, add_pod

TIME = "2026-01-02T03:04:05Z"


def used(cores: float, mebibytes: int, **more: Any) -> dict[str, Any]:
    cpu = {"time": TIME, "usageNanoCores": int(cores * 1e9), "windowSeconds": 1.5}
    return {"cpu": cpu, "memory": {"time": TIME, "workingSetBytes": mebibytes << 20}, **more}


@pytest.fixture
async def kubelet(client: KubeClient, namespace: str, tmp_path: Path) -> AsyncIterator[FakeKubelet]:
    """The node of the namespace's name has 4 cores, and a pod "web" with two containers."""
    async with fake_kubelet(tmp_path) as kubelet:
        await add_node(client, namespace, kubelet.port)
        capacity = {"cpu": "4", "memory": "1Gi"}
        await client.patch("nodes", namespace, {"status": {"allocatable": capacity}}, subresource="status")
        await add_pod(client, namespace, "web", node=namespace, containers=("main", "side"))
        yield kubelet
    await client.delete("nodes", namespace)


async def summary(client: KubeClient, namespace: str) -> dict[str, Any]:
    uid = (await client.get("pods", "web", namespace))["metadata"]["uid"]
    containers = [used(0.25, 10, name="main"), used(0.1, 20, name="side")]
    pod = used(0.35, 30, podRef={"name": "web", "namespace": namespace, "uid": uid}, containers=containers)
    return {"node": used(1, 512), "pods": [pod]}


async def test_top(kubectl: Kubectl, kubelet: FakeKubelet, client: KubeClient, namespace: str) -> None:
    kubelet.summary = await summary(client, namespace)

    async def said(*words: str) -> list[list[str]]:
        done = await asyncio.to_thread(kubectl.run, *words)
        assert done.returncode == 0, done.stderr
        return [line.split() for line in done.stdout.splitlines()]

    head, row = await said("top", "node", namespace)
    assert head[:2] == ["NAME", "CPU(cores)"]
    assert row == [namespace, "1000m", "25%", "512Mi", "50%"]
    assert (await said("top", "pods", "-n", namespace))[1:] == [["web", "350m", "30Mi"]]
    rows = await said("top", "pods", "-n", namespace, "--containers", "--no-headers")
    assert sorted(row[-3:] for row in rows) == [["main", "250m", "10Mi"], ["side", "100m", "20Mi"]]
    shown = await said("get", "pods.metrics.k8s.io", "-n", namespace, "--no-headers")
    assert shown == [["web", "350000000n", "30720Ki", "1.5s"]]
    done = await asyncio.to_thread(kubectl.run, "top", "pod", "none", "-n", namespace)
    assert f'podmetrics.metrics.k8s.io "{namespace}/none" not found' in done.stderr


@pytest.mark.parametrize(
    "wrong",
    [
        [],
        "text",
        {"node": 1, "pods": {"a": 1}},
        {"node": {"cpu": [], "memory": 3}, "pods": [1, None, {"podRef": {"uid": []}}, {"podRef": 5}]},
        {"node": {"cpu": {"time": TIME}, "memory": {}}, "pods": [{"podRef": {"uid": "UID"}, "containers": [7]}]},
        {"node": None, "pods": [{**used(1, 1), "podRef": {"uid": "UID"}, "containers": [used(1, 1), {"cpu": {}}]}]},
    ],
)
async def test_what_a_kubelet_does_not_say_is_not_known(
    api: Api, kubelet: FakeKubelet, client: KubeClient, namespace: str, wrong: Any
) -> None:
    uid = (await client.get("pods", "web", namespace))["metadata"]["uid"]
    kubelet.summary = wrong
    for pod in wrong.get("pods", ()) if isinstance(wrong, dict) else ():
        if isinstance(pod, dict) and isinstance(pod.get("podRef"), dict) and pod["podRef"]["uid"] == "UID":
            pod["podRef"]["uid"] = uid
    base = "/apis/metrics.k8s.io/v1beta1"
    async with aiohttp.ClientSession(api.url) as http:
        async with http.get(f"{base}/namespaces/{namespace}/pods") as answer:
            assert (answer.status, (await answer.json())["items"]) == (200, [])
        async with http.get(f"{base}/nodes/{namespace}") as answer:
            assert (answer.status, (await answer.json())["reason"]) == (404, "NotFound")
