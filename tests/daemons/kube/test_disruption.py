"""Budgets say how many pods may be evicted, and evictions keep to it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from k8slab.kube.client import KubeClient, Object
from k8slab.kube.controllers.node_lifecycle import condition
from tests.daemons.kube.conftest import Api, Kubectl
from tests.daemons.kube.hollow import hollow
from tests.daemons.processes import Supervisor, eventually, free_port

TEMPLATE = {"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [{"name": "c", "image": "busybox"}]}}
SELECTOR = {"matchLabels": {"app": "web"}}


@pytest.fixture(scope="module", autouse=True)
def controllers(session_supervisor: Supervisor, api: Api) -> Iterator[None]:
    daemon = session_supervisor.km("controller-manager", f"--master={api.url}", f"--port={free_port()}").start()
    yield
    daemon.stop()


async def says(
    client: KubeClient, namespace: str, *, healthy: int, desired: int, expected: int, allowed: int
) -> Object:
    async def probe() -> Object | None:
        budget = await client.get("poddisruptionbudgets", "web", namespace)
        status = budget["status"]
        found = [status[one] for one in ("currentHealthy", "desiredHealthy", "expectedPods", "disruptionsAllowed")]
        seen = status.get("observedGeneration") == budget["metadata"]["generation"]
        return budget if seen and found == [healthy, desired, expected, allowed] else None

    found = await eventually(probe, what=f"the budget has {healthy} of {desired} needed, {allowed} may go")
    assert found is not None
    return found


async def budget(client: KubeClient, namespace: str, **spec: Any) -> None:
    spec = {"selector": SELECTOR, **spec}
    await client.create("poddisruptionbudgets", {"metadata": {"name": "web"}, "spec": spec}, namespace)


async def deployment(client: KubeClient, namespace: str, replicas: int) -> None:
    spec = {"replicas": replicas, "selector": SELECTOR, "template": TEMPLATE}
    await client.create("deployments", {"metadata": {"name": "web"}, "spec": spec}, namespace)


@pytest.mark.parametrize(
    ("spec", "desired"),
    [
        ({"minAvailable": 3}, 3),
        ({"minAvailable": "50%"}, 3),
        ({"maxUnavailable": 1}, 4),
        ({"maxUnavailable": "30%"}, 3),
        ({"maxUnavailable": 9}, 0),
    ],
)
async def test_what_a_budget_leaves(client: KubeClient, namespace: str, spec: Object, desired: int) -> None:
    async with hollow(client, namespace, node="node-a") as kubelet:
        await deployment(client, namespace, 5)
        await budget(client, namespace, **spec)
        found = await says(client, namespace, healthy=5, desired=desired, expected=5, allowed=5 - desired)
        said = condition(found, "DisruptionAllowed")
        assert (said["status"], said["reason"]) == ("True", "SufficientPods")
        for pod in (await client.list("pods", namespace)).items:
            await kubelet.become(pod, "Running", ready=False)
        found = await says(client, namespace, healthy=0, desired=desired, expected=5, allowed=0)
        said = condition(found, "DisruptionAllowed")
        assert (said["status"], said["reason"]) == ("False", "InsufficientPods")


async def test_evictions_keep_to_the_budget(client: KubeClient, newest_kubectl: Kubectl, namespace: str) -> None:
    def evict(pod: Object) -> tuple[str, ...]:
        return "create", "--raw", f"/api/v1/namespaces/{namespace}/pods/{pod['metadata']['name']}/eviction", "-f", "-"

    def asked(pod: Object) -> str:
        return json.dumps(
            {"kind": "Eviction", "apiVersion": "policy/v1", "metadata": {"name": pod["metadata"]["name"]}}
        )

    async with hollow(client, namespace, node="node-a") as kubelet:
        await deployment(client, namespace, 3)
        await budget(client, namespace, minAvailable=2)
        await says(client, namespace, healthy=3, desired=2, expected=3, allowed=1)
        kubelet.lingers = True
        kubelet.fate = lambda pod: pod["status"].get("phase", "Pending")
        first, second, _ = (await client.list("pods", namespace)).items
        newest_kubectl(*evict(first), stdin=asked(first))
        said = newest_kubectl.fails(*evict(second), stdin=asked(second))
        assert "Cannot evict pod as it would violate the pod's disruption budget" in said
        await says(client, namespace, healthy=2, desired=2, expected=4, allowed=0)
        kubelet.lingers = False
        kubelet.fate = lambda pod: "Running"
        kubelet.look_again()
        await says(client, namespace, healthy=3, desired=2, expected=3, allowed=1)
        newest_kubectl(*evict(second), stdin=asked(second))
        await says(client, namespace, healthy=3, desired=2, expected=3, allowed=1)


async def test_when_nobody_knows_how_many_are_meant_to_be(client: KubeClient, namespace: str) -> None:
    template = {**TEMPLATE, "spec": {**TEMPLATE["spec"], "restartPolicy": "Never"}}
    await client.create("jobs", {"metadata": {"name": "j"}, "spec": {"template": template}}, namespace)
    await budget(client, namespace, maxUnavailable=1)

    async def failed() -> bool:
        said = condition(await client.get("poddisruptionbudgets", "web", namespace), "DisruptionAllowed")
        return said.get("reason") == "SyncFailed" and "does not implement the scale subresource" in said["message"]

    await eventually(failed, what="the budget says why nothing may be evicted")
