"""What comes and goes in a pod's life, how it is ended, and who takes it over."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import time
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from k8slab.kube.client import STRATEGIC_PATCH, KubeClient
from k8slab.kube.kubelet.ending import Ending
from k8slab.kube.kubelet.engine import Engine
from k8slab.kube.kubelet.observation import RUNNING, Seen
from tests.daemons.k8sm import images
from tests.daemons.k8sm.cluster import Cluster, Pod, pod, ready, running
from tests.daemons.k8sm.own_engine import OwnEngine, own_kubelet
from tests.daemons.processes import Supervisor, eventually

SOCKET = "/var/run/docker.sock"


def executes(command: str, **fields: Any) -> dict[str, Any]:
    return {"exec": {"command": ["/bin/sh", "-c", command]}, "periodSeconds": 1, **fields}


async def test_readiness_comes_and_goes_and_services_follow(cluster: Cluster, client: KubeClient) -> None:
    service = {"selector": {"app": "door"}, "ports": [{"port": 80}]}
    await client.create("services", {"metadata": {"name": "door", "namespace": "default"}, "spec": service})
    probe = {"readinessProbe": executes("[ -s /tmp/open ]", failureThreshold=1)}
    await client.create("pods", pod("door", container=probe))
    await cluster.until(client, "door", lambda one: one["status"].get("phase") == "Running")

    async def listed(key: str) -> list[str]:
        subsets = (await client.get("endpoints", "door", "default")).get("subsets") or ()
        return [one["ip"] for subset in subsets for one in subset.get(key) or ()]

    try:
        await eventually(lambda: listed("notReadyAddresses"), what="it is not served yet")
        cluster.kubectl("exec", "door", "--", "/bin/sh", "-c", "echo yes > /tmp/open")
        await cluster.until(client, "door", ready)
        await eventually(lambda: listed("addresses"), what="it is served")
        cluster.kubectl("exec", "door", "--", "/bin/sh", "-c", ": > /tmp/open")
        await eventually(lambda: listed("notReadyAddresses"), what="it is not served any more")
    finally:
        await client.delete("services", "door", "default")


async def test_a_readiness_gate_opens_and_shuts(cluster: Cluster, client: KubeClient) -> None:
    kind = "example.com/open"
    await client.create("pods", pod("gate", readinessGates=[{"conditionType": kind}]))
    await cluster.until(client, "gate", lambda one: _condition(one, "ContainersReady").get("status") == "True")
    for opened in ("True", "False"):
        patch = {"status": {"conditions": [{"type": kind, "status": opened}]}}
        await client.patch("pods", "gate", patch, "default", subresource="status", content_type=STRATEGIC_PATCH)
        shown = await cluster.until(client, "gate", lambda one, wanted=opened: ready(one) is (wanted == "True"))
        assert _condition(shown, kind)["status"] == opened
    said = f'the status of pod readiness gate "{kind}" is not "True", but False'
    assert _condition(shown, "Ready")["message"] == said


async def test_the_pre_stop_hook_has_its_time_before_the_signal(
    cluster: Cluster, client: KubeClient, tmp_path: Path
) -> None:
    lifecycle = {"preStop": {"exec": {"command": ["/bin/sh", "-c", "echo hook >> /out/said; sleep 1"]}}}
    container = {"lifecycle": lifecycle, "volumeMounts": [{"name": "out", "mountPath": "/out"}]}
    command = "trap 'echo term >> /out/said; exit 0' TERM; while :; do sleep 0.1; done"
    volumes = [{"name": "out", "hostPath": {"path": str(tmp_path)}}]
    await client.create(
        "pods", pod("leaves", command, container=container, volumes=volumes, terminationGracePeriodSeconds=20)
    )
    shown = await cluster.until(client, "leaves", running)
    endings = await _follow_the_end(client, shown)
    await client.delete("pods", "leaves", "default")
    await cluster.gone(client, "leaves")
    assert (tmp_path / "said").read_text() == "hook\nterm\n"
    assert cluster.containers(shown) == {}
    phases = [one["status"]["phase"] for one in await endings()]
    assert phases[-1] == "Succeeded"


async def test_what_ignores_the_signal_is_killed_after_its_grace(cluster: Cluster, client: KubeClient) -> None:
    stubborn = pod("stubborn", "trap '' TERM; while :; do sleep 0.1; done", terminationGracePeriodSeconds=2)
    await client.create("pods", stubborn)
    shown = await cluster.until(client, "stubborn", running)
    endings = await _follow_the_end(client, shown)
    deleted = time.monotonic()
    await client.delete("pods", "stubborn", "default")
    await cluster.gone(client, "stubborn")
    assert 2 <= time.monotonic() - deleted < 15
    last = (await endings())[-1]
    assert last["status"]["phase"] == "Failed"
    assert last["status"]["containerStatuses"][0]["state"]["terminated"]["exitCode"] == 137


async def test_an_end_can_be_hurried_and_its_hook_runs_once(pod_images: None) -> None:
    engine = Engine(f"unix://{SOCKET}")
    container = await asyncio.to_thread(_docker, "run", "-d", images.SHELL)
    try:
        hook = {"exec": {"command": ["/bin/sh", "-c", "echo hook > /proc/1/fd/1; sleep 600"]}}
        made = pod("hurried", container={"lifecycle": {"preStop": hook}})
        said: list[tuple[str, ...]] = []
        ending = Ending(engine, lambda *event: said.append(event))
        seen = Seen(container, "main", 0, RUNNING, images.SHELL, "")
        patient = asyncio.create_task(ending.end(made, seen, "", 600))

        async def begun() -> bool:
            return await asyncio.to_thread(_docker, "logs", container) == "hook"

        await eventually(begun, what="the hook runs")
        await ending.end(made, seen, "", 0)
        await asyncio.wait_for(patient, 20)
        assert await begun()
        assert [reason for _, reason, _, _ in said] == ["Killing", "FailedPreStopHook"]
    finally:
        await asyncio.to_thread(_docker, "rm", "-f", container)
        await engine.close()


async def test_logs_by_their_time_and_their_end(cluster: Cluster, client: KubeClient) -> None:
    init = {"name": "first", "image": images.SHELL, "command": ["/bin/sh", "-c", "echo from init"]}
    command = "echo early; sleep 2; echo late; exec sleep 3600"
    await client.create("pods", pod("speaks", command, initContainers=[init]))
    await cluster.until(client, "speaks", running)

    async def both() -> list[str]:
        lines = cluster.kubectl("logs", "speaks", "--timestamps").splitlines()
        return lines if len(lines) == 2 else []

    early, late = await eventually(both, what="both lines")
    assert (early.split(" ", 1)[1], late.split(" ", 1)[1]) == ("early", "late")
    moment = late.split(".")[0] + "Z"
    assert cluster.kubectl("logs", "speaks", f"--since-time={moment}") == "late\n"
    assert cluster.kubectl("logs", "speaks", "--since=1h") == "early\nlate\n"
    assert cluster.kubectl("logs", "speaks", "-c", "first") == "from init\n"
    # kubectl takes the containers in no order of its own.
    everything = cluster.kubectl("logs", "speaks", "--all-containers")
    assert everything in ("from init\nearly\nlate\n", "early\nlate\nfrom init\n")
    follower = await asyncio.create_subprocess_exec(
        *("kubectl", f"--server={cluster.server}", "logs", "speaks", "--tail=1", "-f"), stdout=asyncio.subprocess.PIPE
    )
    assert follower.stdout is not None
    assert await asyncio.wait_for(follower.stdout.readline(), 20) == b"late\n"
    cluster.kubectl("exec", "speaks", "--", "/bin/sh", "-c", "echo later > /proc/1/fd/1")
    assert await asyncio.wait_for(follower.stdout.readline(), 20) == b"later\n"
    await client.delete("pods", "speaks", "default", grace_period_seconds=0)
    assert await asyncio.wait_for(follower.wait(), 20) == 0


@pytest.mark.parametrize(
    ("name", "change", "reached"),
    [
        ("initializes", {"initContainers": [{"name": "slow", "image": images.SHELL}]}, "slow"),
        (
            "greets",
            {"container": {"lifecycle": {"postStart": {"exec": {"command": ["/bin/sleep", "600"]}}}}},
            "main",
        ),
        ("refers", {"container": {"image": "127.0.0.1:9/none:1"}}, "POD"),
    ],
)
async def test_a_pod_deleted_while_it_starts_leaves_nothing(
    cluster: Cluster, client: KubeClient, name: str, change: dict[str, Any], reached: str
) -> None:
    await client.create("pods", pod(name, terminationGracePeriodSeconds=1, **change))
    shown = await cluster.until(client, name, lambda one: one["spec"].get("nodeName"))

    async def begun() -> bool:
        return any(one.startswith(f"k8s_{reached}_") for one in cluster.containers(shown, alive_only=True))

    await eventually(begun, what=f"container {reached} runs")
    await client.delete("pods", name, "default")
    await cluster.gone(client, name)
    assert cluster.containers(shown) == {}


async def test_a_pod_deleted_at_once_leaves_nothing(cluster: Cluster, client: KubeClient) -> None:
    for number in range(4):
        made = await client.create("pods", pod(f"brief-{number}"))
        await cluster.until(client, f"brief-{number}", lambda one: one["spec"].get("nodeName"))
        await asyncio.sleep(0.1 * number)
        await client.delete("pods", f"brief-{number}", "default", grace_period_seconds=0)

        async def nothing_left(made: Pod = made) -> bool:
            return cluster.containers(made) == {}

        await eventually(nothing_left, what="its containers are gone")


async def test_another_executor_takes_over_what_it_finds(cluster: Cluster, client: KubeClient) -> None:
    """Ready pods stay ready, those that have ended are never run again, and what they said can still be read."""
    agent = {"nodeSelector": {"k8s.mesosphere.io/attribute-rack": "r0"}}
    probes = {
        "startupProbe": executes("[ -e /tmp/up ]", failureThreshold=100),
        "readinessProbe": executes("exit 0"),
        "livenessProbe": executes("exit 0"),
    }
    await client.create("pods", pod("stays", ": > /tmp/up; exec sleep 3600", container=probes, **agent))
    await client.create("pods", pod("ended", "echo last words", restartPolicy="Never", **agent))
    before = await cluster.until(client, "stays", running)
    await cluster.until(client, "ended", lambda one: one["status"].get("phase") == "Succeeded")
    seen: list[Pod] = []

    async def follow() -> None:
        since = before["metadata"]["resourceVersion"]
        async for event in client.watch("pods", "default", resource_version=since):
            if event.object["metadata"].get("name") == "stays":
                seen.append(event.object)

    following = asyncio.create_task(follow())
    (executor,) = cluster.executors(0)
    os.kill(executor, signal.SIGKILL)
    task = before["metadata"]["annotations"]["k8s.mesosphere.io/taskId"]
    annotated = await cluster.until(
        client, "stays", lambda one: one["metadata"]["annotations"]["k8s.mesosphere.io/taskId"] != task
    )
    assert annotated["status"]["containerStatuses"] == before["status"]["containerStatuses"]

    async def said() -> bool:
        words = ["kubectl", f"--server={cluster.server}", "logs", "ended"]
        done = await asyncio.to_thread(subprocess.run, words, capture_output=True, text=True, check=False)
        return bool(done.stdout == "last words\n")

    await eventually(said, what="the log of the ended pod")
    assert len(cluster.containers(await client.get("pods", "ended", "default"), alive_only=True)) == 0
    following.cancel()
    assert all(ready(one) for one in seen), [one["status"] for one in seen]
    assert set(cluster.containers(before)) == set(cluster.containers(before, alive_only=True))


def _docker(*words: str) -> str:
    return subprocess.run(["docker", *words], check=True, capture_output=True, text=True).stdout.strip()


def _condition(one: Pod, kind: str) -> dict[str, Any]:
    conditions = (one.get("status") or {}).get("conditions") or ()
    return next((dict(condition) for condition in conditions if condition["type"] == kind), {})


async def _follow_the_end(client: KubeClient, shown: Pod) -> Callable[[], Awaitable[list[Pod]]]:
    """Watch from here on; what it returns waits for the pod's object to go and gives all that it was until then."""

    async def follow() -> list[Pod]:
        seen: list[Pod] = []
        async with asyncio.timeout(60):
            since = shown["metadata"]["resourceVersion"]
            async for event in client.watch("pods", "default", resource_version=since):
                if event.object["metadata"].get("uid") == shown["metadata"]["uid"]:
                    seen.append(event.object)
                    if event.type == "DELETED":
                        break
        return seen

    following = asyncio.create_task(follow())

    async def wait() -> list[Pod]:
        return await following

    return wait


@pytest.fixture
def own_engine(pod_images: None, supervisor: Supervisor, tmp_path: Path) -> Iterator[OwnEngine]:
    made = OwnEngine(supervisor, tmp_path / "engine")
    try:
        made.start()
        made.load_images()
        yield made
    finally:
        made.remove()


async def test_an_engine_that_was_killed(
    cluster: Cluster, client: KubeClient, own_engine: OwnEngine, tmp_path: Path
) -> None:
    """What ran on without it is not touched and stays ready; what died with it begins anew, in a new sandbox."""
    node = f"{cluster.hosts[0]}-own"
    probe = {"readinessProbe": executes("exit 0")}
    async with own_kubelet(client, own_engine.endpoint, node, tmp_path) as kubelet:
        for name in ("outlives", "later"):
            await client.create("pods", pod(name, nodeName=node, container=probe))
        kubelet.add(await client.get("pods", "outlives", "default"))
        first = await cluster.until(client, "outlives", running)
        before = own_engine.containers()
        await asyncio.to_thread(own_engine.kill)
        await asyncio.to_thread(own_engine.start)
        kubelet.add(await client.get("pods", "later", "default"))
        await cluster.until(client, "later", running)
        shown = await client.get("pods", "outlives", "default")
        assert shown["status"] == first["status"]
        assert before.items() <= own_engine.containers().items()

        await asyncio.to_thread(own_engine.kill, with_containers=True)
        await asyncio.to_thread(own_engine.start)
        for name in ("outlives", "later"):
            await cluster.until(
                client, name, lambda one: running(one) and one["status"]["containerStatuses"][0]["restartCount"] == 1
            )
        running_now = own_engine.docker("ps", "--format", "{{.Names}}").splitlines()
        assert {name.rpartition("_")[2] for name in running_now} == {"1"}
        assert len(running_now) == 4

        async def told() -> bool:
            events = (await client.list("events", "default")).items
            said = "Pod sandbox changed, it will be killed and re-created."
            return any((one["reason"], one["message"]) == ("SandboxChanged", said) for one in events)

        await eventually(told, what="the new sandbox is an event")
        for uid in list(kubelet.workers):
            await kubelet.kill(uid, 1)
        assert own_engine.containers() == {}
        assert not list((tmp_path / "pods").iterdir())
