"""Deployments go from one template to the next, stop where they must, and go back: asked and shown by kubectl."""

from __future__ import annotations

import asyncio
import json
import random
import re
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

import pytest

from k8slab.kube.client import ApiError, KubeClient, Object
from k8slab.kube.controllers.node_lifecycle import condition
from tests.daemons.kube.conftest import Api, Kubectl, start_api
from tests.daemons.kube.hollow import Hollow, hollow
from tests.daemons.processes import Daemon, Etcd, Supervisor, eventually, free_port

BROKEN = "broken"
# One is killed here, and the next must not wait for long.
SHORT_LEASE = (
    "--leader-elect-lease-duration=2s",
    "--leader-elect-renew-deadline=1500ms",
    "--leader-elect-retry-period=300ms",
)


@pytest.fixture(scope="module", autouse=True)
def controllers(session_supervisor: Supervisor, api: Api) -> Iterator[Daemon]:
    flags = (f"--master={api.url}", f"--port={free_port()}", *SHORT_LEASE)
    daemon = session_supervisor.km("controller-manager", *flags).start()
    yield daemon
    daemon.stop()


def fate(pod: Object) -> str:
    """A pod whose image is broken never runs."""
    return "Pending" if BROKEN in pod["spec"]["containers"][0]["image"] else "Running"


def deployment(replicas: int = 4, image: str = "web:1", **rest: Any) -> Object:
    template = {"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [{"name": "c", "image": image}]}}
    spec = {"replicas": replicas, "selector": {"matchLabels": {"app": "web"}}, "template": template, **rest}
    return {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web"}, "spec": spec}


def rolling(surge: int | str, unavailable: int | str) -> Object:
    return {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": surge, "maxUnavailable": unavailable}}


async def give(client: KubeClient, namespace: str, image: str) -> None:
    change = [{"op": "replace", "path": "/spec/template/spec/containers/0/image", "value": image}]
    await client.patch("deployments", "web", change, namespace, content_type="application/json-patch+json")


async def sets(client: KubeClient, namespace: str) -> dict[str, Object]:
    """The deployment's replica sets by the image of their pods."""
    found = (await client.list("replicasets", namespace)).items
    return {one["spec"]["template"]["spec"]["containers"][0]["image"]: one for one in found}


async def sizes(client: KubeClient, namespace: str) -> dict[str, int]:
    return {image: one["spec"]["replicas"] for image, one in (await sets(client, namespace)).items()}


async def status_of(client: KubeClient, namespace: str) -> Object:
    status: Object = (await client.get("deployments", "web", namespace))["status"]
    return status


async def complete(client: KubeClient, namespace: str, image: str) -> Object:
    """The deployment, once all its pods have this image and are available, and no others are there."""

    async def probe() -> Object | None:
        found = await client.get("deployments", "web", namespace)
        status, wanted = found["status"], found["spec"]["replicas"]
        counts = [status.get(one, 0) for one in ("replicas", "updatedReplicas", "readyReplicas", "availableReplicas")]
        if status.get("observedGeneration") != found["metadata"]["generation"] or counts != [wanted] * 4:
            return None
        pods = (await client.list("pods", namespace)).items
        images = [one["spec"]["containers"][0]["image"] for one in pods if not one["metadata"].get("deletionTimestamp")]
        return found if images == [image] * wanted else None

    found = await eventually(probe, what=f"all of the deployment's pods are of {image}")
    assert found is not None
    return found


class Watched:
    """The extremes of what was there while pods changed: all that were not on their way out, and the ready ones."""

    def __init__(self, kubelet: Hollow) -> None:
        self._kubelet = kubelet
        self.most, self.least = 0, 10**6
        self.images_together: set[frozenset[str]] = set()
        kubelet.pods.subscribe(self._changed)

    def begin(self) -> None:
        self.most, self.least, self.images_together = 0, 10**6, set()

    def _changed(self, *_: Any) -> None:
        there = [one for one in self._kubelet.pods.cache.values() if not one["metadata"].get("deletionTimestamp")]
        ready = [one for one in there if condition(one, "Ready").get("status") == "True"]
        self.most, self.least = max(self.most, len(there)), min(self.least, len(ready))
        images = {one["spec"]["containers"][0]["image"] for one in self._kubelet.pods.cache.values()}
        self.images_together.add(frozenset(images))


async def test_rollout_and_undo(client: KubeClient, kubectl: Kubectl, namespace: str) -> None:
    """The whole life of a deployment in the words of each kubectl."""
    inside = ("-n", namespace)

    async def run(*words: str, stdin: str | None = None) -> str:
        return await asyncio.to_thread(kubectl, *words, *inside, stdin=stdin)

    async with hollow(client, namespace, node="node-a", fate=fate):
        await run("create", "-f", "-", stdin=json.dumps(deployment(strategy=rolling(1, 1))))
        assert (await run("rollout", "status", "deployment/web")).endswith('deployment "web" successfully rolled out\n')
        await run("annotate", "deployment/web", "kubernetes.io/change-cause=the first")
        for image in ("web:2", "web:3"):
            await run("set", "image", "deployment/web", f"c={image}")
            said = await run("rollout", "status", "deployment/web")
            assert said.endswith('deployment "web" successfully rolled out\n')
            await complete(client, namespace, image)
        history = await run("rollout", "history", "deployment/web")
        assert re.findall(r"^(\d) +", history, re.M) == ["1", "2", "3"]
        assert re.search(r"^1 +the first$", history, re.M)

        assert "rolled back" in await run("rollout", "undo", "deployment/web")
        await complete(client, namespace, "web:2")
        assert "rolled back" in await run("rollout", "undo", "deployment/web", "--to-revision=1")
        done = await complete(client, namespace, "web:1")
        assert done["metadata"]["annotations"]["deployment.kubernetes.io/revision"] == "5"
        back = (await sets(client, namespace))["web:1"]
        assert back["metadata"]["annotations"]["deployment.kubernetes.io/revision-history"] == "1"
        assert re.findall(r"^(\d) +", await run("rollout", "history", "deployment/web"), re.M) == ["3", "4", "5"]

        await run("rollout", "restart", "deployment/web")
        await run("rollout", "status", "deployment/web")
        assert len((await client.list("replicasets", namespace)).items) == 4
        described = await run("describe", "deployment/web")
    name = back["metadata"]["name"]
    assert re.search(r"web-[bcdfghjklmnpqrstvwxz2456789]{6,10}$", name)
    assert re.search(
        r"Normal +ScalingReplicaSet .* deployment-controller +Scaled up replica set web-\w+ from 0 to 4", described
    )
    assert re.search(r"Scaled down replica set web-\w+ from 1 to 0", described)
    assert re.search(r"Available +True +MinimumReplicasAvailable", described)
    assert re.search(r"Progressing +True +NewReplicaSetAvailable", described)


async def test_what_a_replica_set_of_a_deployment_is_like(client: KubeClient, namespace: str) -> None:
    async with hollow(client, namespace, node="node-a"):
        made = await client.create("deployments", deployment(4, minReadySeconds=1), namespace)
        await complete(client, namespace, "web:1")
        (one,) = (await client.list("replicasets", namespace)).items
        mark = one["metadata"]["labels"]["pod-template-hash"]
        assert one["metadata"]["name"] == f"web-{mark}"
        assert one["metadata"]["labels"] == {"app": "web", "pod-template-hash": mark}
        assert one["spec"]["selector"]["matchLabels"] == one["spec"]["template"]["metadata"]["labels"]
        assert one["spec"]["minReadySeconds"] == 1
        (reference,) = one["metadata"]["ownerReferences"]
        assert (reference["uid"], reference["controller"]) == (made["metadata"]["uid"], True)
        assert one["metadata"]["annotations"] == {
            "deployment.kubernetes.io/revision": "1",
            "deployment.kubernetes.io/desired-replicas": "4",
            "deployment.kubernetes.io/max-replicas": "5",
        }
        found = await client.get("deployments", "web", namespace)
        progress = condition(found, "Progressing")
        assert progress["message"] == f'ReplicaSet "web-{mark}" has successfully progressed.'
        assert condition(found, "Available")["message"] == "Deployment has minimum availability."
        assert {entry["manager"] for entry in one["metadata"]["managedFields"]} == {"kube-controller-manager"}


@pytest.mark.parametrize(
    ("surge", "unavailable", "most", "least"), [(0, 3, 10, 7), (3, 0, 13, 10), ("25%", "25%", 13, 8), (0, "1%", 10, 9)]
)
async def test_a_rolling_update_keeps_its_bounds(
    client: KubeClient, namespace: str, surge: int | str, unavailable: int | str, most: int, least: int
) -> None:
    async with hollow(client, namespace, node="node-a") as kubelet:
        await client.create("deployments", deployment(10, strategy=rolling(surge, unavailable)), namespace)
        await complete(client, namespace, "web:1")
        watched = Watched(kubelet)
        watched.begin()
        await give(client, namespace, "web:2")
        await complete(client, namespace, "web:2")
        assert watched.most <= most
        assert watched.least >= least
        assert (watched.most, watched.least) != (10, 10), "something was seen of it"


async def test_recreate_has_no_two_kinds_of_pods(client: KubeClient, namespace: str) -> None:
    async with hollow(client, namespace, node="node-a") as kubelet:
        await client.create("deployments", deployment(5, strategy={"type": "Recreate"}), namespace)
        await complete(client, namespace, "web:1")
        watched = Watched(kubelet)
        kubelet.lingers = True
        await give(client, namespace, "web:2")

        async def all_are_going() -> bool:
            pods = (await client.list("pods", namespace)).items
            return all(one["metadata"].get("deletionTimestamp") for one in pods)

        await eventually(all_are_going, what="the old pods were asked to go")
        assert set(await sets(client, namespace)) == {"web:1"}, "as long as they are there nothing new is made"
        kubelet.lingers = False
        kubelet.look_again()
        await complete(client, namespace, "web:2")
        assert frozenset({"web:1", "web:2"}) not in watched.images_together
        assert {frozenset({"web:1"}), frozenset({"web:2"})} < watched.images_together


async def test_a_broken_image_stops_the_rollout(client: KubeClient, newest_kubectl: Kubectl, namespace: str) -> None:
    kubectl, inside = newest_kubectl, ("-n", namespace)
    async with hollow(client, namespace, node="node-a", fate=fate):
        made = deployment(8, strategy=rolling("25%", "25%"), progressDeadlineSeconds=2)
        await client.create("deployments", made, namespace)
        await complete(client, namespace, "web:1")
        await asyncio.to_thread(kubectl, "set", "image", "deployment/web", f"c={BROKEN}", *inside)
        said = await asyncio.to_thread(kubectl.fails, "rollout", "status", "deployment/web", *inside)
        assert 'error: deployment "web" exceeded its progress deadline' in said
        assert await sizes(client, namespace) == {"web:1": 6, BROKEN: 4}
        found = await client.get("deployments", "web", namespace)
        late = condition(found, "Progressing")
        name = (await sets(client, namespace))[BROKEN]["metadata"]["name"]
        assert (late["status"], late["reason"]) == ("False", "ProgressDeadlineExceeded")
        assert late["message"] == f'ReplicaSet "{name}" has timed out progressing.'
        assert condition(found, "Available")["status"] == "True"
        status = found["status"]
        assert (status["updatedReplicas"], status["availableReplicas"], status["unavailableReplicas"]) == (4, 6, 4)

        await asyncio.to_thread(kubectl, "rollout", "undo", "deployment/web", *inside)
        await asyncio.to_thread(kubectl, "rollout", "status", "deployment/web", *inside)
        healed = await complete(client, namespace, "web:1")
        assert condition(healed, "Progressing")["reason"] == "NewReplicaSetAvailable"


async def test_scaling_amid_a_rollout_is_in_proportion(client: KubeClient, namespace: str) -> None:
    async with hollow(client, namespace, node="node-a", fate=fate):
        await client.create("deployments", deployment(10, strategy=rolling(3, 2)), namespace)
        await complete(client, namespace, "web:1")
        await give(client, namespace, BROKEN)

        async def are(wanted: dict[str, int]) -> None:
            async def probe() -> bool:
                return await sizes(client, namespace) == wanted

            await eventually(probe, what=f"the replica sets are {wanted}")

        await are({"web:1": 8, BROKEN: 5})
        await client.patch("deployments", "web", {"spec": {"replicas": 15}}, namespace)
        await are({"web:1": 11, BROKEN: 7})
        await client.patch("deployments", "web", {"spec": {"replicas": 0}}, namespace)
        await are({"web:1": 0, BROKEN: 0})


async def test_pause_and_resume(client: KubeClient, newest_kubectl: Kubectl, namespace: str) -> None:
    kubectl, inside = newest_kubectl, ("-n", namespace)
    async with hollow(client, namespace, node="node-a", fate=fate):
        await client.create("deployments", deployment(2), namespace)
        await complete(client, namespace, "web:1")
        await asyncio.to_thread(kubectl, "rollout", "pause", "deployment/web", *inside)
        await asyncio.to_thread(kubectl, "set", "image", "deployment/web", "c=web:2", *inside)
        await asyncio.to_thread(kubectl, "scale", "deployment/web", "--replicas=3", *inside)

        async def scaled() -> bool:
            status = await status_of(client, namespace)
            return status.get("availableReplicas") == 3 and status["observedGeneration"] == 4

        await eventually(scaled, what="it is scaled while it is paused")
        found = await client.get("deployments", "web", namespace)
        assert "updatedReplicas" not in found["status"]
        paused = condition(found, "Progressing")
        assert (paused["status"], paused["reason"]) == ("Unknown", "DeploymentPaused")
        assert set(await sets(client, namespace)) == {"web:1"}, "nothing is rolled out"
        await asyncio.to_thread(kubectl, "rollout", "resume", "deployment/web", *inside)
        await complete(client, namespace, "web:2")


async def test_as_many_revisions_are_kept_as_wanted(client: KubeClient, namespace: str) -> None:
    async with hollow(client, namespace, node="node-a"):
        await client.create("deployments", deployment(2, revisionHistoryLimit=2), namespace)
        for number in range(1, 6):
            await give(client, namespace, f"web:{number}")
            await complete(client, namespace, f"web:{number}")

        async def kept() -> bool:
            return set(await sets(client, namespace)) == {"web:3", "web:4", "web:5"}

        await eventually(kept, what="the new one and two old ones are left")


async def test_what_was_orphaned_is_taken_up_again(client: KubeClient, newest_kubectl: Kubectl, namespace: str) -> None:
    async with hollow(client, namespace, node="node-a"):
        await client.create("deployments", deployment(3), namespace)
        await complete(client, namespace, "web:1")
        before = {one["metadata"]["uid"] for one in (await client.list("pods", namespace)).items}
        await asyncio.to_thread(newest_kubectl, "delete", "deployment", "web", "--cascade=orphan", "-n", namespace)
        again = await client.create("deployments", deployment(3), namespace)
        await complete(client, namespace, "web:1")
        (one,) = (await client.list("replicasets", namespace)).items
        assert one["metadata"]["ownerReferences"][0]["uid"] == again["metadata"]["uid"]
        assert {one["metadata"]["uid"] for one in (await client.list("pods", namespace)).items} == before


async def test_why_pods_cannot_be_made_is_said_of_the_deployment(client: KubeClient, namespace: str) -> None:
    await client.create("resourcequotas", {"metadata": {"name": "few"}, "spec": {"hard": {"pods": "1"}}}, namespace)
    await client.create("deployments", deployment(3), namespace)

    async def failure() -> Object | None:
        return dict(condition(await client.get("deployments", "web", namespace), "ReplicaFailure")) or None

    found = await eventually(failure, what="the deployment says that pods cannot be made")
    assert found is not None
    assert (found["status"], found["reason"]) == ("True", "FailedCreate")
    assert "exceeded quota: few" in found["message"]


async def test_a_name_that_another_has(client: KubeClient, namespace: str) -> None:
    """As when two templates have one hash: another name is made of it."""
    async with hollow(client, namespace, node="node-a"):
        await client.create("deployments", deployment(1), namespace)
        await complete(client, namespace, "web:1")
        name = (await sets(client, namespace))["web:1"]["metadata"]["name"]
        await client.delete("deployments", "web", namespace, propagation="Foreground")

        async def gone() -> bool:
            left = (await client.list("replicasets", namespace)).items + (await client.list("pods", namespace)).items
            return not left and not (await client.list("deployments", namespace)).items

        await eventually(gone, what="it is gone with all that it had")
        other = deployment(1, "web:9")
        other["spec"]["template"]["metadata"]["labels"] = {"app": "other"}
        taken = {**other["spec"], "selector": {"matchLabels": {"app": "other"}}, "replicas": 0}
        await client.create("replicasets", {"metadata": {"name": name}, "spec": taken}, namespace)
        await client.create("deployments", deployment(1), namespace)
        done = await complete(client, namespace, "web:1")
        assert done["status"]["collisionCount"] == 1
        assert (await sets(client, namespace))["web:1"]["metadata"]["name"] != name


async def test_killed_amid_a_rollout(api: Api, client: KubeClient, namespace: str, controllers: Daemon) -> None:
    """Whoever comes after it goes on where it was, and neither pods nor revisions are doubled."""
    async with hollow(client, namespace, node="node-a") as kubelet:
        await client.create("deployments", deployment(40, strategy=rolling(4, 4)), namespace)
        await complete(client, namespace, "web:1")
        watched = Watched(kubelet)
        watched.begin()
        await give(client, namespace, "web:2")

        async def halfway() -> bool:
            return (await status_of(client, namespace)).get("updatedReplicas", 0) >= 10

        await eventually(halfway, what="a quarter is new", interval=0.01)
        await asyncio.to_thread(controllers.kill)
        await controllers.start_async()
        await complete(client, namespace, "web:2")
        assert set(await sets(client, namespace)) == {"web:1", "web:2"}
        assert watched.most <= 44
        assert watched.least >= 36


async def test_whatever_was_asked_for_in_a_hurry_the_last_word_counts(client: KubeClient, namespace: str) -> None:
    seed = random.randrange(1000)
    chance = random.Random(seed)
    async with hollow(client, namespace, node="node-a", fate=fate):
        await client.create("deployments", deployment(3, revisionHistoryLimit=3), namespace)
        for _ in range(40):
            match chance.choice(("scale", "scale", "image", "image", "pause", "resume", "strategy", "pod")):
                case "scale":
                    await client.patch("deployments", "web", {"spec": {"replicas": chance.randrange(12)}}, namespace)
                case "image":
                    await give(client, namespace, chance.choice(("web:1", "web:2", "web:3", BROKEN)))
                case "strategy":
                    strategy = chance.choice(({"type": "Recreate", "rollingUpdate": None}, rolling("50%", 1)))
                    await client.patch("deployments", "web", {"spec": {"strategy": strategy}}, namespace)
                case "pod":
                    for pod in (await client.list("pods", namespace)).items[:2]:
                        with suppress(ApiError):
                            await client.delete("pods", pod["metadata"]["name"], namespace, uid=pod["metadata"]["uid"])
                case word:
                    await client.patch("deployments", "web", {"spec": {"paused": word == "pause"}}, namespace)
            await asyncio.sleep(chance.choice((0, 0.01, 0.05)))
        await client.patch("deployments", "web", {"spec": {"replicas": 7, "paused": False}}, namespace)
        await give(client, namespace, "web:9")
        print(f"the seed was {seed}")
        await complete(client, namespace, "web:9")

        async def tidy() -> bool:
            return len(await sets(client, namespace)) <= 4 and sum((await sizes(client, namespace)).values()) == 7

        await eventually(tidy, what="no more is left than is to be kept")


async def test_an_api_server_that_dies_amid_a_rollout(
    supervisor: Supervisor, etcd_cluster: Callable[[int], Etcd]
) -> None:
    """Its controllers go on with the other one."""
    etcd = await asyncio.to_thread(etcd_cluster, 1)
    first, second = [await asyncio.to_thread(start_api, supervisor, etcd) for _ in range(2)]
    both = f"{first.url},{second.url}"
    flags = (f"--master={both}", f"--port={free_port()}", *SHORT_LEASE)
    await supervisor.km("controller-manager", *flags).start_async()
    async with KubeClient(second.url) as client, hollow(client, "default", node="node-a") as kubelet:
        await client.create("deployments", deployment(30, strategy=rolling(3, 3)), "default")
        await complete(client, "default", "web:1")
        watched = Watched(kubelet)
        watched.begin()
        await give(client, "default", "web:2")

        async def halfway() -> bool:
            return (await status_of(client, "default")).get("updatedReplicas", 0) >= 8

        await eventually(halfway, what="a quarter is new", interval=0.01)
        await asyncio.to_thread(first.daemon.kill)
        await complete(client, "default", "web:2")
        assert watched.most <= 33
        assert watched.least >= 27
