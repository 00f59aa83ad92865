"""What becomes of objects when those go that they belong to, with kubectl's three ways of deleting."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest

from k8slab.kube.client import ApiError, KubeClient, Object
from k8slab.kube.controllers.garbage import GarbageCollector
from k8slab.kube.controllers.informers import SharedInformers
from tests.daemons.kube.conftest import Api, Kubectl
from tests.daemons.processes import Supervisor, eventually, free_port

CONTAINER = {"name": "c", "image": "busybox"}
TEMPLATE = {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [CONTAINER]}}
SPEC = {"selector": {"matchLabels": {"a": "b"}}, "template": TEMPLATE}


@pytest.fixture(scope="module")
def controllers(session_supervisor: Supervisor, api: Api) -> Iterator[None]:
    """For these tests alone: others look at what nobody sees to."""
    daemon = session_supervisor.km("controller-manager", f"--master={api.url}", f"--port={free_port()}").start()
    yield
    daemon.stop()


def reference(owner: Object, *, blocking: bool = True) -> dict[str, Any]:
    meta = owner["metadata"]
    named = {"apiVersion": owner["apiVersion"], "kind": owner["kind"], "name": meta["name"], "uid": meta["uid"]}
    return {**named, "controller": True, "blockOwnerDeletion": blocking}


def named(name: str, *owners: dict[str, Any], **rest: Any) -> Object:
    return {"metadata": {"name": name, "ownerReferences": list(owners)}, **rest}


async def family(client: KubeClient, namespace: str) -> None:
    """A deployment, its replica set, and what belongs to that: a config map in the place of a pod."""
    deployment = await client.create("deployments", named("d", spec=SPEC), namespace)
    made = named("r", reference(deployment), spec=SPEC)
    # Without the labels its deployment would let go of it.
    made["metadata"]["labels"] = {"a": "b"}
    replicas = await client.create("replicasets", made, namespace)
    await client.create("configmaps", named("c", reference(replicas)), namespace)


async def left(client: KubeClient, namespace: str) -> set[str]:
    found = set()
    for resource, name in (("deployments", "d"), ("replicasets", "r"), ("configmaps", "c")):
        if await client.find(resource, name, namespace):
            found.add(name)
    return found


@pytest.mark.parametrize(
    ("cascade", "expected"), [("background", set()), ("foreground", set()), ("orphan", {"r", "c"})]
)
async def test_delete_cascade(
    controllers: None, kubectl: Kubectl, client: KubeClient, namespace: str, cascade: str, expected: set[str]
) -> None:
    await family(client, namespace)
    await asyncio.to_thread(
        kubectl, "delete", "deployment", "d", "-n", namespace, f"--cascade={cascade}", "--timeout=20s"
    )

    async def settled() -> bool:
        return await left(client, namespace) == expected

    await eventually(settled, what=f"{expected} and nothing else is left")
    if expected:
        kept = await client.get("replicasets", "r", namespace)
        assert "ownerReferences" not in kept["metadata"]
        assert (await client.get("configmaps", "c", namespace))["metadata"]["ownerReferences"][0]["name"] == "r"


async def test_an_owner_in_the_foreground_goes_last(controllers: None, client: KubeClient, namespace: str) -> None:
    await family(client, namespace)
    held = {"metadata": {"finalizers": ["test/held"]}}
    await client.patch("configmaps", "c", held, namespace)
    await client.delete("deployments", "d", namespace, propagation="Foreground")

    async def all_wait() -> bool:
        metas = [
            (await client.get(resource, name, namespace))["metadata"]
            for resource, name in (("deployments", "d"), ("replicasets", "r"), ("configmaps", "c"))
        ]
        return all(meta.get("deletionTimestamp") for meta in metas)

    await eventually(all_wait, what="each waits for the next")
    await client.patch("configmaps", "c", {"metadata": {"finalizers": None}}, namespace)

    async def gone() -> bool:
        return not await left(client, namespace)

    await eventually(gone, what="all are gone")


async def test_one_of_two_owners_is_enough(controllers: None, client: KubeClient, namespace: str) -> None:
    first = await client.create("configmaps", named("first"), namespace)
    second = await client.create("configmaps", named("second"), namespace)
    first, second = ({"apiVersion": "v1", "kind": "ConfigMap", **one} for one in (first, second))
    other = {**reference(second), "controller": False}
    await client.create("configmaps", named("child", reference(first), other), namespace)
    await client.delete("configmaps", "first", namespace)

    async def struck_out() -> bool:
        child = await client.get("configmaps", "child", namespace)
        return [one["name"] for one in child["metadata"]["ownerReferences"]] == ["second"]

    await eventually(struck_out, what="the owner that is gone is struck out")
    await client.delete("configmaps", "second", namespace)

    async def gone() -> bool:
        return await client.find("configmaps", "child", namespace) is None

    await eventually(gone, what="without owners it goes")


async def test_an_owner_that_never_was(controllers: None, client: KubeClient, namespace: str) -> None:
    """By name there is one, but it is another."""
    owner = {"apiVersion": "v1", "kind": "ConfigMap", **await client.create("configmaps", named("owner"), namespace)}
    false = {**reference(owner), "uid": "00000000-0000-4000-8000-000000000000"}
    unknown = {"apiVersion": "example.org/v1", "kind": "Thing", "name": "t", "uid": "x"}
    await client.create("configmaps", named("impostor", false), namespace)
    await client.create("configmaps", named("stranger", unknown), namespace)
    await client.create("nodes", named(f"node-{namespace}", false))

    async def gone() -> bool:
        return await client.find("configmaps", "impostor", namespace) is None

    await eventually(gone, what="what belongs to nobody goes")
    assert await client.get("configmaps", "stranger", namespace), "of what is not known here nobody can tell"
    assert await client.get("nodes", f"node-{namespace}"), "what is in no namespace belongs to nothing that is in one"


async def test_a_controller_that_was_away_makes_up_for_it(
    api: Api, client: KubeClient, namespace: str, supervisor: Supervisor
) -> None:
    await family(client, namespace)
    await client.delete("deployments", "d", namespace, propagation="Background")
    supervisor.km("controller-manager", f"--master={api.url}", f"--port={free_port()}").start()

    async def gone() -> bool:
        return not await left(client, namespace)

    await eventually(gone, what="all are gone")


@pytest.mark.parametrize("change", ["orphaned", "adopted"])
async def test_a_dependent_whose_new_owners_are_not_known_yet_stays(
    client: KubeClient, namespace: str, change: str
) -> None:
    """Word of the owner's end came first: watches of different kinds do not wait for each other."""
    made = [await client.create("configmaps", named(name), namespace) for name in ("owner", "other")]
    owner, other = ({"apiVersion": "v1", "kind": "ConfigMap", **one} for one in made)
    child = await client.create("configmaps", named("child", reference(owner)), namespace)
    garbage = GarbageCollector(client, SharedInformers(client))
    for one in (owner, child):
        garbage._changed("configmaps", "ADDED", one, None)
    owners = None if change == "orphaned" else [reference(other)]
    await client.patch("configmaps", "child", {"metadata": {"ownerReferences": owners}}, namespace)
    await client.delete("configmaps", "owner", namespace)
    garbage._changed("configmaps", "DELETED", owner, owner)
    await garbage._sync(child["metadata"]["uid"])
    assert await client.get("configmaps", "child", namespace)


async def test_what_goes_for_its_owner_leaves_its_own_dependents_as_it_says(
    controllers: None, client: KubeClient, namespace: str
) -> None:
    owner = {"apiVersion": "v1", "kind": "ConfigMap", **await client.create("configmaps", named("owner"), namespace)}
    middle = named("middle", reference(owner))
    middle["metadata"]["finalizers"] = ["orphan"]
    made = {"apiVersion": "v1", "kind": "ConfigMap", **await client.create("configmaps", middle, namespace)}
    await client.create("configmaps", named("child", reference(made)), namespace)
    await client.delete("configmaps", "owner", namespace)

    async def freed() -> bool:
        return "ownerReferences" not in (await client.get("configmaps", "child", namespace))["metadata"]

    await eventually(freed, what="the child is left an orphan")


async def test_a_deletion_on_condition_of_a_version(client: KubeClient, namespace: str) -> None:
    made = await client.create("configmaps", named("c"), namespace)
    await client.patch("configmaps", "c", {"data": {"a": "b"}}, namespace)
    with pytest.raises(ApiError, match="ResourceVersion in the precondition"):
        await client.delete("configmaps", "c", namespace, version=made["metadata"]["resourceVersion"])
