"""A deleted namespace takes everything in it along, and is gone only then."""

from __future__ import annotations

from typing import Any

import pytest

from k8slab.kube.client import ApiError, KubeClient
from tests.daemons.kube.conftest import Api
from tests.daemons.processes import Supervisor, eventually, free_port


def named(name: str, **more: Any) -> dict[str, Any]:
    return {"metadata": {"name": name}, **more}


async def test_a_deleted_namespace_is_emptied_and_then_gone(
    supervisor: Supervisor, api: Api, client: KubeClient, namespace: str
) -> None:
    container = {"name": "c", "image": "k8slab/pause:1"}
    await client.create("configmaps", named("c"), namespace)
    await client.create("services", named("s", spec={"ports": [{"port": 80}]}), namespace)
    await client.create("pods", named("p", spec={"containers": [container]}), namespace)
    template = {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [container]}}
    await client.create("replicationcontrollers", named("r", spec={"template": template}), namespace)
    selected = {"selector": {"matchLabels": {"a": "b"}}, "template": template}
    await client.create("deployments", named("d", spec=selected), namespace)
    await client.create("configmaps", {"metadata": {"name": "held", "finalizers": ["test/held"]}}, namespace)
    await client.delete("namespaces", namespace)
    supervisor.km("controller-manager", f"--master={api.url}", f"--port={free_port()}").start()

    async def only_the_held_one_is_left() -> bool:
        left = (await client.list("configmaps", namespace)).items
        pods = (await client.list("pods", namespace)).items
        return [one["metadata"]["name"] for one in left] == ["held"] and not pods

    await eventually(only_the_held_one_is_left, what="all but what is held is gone")
    assert (await client.get("namespaces", namespace))["status"]["phase"] == "Terminating"
    with pytest.raises(ApiError) as refused:
        await client.create("configmaps", named("late"), namespace)
    assert refused.value.code == 403
    await client.patch("configmaps", "held", {"metadata": {"finalizers": None}}, namespace)

    async def gone() -> bool:
        return await client.find("namespaces", namespace) is None

    await eventually(gone, what="the namespace is gone")
    for resource in ("services", "replicationcontrollers", "deployments"):
        assert (await client.list(resource, namespace)).items == []
