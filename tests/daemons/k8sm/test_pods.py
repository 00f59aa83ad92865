"""A pod's life, from its creation in the API to its last container in the engine."""

from __future__ import annotations

import time
from typing import Any

import aiohttp
import pytest

from k8slab.kube.client import KubeClient
from tests.daemons.k8sm import images
from tests.daemons.k8sm.cluster import Cluster, pod, ready, running, state
from tests.daemons.processes import eventually


async def test_nodes_are_ready_before_any_pod_exists(cluster: Cluster, client: KubeClient) -> None:
    async def all_ready() -> bool:
        return sum(ready(node) for node in (await client.list("nodes")).items) == len(cluster.hosts)

    await eventually(all_ready, what="all nodes are ready")
    for index, host in enumerate(cluster.hosts):
        node = await client.get("nodes", host)
        assert node["metadata"]["labels"]["k8s.mesosphere.io/attribute-rack"] == f"r{index}"
        assert node["status"]["capacity"]["cpu"] == "2"
        assert {"type": "InternalIP", "address": cluster.addresses[index]} in node["status"]["addresses"]


async def test_the_scheduler_has_a_service(cluster: Cluster, client: KubeClient) -> None:
    service = await client.get("services", "k8sm-scheduler", "default")
    assert service["metadata"]["labels"] == {"component": "scheduler", "provider": "k8sm"}
    assert "selector" not in service["spec"]
    endpoints = await client.get("endpoints", "k8sm-scheduler", "default")
    assert endpoints["subsets"][0]["addresses"] == [{"ip": "127.0.0.1"}]


async def test_a_pod_runs_and_goes(cluster: Cluster, client: KubeClient) -> None:
    created = time.monotonic()
    await client.create("pods", pod("life"))
    shown = await cluster.until(client, "life", running)
    print(f"created to Running: {time.monotonic() - created:.2f} s")
    uid, node = shown["metadata"]["uid"], shown["spec"]["nodeName"]
    assert node in cluster.hosts
    assert shown["status"]["hostIP"] == cluster.addresses[cluster.agent_of(shown)]
    assert shown["status"]["podIP"].count(".") == 3
    assert shown["status"]["containerStatuses"][0]["containerID"].startswith("docker://")
    annotations = shown["metadata"]["annotations"]
    assert annotations["k8s.mesosphere.io/bindingHost"] == node
    assert annotations["k8s.mesosphere.io/taskId"].startswith("pod.")
    assert annotations["k8s.mesosphere.io/executorId"].endswith("_k8sm-executor")
    assert set(cluster.containers(shown, alive_only=True)) == {
        f"k8s_POD_life_default_{uid}_0",
        f"k8s_main_life_default_{uid}_0",
    }

    async with aiohttp.ClientSession() as http:
        tasks = await (await http.get(f"{cluster.scheduler_url}/debug/registry/tasks")).json()
        states = {task["pod"]: task["state"] for task in tasks["tasks"]}
        assert states["default/life"] in ("TASK_STARTING", "TASK_RUNNING")

    deleted = time.monotonic()
    await client.delete("pods", "life", "default")
    await cluster.gone(client, "life")
    print(f"deleted to gone: {time.monotonic() - deleted:.2f} s")
    assert cluster.containers(shown) == {}


async def test_kubectl_sees_it_all(cluster: Cluster, client: KubeClient) -> None:
    manifest = """
apiVersion: v1
kind: Pod
metadata: {name: seen, labels: {app: seen}}
spec:
  terminationGracePeriodSeconds: 1
  containers:
  - name: main
    image: SHELL_IMAGE
    command: [/bin/sh, -c, "echo hello from $(WHO); exec sleep 1000"]
    env: [{name: WHO, valueFrom: {fieldRef: {fieldPath: metadata.name}}}]
"""
    cluster.kubectl("create", "-f", "-", stdin=manifest.replace("SHELL_IMAGE", images.SHELL))
    shown = await cluster.until(client, "seen", running)
    assert shown["spec"]["nodeName"] in cluster.kubectl("get", "pods", "-o", "wide")
    assert cluster.kubectl("logs", "seen") == "hello from seen\n"
    assert cluster.kubectl("logs", "seen", "--tail=1", "--timestamps").endswith("Z hello from seen\n")

    async def described() -> bool:
        text = cluster.kubectl("describe", "pod", "seen")
        return all(word in text for word in ("Scheduled", "Pulled", "Created", "Started"))

    await eventually(described, what="all events are there")
    assert "k8sm-scheduler" in cluster.kubectl("get", "services")
    cluster.kubectl("delete", "pod", "seen")
    assert cluster.containers(shown) == {}


async def test_a_pod_that_ends_frees_its_resources(cluster: Cluster, client: KubeClient) -> None:
    await client.create("pods", pod("done", "echo finished", restartPolicy="Never"))
    shown = await cluster.until(client, "done", lambda one: one["status"]["phase"] == "Succeeded")
    assert state(shown)["terminated"]["reason"] == "Completed"
    assert cluster.kubectl("logs", "done") == "finished\n"
    assert not cluster.containers(shown, alive_only=True)

    async def no_task() -> bool:
        async with aiohttp.ClientSession() as http, http.get(f"{cluster.scheduler_url}/debug/registry/tasks") as answer:
            return not (await answer.json())["tasks"]

    await eventually(no_task, what="its task is over")
    await client.delete("pods", "done", "default")
    await cluster.gone(client, "done")


async def test_a_failing_pod_fails(cluster: Cluster, client: KubeClient) -> None:
    await client.create("pods", pod("fails", "echo why > /dev/termination-log; exit 7", restartPolicy="Never"))
    shown = await cluster.until(client, "fails", lambda one: one["status"]["phase"] == "Failed")
    terminated = state(shown)["terminated"]
    assert (terminated["exitCode"], terminated["reason"], terminated["message"]) == (7, "Error", "why\n")


async def test_a_crashing_container_comes_back_and_then_backs_off(cluster: Cluster, client: KubeClient) -> None:
    await client.create("pods", pod("crash", "exit 3"))

    def backed_off(one: dict[str, Any]) -> bool:
        return (state(one).get("waiting") or {}).get("reason") == "CrashLoopBackOff"

    shown = await cluster.until(client, "crash", backed_off)
    status = shown["status"]["containerStatuses"][0]
    assert status["restartCount"] >= 1
    assert status["lastState"]["terminated"]["exitCode"] == 3
    assert shown["status"]["phase"] == "Running"
    assert "CrashLoopBackOff" in cluster.kubectl("get", "pods")


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"nodeSelector": {"rack": "nowhere"}}, "didn't match Pod's node affinity/selector"),
        ({"container": {"resources": {"limits": {"cpu": "64"}}}}, "Insufficient cpu (needs 64"),
        ({"container": {"ports": [{"containerPort": 80, "hostPort": 80}]}}, "didn't have free ports"),
    ],
)
async def test_a_pod_that_fits_nowhere_says_why(
    cluster: Cluster, client: KubeClient, change: dict[str, Any], reason: str
) -> None:
    await client.create("pods", pod("waits", **change))

    def explained(one: dict[str, Any]) -> bool:
        conditions = (one.get("status") or {}).get("conditions") or ()
        return any(reason in condition.get("message", "") for condition in conditions)

    await cluster.until(client, "waits", explained)

    async def event() -> bool:
        events = (await client.list("events", "default")).items
        return any(one["reason"] == "FailedScheduling" and reason in one["message"] for one in events)

    await eventually(event, what="the event says why")
    async with aiohttp.ClientSession() as http, http.get(f"{cluster.scheduler_url}/debug/scheduler/podqueue") as answer:
        (queued,) = (await answer.json())["pods"]
    assert queued["pod"] == "default/waits"
    assert reason in queued["reason"]


async def test_an_image_that_cannot_be_had_is_said_so(cluster: Cluster, client: KubeClient) -> None:
    wrong = {"image": "127.0.0.1:9/none:1", "command": ["x"]}
    await client.create("pods", pod("noimage", container=wrong))

    def refused(one: dict[str, Any]) -> bool:
        return (state(one).get("waiting") or {}).get("reason") in ("ErrImagePull", "ImagePullBackOff")

    shown = await cluster.until(client, "noimage", refused)
    assert shown["status"]["phase"] == "Pending"


async def test_what_the_kubelet_cannot_do_is_refused(cluster: Cluster, client: KubeClient) -> None:
    await client.create("pods", pod("caged", runtimeClassName="gvisor"))
    shown = await cluster.until(client, "caged", lambda one: one["status"]["phase"] == "Failed")
    assert shown["status"]["reason"] == "UnsupportedPodSpec"
    assert "runtimeClassName" in shown["status"]["message"]


async def test_volumes_are_shared_between_containers(cluster: Cluster, client: KubeClient) -> None:
    mount = [{"name": "scratch", "mountPath": "/scratch"}]
    both = pod("shares", "echo from-one > /scratch/file; exec sleep 1000", container={"volumeMounts": mount})
    reader = "until [ -s /scratch/file ]; do sleep 0.1; done; cat /scratch/file; exec sleep 1000"
    second = dict(both["spec"]["containers"][0], name="second", command=["/bin/sh", "-c", reader])
    both["spec"]["containers"].append(second)
    both["spec"]["volumes"] = [{"name": "scratch", "emptyDir": {"medium": "Memory"}}]
    await client.create("pods", both)
    await cluster.until(client, "shares", running)

    async def read() -> bool:
        return cluster.kubectl("logs", "shares", "-c", "second") == "from-one\n"

    await eventually(read, what="the second container reads the first one's file")


async def test_many_pods_share_the_agents(cluster: Cluster, client: KubeClient) -> None:
    small = {"resources": {"limits": {"cpu": "100m", "memory": "32Mi"}}}
    created = time.monotonic()
    for number in range(8):
        await client.create("pods", pod(f"many-{number}", container=small))
    for number in range(8):
        await cluster.until(client, f"many-{number}", running, timeout=60)
    print(f"8 pods created to Running: {time.monotonic() - created:.2f} s")
