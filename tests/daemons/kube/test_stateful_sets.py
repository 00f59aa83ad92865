"""Stateful sets: pods with numbers and names of their own, made in order, renewed from the end."""

from __future__ import annotations

import asyncio
import json
import random
import re
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import pytest

from k8slab.kube.client import ApiError, KubeClient, Object
from tests.daemons.kube.conftest import Api, Kubectl
from tests.daemons.kube.hollow import Hollow, hollow
from tests.daemons.processes import Supervisor, eventually, free_port

BROKEN = "broken"


@pytest.fixture(scope="module", autouse=True)
def controllers(session_supervisor: Supervisor, api: Api) -> Iterator[None]:
    daemon = session_supervisor.km("controller-manager", f"--master={api.url}", f"--port={free_port()}").start()
    yield
    daemon.stop()


def fate(pod: Object) -> str:
    return "Pending" if BROKEN in image_of(pod) else "Running"


def image_of(pod: Object) -> str:
    return str(pod["spec"]["containers"][0]["image"])


def stateful(replicas: int = 3, **rest: Any) -> Object:
    template = {"metadata": {"labels": {"app": "db"}}, "spec": {"containers": [{"name": "c", "image": "db:1"}]}}
    selected = {"selector": {"matchLabels": {"app": "db"}}, "serviceName": "db", "template": template}
    spec = {"replicas": replicas, **selected, **rest}
    return {"apiVersion": "apps/v1", "kind": "StatefulSet", "metadata": {"name": "db"}, "spec": spec}


async def give(client: KubeClient, namespace: str, image: str) -> None:
    change = [{"op": "replace", "path": "/spec/template/spec/containers/0/image", "value": image}]
    await client.patch("statefulsets", "db", change, namespace, content_type="application/json-patch+json")


async def images(client: KubeClient, namespace: str) -> dict[str, str]:
    """Pod → image of those that are there and not on their way out."""
    pods = (await client.list("pods", namespace)).items
    return {one["metadata"]["name"]: image_of(one) for one in pods if not one["metadata"].get("deletionTimestamp")}


async def settled(client: KubeClient, namespace: str, wanted: dict[str, str]) -> Object:
    """The set, once it has exactly these pods and says that all are available."""

    async def probe() -> Object | None:
        found = await client.get("statefulsets", "db", namespace)
        status = found["status"]
        counts = [status.get(one, 0) for one in ("replicas", "readyReplicas", "availableReplicas")]
        observed = status.get("observedGeneration") == found["metadata"]["generation"]
        ready = observed and counts == [len(wanted)] * 3
        return found if ready and await images(client, namespace) == wanted else None

    found = await eventually(probe, what=f"the pods are {wanted}")
    assert found is not None
    return found


def numbered(image: str, *numbers: int) -> dict[str, str]:
    return {f"db-{number}": image for number in numbers}


class Order:
    """In which order pods came and went, and which were ready when each came."""

    def __init__(self, kubelet: Hollow) -> None:
        self._pods = kubelet.pods
        self.came: list[str] = []
        self.went: list[str] = []
        self.too_early: list[str] = []
        kubelet.pods.subscribe(self._changed)

    def _changed(self, kind: str, pod: Object, old: Object | None) -> None:
        name = pod["metadata"]["name"]
        if kind == "ADDED":
            self.came.append(name)
            number = int(name.rpartition("-")[2])
            phases = [(self._pods.cache.get(f"{pod['metadata']['namespace']}/db-{one}") or {}) for one in range(number)]
            if any((one.get("status") or {}).get("phase") != "Running" for one in phases):
                self.too_early.append(name)
        if kind == "DELETED":
            self.went.append(name)


async def test_pods_come_in_order_and_go_in_reverse(client: KubeClient, kubectl: Kubectl, namespace: str) -> None:
    inside = ("-n", namespace)
    async with hollow(client, namespace, node="node-a") as kubelet:
        order = Order(kubelet)
        await asyncio.to_thread(kubectl, "create", "-f", "-", *inside, stdin=json.dumps(stateful()))
        found = await settled(client, namespace, numbered("db:1", 0, 1, 2))
        said = await asyncio.to_thread(kubectl, "rollout", "status", "statefulset/db", *inside)
        assert re.search(r"(partitioned roll out|statefulset rolling update) complete", said)
        assert (order.came, order.too_early) == (["db-0", "db-1", "db-2"], [])
        assert await asyncio.to_thread(kubectl, "get", "sts", "db", "--no-headers", *inside) != ""
        pod = await client.get("pods", "db-1", namespace)
        assert (pod["spec"]["hostname"], pod["spec"]["subdomain"]) == ("db-1", "db")
        labels = pod["metadata"]["labels"]
        assert labels["statefulset.kubernetes.io/pod-name"] == "db-1"
        assert labels["apps.kubernetes.io/pod-index"] == "1"
        assert labels["controller-revision-hash"] == found["status"]["currentRevision"]

        await asyncio.to_thread(kubectl, "scale", "statefulset", "db", "--replicas=1", *inside)
        await settled(client, namespace, numbered("db:1", 0))
        assert order.went == ["db-2", "db-1"]

        async def told() -> bool:
            described = await asyncio.to_thread(kubectl, "describe", "sts", "db", *inside)
            made = r"SuccessfulCreate .*statefulset-controller +create Pod db-0 in StatefulSet db successful"
            gone = r"SuccessfulDelete .*delete Pod db-2 in StatefulSet db successful"
            return bool(re.search(made, described) and re.search(gone, described))

        await eventually(told, what="the story is told in events", interval=0.5)


async def test_one_that_does_not_start_keeps_the_others_waiting(client: KubeClient, namespace: str) -> None:
    async with hollow(client, namespace, node="node-a", fate=lambda pod: "Pending") as kubelet:
        await client.create("statefulsets", stateful(), namespace)

        async def first_waits() -> bool:
            status = (await client.get("statefulsets", "db", namespace))["status"]
            return status["replicas"] == 1 and not status.get("readyReplicas")

        await eventually(first_waits, what="the first pod is there")
        kubelet.fate = lambda pod: "Running"
        kubelet.look_again()
        await settled(client, namespace, numbered("db:1", 0, 1, 2))


async def test_in_parallel_nobody_waits(client: KubeClient, namespace: str) -> None:
    async with hollow(client, namespace, node="node-a", fate=lambda pod: "Pending"):
        await client.create("statefulsets", stateful(5, podManagementPolicy="Parallel"), namespace)

        async def all_there() -> bool:
            return await images(client, namespace) == numbered("db:1", 0, 1, 2, 3, 4)

        await eventually(all_there, what="all are made though none runs")
        await client.patch("statefulsets", "db", {"spec": {"replicas": 1}}, namespace)

        async def one_left() -> bool:
            return await images(client, namespace) == numbered("db:1", 0)

        await eventually(one_left, what="those that are too many go together")


async def test_a_pod_that_goes_or_ends_comes_again_by_its_name(client: KubeClient, namespace: str) -> None:
    async with hollow(client, namespace, node="node-a") as kubelet:
        await client.create("statefulsets", stateful(), namespace)
        await settled(client, namespace, numbered("db:1", 0, 1, 2))
        before = {
            one["metadata"]["name"]: one["metadata"]["uid"] for one in (await client.list("pods", namespace)).items
        }
        await client.delete("pods", "db-1", namespace)
        await kubelet.become(await client.get("pods", "db-2", namespace), "Failed")

        async def renewed() -> bool:
            pods = (await client.list("pods", namespace)).items
            now = {one["metadata"]["name"]: one["metadata"]["uid"] for one in pods}
            return now.keys() == before.keys() and {name for name in now if now[name] != before[name]} == {
                "db-1",
                "db-2",
            }

        await eventually(renewed, what="both are there again")
        await settled(client, namespace, numbered("db:1", 0, 1, 2))


async def test_rolling_update_and_undo(client: KubeClient, kubectl: Kubectl, namespace: str) -> None:
    inside = ("-n", namespace)
    async with hollow(client, namespace, node="node-a", fate=fate) as kubelet:
        await client.create("statefulsets", stateful(), namespace)
        first = await settled(client, namespace, numbered("db:1", 0, 1, 2))
        order = Order(kubelet)
        await asyncio.to_thread(kubectl, "set", "image", "statefulset/db", "c=db:2", *inside)
        await asyncio.to_thread(kubectl, "rollout", "status", "statefulset/db", *inside)
        second = await settled(client, namespace, numbered("db:2", 0, 1, 2))
        assert order.went == ["db-2", "db-1", "db-0"]
        assert second["status"]["currentRevision"] == second["status"]["updateRevision"]
        assert second["status"]["currentRevision"] != first["status"]["currentRevision"]

        await give(client, namespace, BROKEN)

        async def stuck() -> bool:
            return await images(client, namespace) == {**numbered("db:2", 0, 1), "db-2": BROKEN}

        await eventually(stuck, what="the last pod is broken, and the others are left alone")
        history = await asyncio.to_thread(kubectl, "rollout", "history", "statefulset/db", *inside)
        assert re.findall(r"^(\d) ", history, re.M) == ["1", "2", "3"]
        assert "rolled back" in await asyncio.to_thread(
            kubectl, "rollout", "undo", "statefulset/db", "--to-revision=1", *inside
        )
        # As with the original, a pod that never was ready has to be taken away by hand.
        await client.delete("pods", "db-2", namespace)
        back = await settled(client, namespace, numbered("db:1", 0, 1, 2))
        assert back["status"]["updateRevision"] == first["status"]["currentRevision"]
        history = await asyncio.to_thread(kubectl, "rollout", "history", "statefulset/db", *inside)
        assert re.findall(r"^(\d) ", history, re.M) == ["2", "3", "4"]


async def test_only_pods_from_the_partition_on_are_renewed(client: KubeClient, namespace: str) -> None:
    async with hollow(client, namespace, node="node-a"):
        made = stateful(4, updateStrategy={"type": "RollingUpdate", "rollingUpdate": {"partition": 2}})
        await client.create("statefulsets", made, namespace)
        await settled(client, namespace, numbered("db:1", 0, 1, 2, 3))
        await give(client, namespace, "db:2")
        await settled(client, namespace, {**numbered("db:1", 0, 1), **numbered("db:2", 2, 3)})

        async def counted() -> bool:
            status = (await client.get("statefulsets", "db", namespace))["status"]
            assert status["currentRevision"] != status["updateRevision"]
            return bool((status.get("currentReplicas"), status.get("updatedReplicas")) == (2, 2))

        await eventually(counted, what="two are of each revision")
        await client.delete("pods", "db-0", namespace)
        await settled(client, namespace, {**numbered("db:1", 0, 1), **numbered("db:2", 2, 3)})
        await client.patch(
            "statefulsets", "db", {"spec": {"updateStrategy": {"rollingUpdate": {"partition": 0}}}}, namespace
        )
        await settled(client, namespace, numbered("db:2", 0, 1, 2, 3))


async def test_on_delete_waits_for_somebody_to_delete(client: KubeClient, namespace: str) -> None:
    async with hollow(client, namespace, node="node-a"):
        await client.create("statefulsets", stateful(2, updateStrategy={"type": "OnDelete"}), namespace)
        await settled(client, namespace, numbered("db:1", 0, 1))
        await give(client, namespace, "db:2")
        await settled(client, namespace, numbered("db:1", 0, 1))
        await client.delete("pods", "db-0", namespace)
        await settled(client, namespace, {**numbered("db:2", 0), **numbered("db:1", 1)})


async def test_claims_outlive_their_pods(client: KubeClient, namespace: str) -> None:
    wanted = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}
    made = stateful(2, volumeClaimTemplates=[{"metadata": {"name": "data"}, "spec": wanted}])
    made["spec"]["template"]["spec"]["containers"][0]["volumeMounts"] = [{"name": "data", "mountPath": "/data"}]
    async with hollow(client, namespace, node="node-a"):
        await client.create("statefulsets", made, namespace)
        await settled(client, namespace, numbered("db:1", 0, 1))
        pod = await client.get("pods", "db-1", namespace)
        volume = next(one for one in pod["spec"]["volumes"] if one["name"] == "data")
        assert volume["persistentVolumeClaim"]["claimName"] == "data-db-1"
        await client.patch("statefulsets", "db", {"spec": {"replicas": 1}}, namespace)
        await settled(client, namespace, numbered("db:1", 0))
        claims = {
            one["metadata"]["name"]: one for one in (await client.list("persistentvolumeclaims", namespace)).items
        }
        assert set(claims) == {"data-db-0", "data-db-1"}
        assert claims["data-db-1"]["metadata"]["labels"] == {"app": "db"}


async def test_claims_that_are_not_to_be_kept(client: KubeClient, namespace: str) -> None:
    wanted = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}
    policy = {"whenScaled": "Delete", "whenDeleted": "Delete"}
    made = stateful(
        3,
        volumeClaimTemplates=[{"metadata": {"name": "data"}, "spec": wanted}],
        persistentVolumeClaimRetentionPolicy=policy,
    )

    async def left(*names: str) -> None:
        async def probe() -> bool:
            found = (await client.list("persistentvolumeclaims", namespace)).items
            return {one["metadata"]["name"] for one in found} == set(names)

        await eventually(probe, what=f"the claims are {names}")

    async with hollow(client, namespace, node="node-a"):
        await client.create("statefulsets", made, namespace)
        await settled(client, namespace, numbered("db:1", 0, 1, 2))
        await left("data-db-0", "data-db-1", "data-db-2")
        await client.delete("pods", "db-0", namespace)
        await settled(client, namespace, numbered("db:1", 0, 1, 2))
        await client.patch("statefulsets", "db", {"spec": {"replicas": 2}}, namespace)
        await left("data-db-0", "data-db-1")
        await client.delete("statefulsets", "db", namespace)
        await left()


@pytest.mark.parametrize("policy", ["OrderedReady", "Parallel"])
async def test_whatever_was_asked_for_in_a_hurry_the_last_word_counts(
    client: KubeClient, namespace: str, policy: str
) -> None:
    seed = random.randrange(1000)
    chance = random.Random(seed)
    async with hollow(client, namespace, node="node-a"):
        await client.create("statefulsets", stateful(podManagementPolicy=policy, revisionHistoryLimit=2), namespace)
        for _ in range(30):
            match chance.choice(("scale", "image", "partition", "pod")):
                case "scale":
                    await client.patch("statefulsets", "db", {"spec": {"replicas": chance.randrange(6)}}, namespace)
                case "image":
                    await give(client, namespace, f"db:{chance.randrange(6)}")
                case "partition":
                    strategy = {"type": "RollingUpdate", "rollingUpdate": {"partition": chance.randrange(3)}}
                    await client.patch("statefulsets", "db", {"spec": {"updateStrategy": strategy}}, namespace)
                case "pod":
                    for pod in (await client.list("pods", namespace)).items[:2]:
                        with suppress(ApiError):
                            await client.delete("pods", pod["metadata"]["name"], namespace, uid=pod["metadata"]["uid"])
            await asyncio.sleep(chance.choice((0, 0.01, 0.05)))
        strategy = {"type": "RollingUpdate", "rollingUpdate": {"partition": 0}}
        await client.patch("statefulsets", "db", {"spec": {"replicas": 4, "updateStrategy": strategy}}, namespace)
        await give(client, namespace, "db:9")
        print(f"the seed was {seed}")
        await settled(client, namespace, numbered("db:9", 0, 1, 2, 3))

        async def tidy() -> bool:
            status = (await client.get("statefulsets", "db", namespace))["status"]
            kept = (await client.list("controllerrevisions", namespace)).items
            return len(kept) <= 3 and status["currentRevision"] == status["updateRevision"]

        await eventually(tidy, what="the update is done, and no more revisions are left than are to be kept")
