"""Where pods go in a real cluster of two agents, and what is said when they go nowhere."""

from __future__ import annotations

import subprocess
from typing import Any

import aiohttp
import orjson

from k8slab.kube.client import KubeClient
from tests.daemons.k8sm.cluster import Cluster, Pod, pod, running
from tests.daemons.processes import eventually

SMALL = {"resources": {"limits": {"cpu": "100m", "memory": "32Mi"}}}


def alone(name: str) -> Pod:
    """A pod that wants no other of its kind on its node."""
    term = {"labelSelector": {"matchLabels": {"kind": "alone"}}, "topologyKey": "kubernetes.io/hostname"}
    spread = {"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [term]}}
    made = pod(name, container=SMALL, affinity=spread, terminationGracePeriodSeconds=0)
    made["metadata"]["labels"]["kind"] = "alone"
    return made


def says(one: Pod, text: str) -> bool:
    conditions = (one.get("status") or {}).get("conditions") or ()
    return any(text in condition.get("message", "") for condition in conditions if condition["type"] == "PodScheduled")


def published(cluster: Cluster, one: Pod) -> str:
    """The ports that the engine shows of the pod's pause container."""
    (pause,) = [found for name, found in cluster.containers(one).items() if name.startswith("k8s_POD_")]
    command = ["docker", "ps", "--filter", f"id={pause}", "--format", "{{.Ports}}"]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


async def test_pods_that_avoid_each_other_take_a_node_each_and_the_next_one_waits(
    cluster: Cluster, client: KubeClient
) -> None:
    for name in ("first", "second"):
        await client.create("pods", alone(name))
    placed = [await cluster.until(client, name, running) for name in ("first", "second")]
    assert {one["spec"]["nodeName"] for one in placed} == set(cluster.hosts)
    await client.create("pods", alone("third"))
    hosts = ", ".join(cluster.hosts)
    reason = f"0/2 nodes are available: 2 node(s) didn't match pod anti-affinity rules ({hosts})."
    await cluster.until(client, "third", lambda one: says(one, reason))
    await client.delete("pods", "first", "default")
    third = await cluster.until(client, "third", running)
    assert third["spec"]["nodeName"] == placed[0]["spec"]["nodeName"]


async def test_pods_of_a_service_are_spread_and_a_cordoned_node_gets_none(cluster: Cluster, client: KubeClient) -> None:
    spec = {"selector": {"kind": "spread"}, "ports": [{"port": 80}]}
    await client.create("services", {"metadata": {"name": "spread", "namespace": "default"}, "spec": spec})

    async def known() -> bool:
        """Who watches services has heard of it by then."""
        return any(one["metadata"]["name"] == "spread" for one in (await client.list("endpoints", "default")).items)

    await eventually(known, what="the service has endpoints")
    try:
        names = [f"spread-{number}" for number in range(4)]
        for name in names:
            made = pod(name, container=SMALL, terminationGracePeriodSeconds=0)
            made["metadata"]["labels"]["kind"] = "spread"
            await client.create("pods", made)
        placed = [(await cluster.until(client, name, running))["spec"]["nodeName"] for name in names]
        assert sorted(placed) == sorted(cluster.hosts * 2)
    finally:
        await client.delete("services", "spread", "default")
    cluster.kubectl("cordon", cluster.hosts[0])
    try:
        await client.create("pods", pod("elsewhere", container=SMALL, terminationGracePeriodSeconds=0))
        shown = await cluster.until(client, "elsewhere", running)
        assert shown["spec"]["nodeName"] == cluster.hosts[1]
        only = pod("cordoned", container=SMALL, nodeSelector={"kubernetes.io/hostname": cluster.hosts[0]})
        await client.create("pods", only)
        await cluster.until(
            client, "cordoned", lambda one: says(one, f"1 node(s) were unschedulable ({cluster.hosts[0]})")
        )
    finally:
        cluster.kubectl("uncordon", cluster.hosts[0])
    # Nobody has to wait for a back-off to pass: a node that changes is looked at again at once.
    await cluster.until(client, "cordoned", running)


async def test_a_gated_pod_goes_as_soon_as_its_last_gate_is_taken_away(cluster: Cluster, client: KubeClient) -> None:
    gated = pod("gated", container=SMALL, schedulingGates=[{"name": "wait"}], terminationGracePeriodSeconds=0)
    await client.create("pods", gated)
    await cluster.until(
        client, "gated", lambda one: says(one, "Scheduling is blocked due to non-empty scheduling gates")
    )
    await client.patch("pods", "gated", {"spec": {"schedulingGates": None}}, "default")
    await cluster.until(client, "gated", running)


async def test_wildcard_ports_are_taken_from_the_agent_and_said(cluster: Cluster, client: KubeClient) -> None:
    made = pod("wild", container={"ports": [{"containerPort": 80, "name": "http"}]}, terminationGracePeriodSeconds=0)
    made["metadata"]["labels"]["k8s.mesosphere.io/portMapping"] = "wildcard"
    await client.create("pods", made)
    shown = await cluster.until(client, "wild", running)
    port = shown["metadata"]["annotations"]["k8s.mesosphere.io/port_TCP_80"]
    assert shown["metadata"]["annotations"]["k8s.mesosphere.io/portName_TCP_http"] == port
    assert 31000 <= int(port) <= 31100
    assert f":{port}->80/tcp" in published(cluster, shown)


async def test_what_the_scheduler_knows_can_be_looked_at(cluster: Cluster, client: KubeClient) -> None:
    await client.create("pods", pod("seen", terminationGracePeriodSeconds=0))
    shown = await cluster.until(client, "seen", running)
    task = shown["metadata"]["annotations"]["k8s.mesosphere.io/taskId"]

    async def asked(path: str) -> Any:
        async with aiohttp.ClientSession() as http, http.get(f"{cluster.scheduler_url}{path}") as answer:
            assert answer.status == 200
            return orjson.loads(await answer.read())

    async def known() -> bool:
        (one,) = [one for one in (await asked("/debug/scheduler/podstore"))["pods"] if one["pod"] == "default/seen"]
        (held,) = [one for one in (await asked("/debug/registry/tasks"))["tasks"] if one["id"] == task]
        return bool(one["task"] == task and one["node"] == held["host"] and held["state"] == "TASK_RUNNING")

    await eventually(known, what="pod and task are in the books")
    before = cluster.executors(cluster.agent_of(shown))
    assert before
    asked_to_end = (await asked("/debug/actions/kamikaze"))["slaves"]
    assert asked_to_end

    def anew(one: Pod) -> bool:
        return running(one) and bool(one["metadata"]["annotations"]["k8s.mesosphere.io/taskId"] != task)

    again = await cluster.until(client, "seen", anew, timeout=40)
    assert again["status"]["containerStatuses"] == shown["status"]["containerStatuses"]
    assert cluster.executors(cluster.agent_of(shown)) != before
