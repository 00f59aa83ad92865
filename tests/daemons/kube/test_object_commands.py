"""kubectl's commands about nodes and about objects of any kind, each in a test of its name."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator
from typing import Any

import pytest

from k8slab.kube.client import KubeClient
from tests.daemons.kube.conftest import Kubectl

READY = [{"type": "Ready", "status": "True"}]


def pod(name: str, node: str = "", **labels: str) -> dict[str, Any]:
    owner = {"apiVersion": "v1", "kind": "ReplicationController", "name": "rc", "uid": "u", "controller": True}
    spec = {"containers": [{"name": "c", "image": "i:1"}], "terminationGracePeriodSeconds": 0}
    meta = {"name": name, "labels": labels, "ownerReferences": [owner]}
    return {"metadata": meta, "spec": {**spec, **({"nodeName": node} if node else {})}}


@pytest.fixture
async def node(client: KubeClient, namespace: str) -> AsyncIterator[str]:
    """A node of the test's own name, ready."""
    name = namespace.replace("test-", "node-")
    await client.create("nodes", {"metadata": {"name": name}, "status": {"conditions": READY}})
    yield name
    await client.delete("nodes", name)


async def run_pod(client: KubeClient, namespace: str, name: str, node: str, **labels: str) -> None:
    await client.create("pods", pod(name, node, **labels), namespace)
    status = {"phase": "Running", "conditions": READY}
    await client.patch("pods", name, {"status": status}, namespace, subresource="status")


def test_cordon(kubectl: Kubectl, node: str) -> None:
    assert kubectl("cordon", node) == f"node/{node} cordoned\n"
    assert kubectl("get", "node", node, "--no-headers").split()[1] == "Ready,SchedulingDisabled"
    assert kubectl("uncordon", node) == f"node/{node} uncordoned\n"
    assert kubectl("get", "node", node, "--no-headers").split()[1] == "Ready"


def test_taint(kubectl: Kubectl, node: str) -> None:
    assert kubectl("taint", "node", node, "disk=slow:NoSchedule") == f"node/{node} tainted\n"
    taints = json.loads(kubectl("get", "node", node, "-o", "json"))["spec"]["taints"]
    assert taints == [{"key": "disk", "value": "slow", "effect": "NoSchedule"}]
    assert "untainted" in kubectl("taint", "node", node, "disk-")


async def test_drain(kubectl: Kubectl, client: KubeClient, namespace: str, node: str) -> None:
    await run_pod(client, namespace, "free", node, app="free")
    done = kubectl("drain", node, "--timeout=20s")
    assert "evicting pod" in done or "free" in done
    assert f"node/{node} drained" in done or f"node/{node} evicted" in done
    assert (await client.list("pods", namespace)).items == []


async def test_drain_waits_for_a_budget(kubectl: Kubectl, client: KubeClient, namespace: str, node: str) -> None:
    await run_pod(client, namespace, "held", node, app="held")
    budget = {"metadata": {"name": "b"}, "spec": {"minAvailable": 1, "selector": {"matchLabels": {"app": "held"}}}}
    await client.create("poddisruptionbudgets", budget, namespace)
    counts = {"expectedPods": 1, "currentHealthy": 1, "desiredHealthy": 1, "observedGeneration": 1}
    await client.patch("poddisruptionbudgets", "b", {"status": counts}, namespace, subresource="status")
    said = kubectl.fails("drain", node, "--timeout=2s", "--force")
    assert "Cannot evict pod as it would violate the pod's disruption budget." in said
    assert [one["metadata"]["name"] for one in (await client.list("pods", namespace)).items] == ["held"]
    allowed = {"status": {"disruptionsAllowed": 1}}
    await client.patch("poddisruptionbudgets", "b", allowed, namespace, subresource="status")
    kubectl("drain", node, "--timeout=20s")
    status = (await client.get("poddisruptionbudgets", "b", namespace))["status"]
    assert status["disruptionsAllowed"] == 0
    assert list(status["disruptedPods"]) == ["held"]


@pytest.mark.parametrize(
    ("cascade", "finalizer"), [("background", ""), ("foreground", "foregroundDeletion"), ("orphan", "orphan")]
)
def test_delete_cascade(kubectl: Kubectl, namespace: str, cascade: str, finalizer: str) -> None:
    """Who collects the dependents takes the finalizer away: here by hand."""
    inside = ("-n", namespace)
    kubectl("create", "configmap", "c", *inside)
    kubectl("delete", "configmap", "c", f"--cascade={cascade}", "--wait=false", *inside)
    if not finalizer:
        assert "NotFound" in kubectl.fails("get", "configmap", "c", *inside)
        return
    meta = json.loads(kubectl("get", "configmap", "c", *inside, "-o", "json"))["metadata"]
    assert meta["finalizers"] == [finalizer]
    assert meta["deletionTimestamp"]
    kubectl("patch", "configmap", "c", *inside, "--type=merge", "-p", '{"metadata":{"finalizers":null}}')
    assert "NotFound" in kubectl.fails("get", "configmap", "c", *inside)


def test_delete_by_selector_and_all(kubectl: Kubectl, namespace: str) -> None:
    inside = ("-n", namespace)
    for name, tier in (("a", "x"), ("b", "x"), ("c", "y")):
        kubectl("create", "configmap", name, *inside)
        kubectl("label", "configmap", name, f"tier={tier}", *inside)
    assert kubectl("delete", "configmap", "-l", "tier=x", *inside).count("deleted") == 2
    assert kubectl("get", "configmap", *inside, "-o", "name").split() == ["configmap/c"]
    kubectl("delete", "configmap", "--all", *inside)
    assert kubectl("get", "configmap", *inside, "-o", "name") == ""


async def test_wait(kubectl: Kubectl, client: KubeClient, namespace: str) -> None:
    inside = ("-n", namespace)
    await client.create("pods", pod("p"), namespace)
    assert "timed out" in kubectl.fails("wait", "--for=condition=Ready", "pod/p", "--timeout=1s", *inside)
    await client.patch("pods", "p", {"status": {"conditions": READY}}, namespace, subresource="status")
    assert kubectl("wait", "--for=condition=Ready", "pod/p", *inside) == "pod/p condition met\n"
    waiting = asyncio.create_task(asyncio.to_thread(kubectl.run, "wait", "--for=delete", "pod/p", *inside))
    await client.delete("pods", "p", namespace)
    ended = await waiting
    # An old one takes it for a failure when the pod was gone before it looked.
    if ended.returncode == 0:
        assert ended.stdout in ("pod/p condition met\n", "")
    else:
        assert "NotFound" in ended.stderr or "no matching resources found" in ended.stderr


async def test_events_of_both_groups_are_the_same(kubectl: Kubectl, client: KubeClient, namespace: str) -> None:
    about = {"kind": "Pod", "namespace": namespace, "name": "p", "uid": "u1"}
    event = {
        "metadata": {"name": "e"},
        "involvedObject": about,
        "reason": "Tried",
        "message": "it did",
        "type": "Normal",
    }
    await client.create("events", event, namespace)
    raw = f"/apis/events.k8s.io/v1/namespaces/{namespace}/events"
    (shown,) = json.loads(kubectl("get", "--raw", f"{raw}?fieldSelector=regarding.name=p"))["items"]
    assert (shown["note"], shown["reason"], shown["regarding"]["uid"]) == ("it did", "Tried", "u1")
    newer = {
        "apiVersion": "events.k8s.io/v1",
        "kind": "Event",
        "metadata": {"name": "f", "namespace": namespace},
        "eventTime": "2026-01-01T00:00:00.000000Z",
        "reportingController": "me",
        "reportingInstance": "me-1",
        "action": "Trying",
        "reason": "Again",
        "regarding": about,
        "note": "once more",
        "type": "Warning",
    }
    kubectl("create", "-f", "-", stdin=json.dumps(newer))
    kept = await client.get("events", "f", namespace)
    assert (kept["message"], kept["reportingComponent"], kept["involvedObject"]["name"]) == ("once more", "me", "p")
    rows = kubectl("get", "events.events.k8s.io", "-n", namespace, "--no-headers")
    assert re.search(r"Warning +Again +pod/p +once more", rows)


def test_api_resources(kubectl: Kubectl) -> None:
    listed = {tuple(line.split()) for line in kubectl("api-resources", "--no-headers").splitlines()}
    for row in (
        ("deployments", "deploy", "apps/v1", "true", "Deployment"),
        ("horizontalpodautoscalers", "hpa", "autoscaling/v2", "true", "HorizontalPodAutoscaler"),
        ("endpointslices", "discovery.k8s.io/v1", "true", "EndpointSlice"),
        ("poddisruptionbudgets", "pdb", "policy/v1", "true", "PodDisruptionBudget"),
        ("storageclasses", "sc", "storage.k8s.io/v1", "false", "StorageClass"),
        ("bindings", "v1", "true", "Binding"),
    ):
        # 1.20 takes the group's version that comes first in the old discovery, which is the same one.
        assert row in listed
    scaled = json.loads(kubectl("get", "--raw", "/apis/apps/v1"))["resources"]
    (scale,) = [one for one in scaled if one["name"] == "deployments/scale"]
    assert (scale["group"], scale["version"], scale["kind"]) == ("autoscaling", "v1", "Scale")


def test_api_versions(kubectl: Kubectl) -> None:
    assert {
        *(
            "apps/v1",
            "authentication.k8s.io/v1",
            "authorization.k8s.io/v1",
            "autoscaling/v1",
            "autoscaling/v2",
            "batch/v1",
        ),
        *("coordination.k8s.io/v1", "discovery.k8s.io/v1", "events.k8s.io/v1", "networking.k8s.io/v1", "policy/v1"),
        *("rbac.authorization.k8s.io/v1", "scheduling.k8s.io/v1", "storage.k8s.io/v1", "v1"),
    } <= set(kubectl("api-versions").split())


def test_get_all(kubectl: Kubectl, namespace: str) -> None:
    kubectl("create", "service", "clusterip", "s", "--tcp=80:80", "-n", namespace)
    kubectl("create", "deployment", "d", "--image=i:1", "-n", namespace)
    everywhere = kubectl("get", "all", "-A", "-o", "name")
    assert {"service/s", "service/kubernetes", "deployment.apps/d"} <= set(everywhere.split())
    table = kubectl("get", "all", "-n", namespace)
    assert re.search(r"^deployment.apps/d +0/1", table, re.M)


async def test_heads_are_like_gets_without_the_body(client: KubeClient, kubectl: Kubectl, namespace: str) -> None:
    import aiohttp

    async with aiohttp.ClientSession() as session:
        for path, code in (("", 200), ("/none", 404)):
            url = f"{kubectl.server}/api/v1/namespaces/{namespace}/configmaps{path}"
            async with session.head(url) as answer:
                assert answer.status == code
                assert int(answer.headers["Content-Length"]) > 0
                assert await answer.read() == b""
