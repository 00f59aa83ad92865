"""What the pods of a stateful set are called, what is counted of them, and with whom their claims go."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from k8slab.kube.client import Object
from k8slab.kube.controllers.informers import SharedInformers
from k8slab.kube.controllers.stateful_pods import claim_heir, claims, numbered_pod, ordinal
from k8slab.kube.controllers.statefulsets import BURST, Look, StatefulSetController, status_of

TEMPLATE = {
    "metadata": {"labels": {"app": "db"}},
    "spec": {"containers": [{"name": "c", "image": "db"}], "volumes": [{"name": "data", "emptyDir": {}}]},
}


def owner(replicas: int = 3, **spec: Any) -> Object:
    claimed = [{"metadata": {"name": "data", "labels": {"a": "b"}}, "spec": {"accessModes": ["ReadWriteOnce"]}}]
    full = {
        "replicas": replicas,
        "serviceName": "svc",
        "selector": {"matchLabels": {"app": "db"}},
        "updateStrategy": {"type": "RollingUpdate", "rollingUpdate": {"partition": 0}},
        "volumeClaimTemplates": claimed,
        **spec,
    }
    meta = {"name": "db", "namespace": "n", "uid": "u", "generation": 2}
    return {"kind": "StatefulSet", "apiVersion": "apps/v1", "metadata": meta, "spec": full}


def pod(number: int, revision: str = "old", *, ready: bool = True, going: bool = False) -> Object:
    meta: Object = {"name": f"db-{number}", "uid": f"p{number}", "labels": {"controller-revision-hash": revision}}
    if going:
        meta["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    conditions = [{"type": "Ready", "status": str(ready), "lastTransitionTime": "2026-01-01T00:00:00Z"}]
    return {"metadata": meta, "status": {"phase": "Running", "conditions": conditions}}


def look(of: Object, *pods: Object) -> Look:
    old, new = ({"metadata": {"name": name}} for name in ("old", "new"))
    return Look(of, {ordinal(of, one): one for one in pods}, old, new)


@pytest.mark.parametrize(
    ("name", "expected"), [("db-0", 0), ("db-12", 12), ("db-01", -1), ("db", -1), ("db-x", -1), ("my-db-0", -1)]
)
def test_ordinals(name: str, expected: int) -> None:
    assert ordinal(owner(), {"metadata": {"name": name}}) == expected


def test_a_pod_of_a_number() -> None:
    made = numbered_pod(owner(), TEMPLATE, 2, "db-abc")
    assert (made["metadata"]["name"], made["spec"]["hostname"], made["spec"]["subdomain"]) == ("db-2", "db-2", "svc")
    assert "generateName" not in made["metadata"]
    assert made["metadata"]["labels"] == {
        "app": "db",
        "statefulset.kubernetes.io/pod-name": "db-2",
        "apps.kubernetes.io/pod-index": "2",
        "controller-revision-hash": "db-abc",
    }
    mounted = {"name": "data", "persistentVolumeClaim": {"claimName": "data-db-2"}}
    assert made["spec"]["volumes"] == [mounted], "the claim is in the place of the template's volume of that name"
    (claim,) = claims(owner(), 2)
    assert claim["metadata"] == {"name": "data-db-2", "namespace": "n", "labels": {"a": "b", "app": "db"}}


@pytest.mark.parametrize(
    ("deleted", "scaled", "stays", "goes"),
    [
        ("Retain", "Retain", None, None),
        ("Delete", "Retain", "StatefulSet", "StatefulSet"),
        ("Retain", "Delete", None, "Pod"),
        ("Delete", "Delete", "StatefulSet", "Pod"),
    ],
)
def test_with_whom_a_claim_goes(deleted: str, scaled: str, stays: str | None, goes: str | None) -> None:
    of = owner(persistentVolumeClaimRetentionPolicy={"whenDeleted": deleted, "whenScaled": scaled})
    assert (claim_heir(of, None) or {}).get("kind") == stays
    assert (claim_heir(of, pod(2)) or {}).get("kind") == goes


def test_counts_amid_an_update() -> None:
    status = status_of(look(owner(), pod(0), pod(1, ready=False), pod(2, "new")))
    assert status == {
        "observedGeneration": 2,
        "replicas": 3,
        "readyReplicas": 2,
        "availableReplicas": 2,
        "currentReplicas": 2,
        "updatedReplicas": 1,
        "currentRevision": "old",
        "updateRevision": "new",
        "collisionCount": 0,
    }


@pytest.mark.parametrize(("last", "current"), [(pod(0, "new"), "new"), (pod(0, "new", ready=False), "old")])
def test_an_update_is_done_when_all_are_new_and_ready(last: Object, current: str) -> None:
    status = status_of(look(owner(2), last, pod(1, "new")))
    assert (status["currentRevision"], status.get("currentReplicas", 0)) == (current, 2 if current == "new" else 0)


def test_numbers_may_begin_elsewhere() -> None:
    given = look(owner(2, ordinals={"start": 5}), *(pod(number) for number in (4, 5, 6, 7)))
    assert (list(given.numbers), given.surplus) == ([5, 6], [7, 4])


def test_pods_below_the_partition_are_of_the_current_revision() -> None:
    of = owner(updateStrategy={"type": "RollingUpdate", "rollingUpdate": {"partition": 2}})
    given = look(of)
    assert [given.revision_for(number)["metadata"]["name"] for number in range(3)] == ["old", "old", "new"]


async def test_a_set_that_wants_more_than_anybody_could_count_is_made_step_by_step() -> None:
    made: list[str] = []

    async def create(of: Object, pods: list[Object]) -> None:
        made.extend(one["metadata"]["name"] for one in pods)

    async def delete(of: Object, pods: list[Object]) -> None:
        assert pods == []

    client: Any = SimpleNamespace()
    owned: Any = SimpleNamespace(report_to=lambda *what: None, create=create, delete=delete)
    controller = StatefulSetController(client, SharedInformers(client), owned, owned)
    huge: Any = {"replicas": 2**31 - 1, "volumeClaimTemplates": []}
    revision = {"metadata": {"name": "new"}, "data": {"spec": {"template": TEMPLATE}}}

    def wanted(**spec: Any) -> Look:
        labelled = pod(0, "new")
        labelled["metadata"]["labels"] |= {
            "statefulset.kubernetes.io/pod-name": "db-0",
            "apps.kubernetes.io/pod-index": "0",
        }
        return Look(owner(**huge, **spec), {0: labelled}, revision, revision)

    await controller._step(wanted(podManagementPolicy="Parallel"))
    assert made == [f"db-{number}" for number in range(1, BURST + 1)]
    made.clear()
    await controller._step(wanted())
    assert made == ["db-1"]
