"""Jobs and daemon sets with containers that really run and end."""

from __future__ import annotations

import asyncio
import json
from typing import Any

from k8slab.kube.client import KubeClient
from k8slab.kube.controllers.node_lifecycle import condition
from tests.daemons.k8sm import images
from tests.daemons.k8sm.cluster import Cluster, Pod, containers_of_node, pod, running
from tests.daemons.processes import eventually


def manifest(kind: str, name: str, **spec: Any) -> str:
    version = "batch/v1" if kind in ("Job", "CronJob") else "apps/v1"
    return json.dumps({"apiVersion": version, "kind": kind, "metadata": {"name": name}, "spec": spec})


def shell(command: str) -> dict[str, Any]:
    """A template of pods that run it once."""
    container = {"name": "main", "image": images.SHELL, "command": ["/bin/sh", "-c", command]}
    return {"spec": {"restartPolicy": "Never", "containers": [container], "terminationGracePeriodSeconds": 1}}


async def pods(client: KubeClient, label: str) -> list[Pod]:
    return (await client.list("pods", "default", label_selector=label)).items


async def test_an_indexed_job_does_each_part_once_and_a_failing_one_says_why(
    cluster: Cluster, client: KubeClient
) -> None:
    parts = manifest(
        "Job",
        "parts",
        parallelism=2,
        completions=4,
        completionMode="Indexed",
        template=shell("echo part $JOB_COMPLETION_INDEX on $(hostname)"),
    )
    rule = {"action": "FailJob", "onExitCodes": {"operator": "In", "values": [42]}}
    broken = manifest("Job", "broken", podFailurePolicy={"rules": [rule]}, template=shell("exit 42"))
    try:
        for one in (parts, broken):
            await asyncio.to_thread(cluster.kubectl, "create", "-f", "-", stdin=one)
        wait = ("wait", "--timeout=50s")
        await asyncio.to_thread(cluster.kubectl, *wait, "--for=condition=complete", "job/parts")
        await asyncio.to_thread(cluster.kubectl, *wait, "--for=condition=failed", "job/broken")
        assert condition(await client.get("jobs", "broken", "default"), "Failed")["reason"] == "PodFailurePolicy"
        made = await pods(client, "job-name=parts")
        said = [await asyncio.to_thread(cluster.kubectl, "logs", one["metadata"]["name"]) for one in made]
        assert sorted(said) == [f"part {index} on parts-{index}\n" for index in range(4)]
    finally:
        await asyncio.to_thread(cluster.kubectl, "delete", "jobs", "parts", "broken", "--timeout=30s")

    async def none_left() -> bool:
        return not await pods(client, "job-name in (parts, broken)")

    await eventually(none_left, timeout=30, what="the pods went with their jobs")


async def test_a_job_that_is_stopped_amid_its_work_leaves_nothing(cluster: Cluster, client: KubeClient) -> None:
    made = manifest("Job", "long", activeDeadlineSeconds=3, template=shell("exec sleep 3600"))
    await asyncio.to_thread(cluster.kubectl, "create", "-f", "-", stdin=made)
    await asyncio.to_thread(cluster.kubectl, "wait", "--for=condition=failed", "job/long", "--timeout=50s")
    assert condition(await client.get("jobs", "long", "default"), "Failed")["reason"] == "DeadlineExceeded"
    await asyncio.to_thread(cluster.kubectl, "delete", "job", "long", "--timeout=30s")

    async def nothing_left() -> bool:
        return not await pods(client, "job-name=long") and not any(map(containers_of_node, cluster.hosts))

    await eventually(nothing_left, timeout=30, what="neither pod nor container is left")


async def test_a_daemon_runs_on_every_node_and_is_renewed(cluster: Cluster, client: KubeClient) -> None:
    labels = {"app": "daemon"}
    template = {"metadata": {"labels": labels}, "spec": pod("daemon")["spec"]}
    made = manifest("DaemonSet", "daemon", selector={"matchLabels": labels}, template=template)
    try:
        await asyncio.to_thread(cluster.kubectl, "create", "-f", "-", stdin=made)
        rollout = ("rollout", "status", "daemonset/daemon", "--timeout=50s")
        await asyncio.to_thread(cluster.kubectl, *rollout)
        first = await pods(client, "app=daemon")
        assert sorted(one["spec"]["nodeName"] for one in first if running(one)) == sorted(cluster.hosts)
        await asyncio.to_thread(cluster.kubectl, "set", "env", "daemonset/daemon", "COLOUR=red")
        await asyncio.to_thread(cluster.kubectl, *rollout)
        second = [one for one in await pods(client, "app=daemon") if not one["metadata"].get("deletionTimestamp")]
        assert sorted(one["spec"]["nodeName"] for one in second if running(one)) == sorted(cluster.hosts)
        assert not {one["metadata"]["uid"] for one in first} & {one["metadata"]["uid"] for one in second}
    finally:
        await asyncio.to_thread(cluster.kubectl, "delete", "daemonset", "daemon", "--timeout=30s")
