"""What breaks, and what a pod notices of it: mostly nothing."""

from __future__ import annotations

import asyncio
import os
import signal
import urllib.request
from pathlib import Path

import orjson
import pytest

from k8slab.kube.client import KubeClient
from k8slab.kube.clock import parse
from k8slab.kube.controllers.node_lifecycle import condition
from tests.daemons.k8sm.cluster import GRACE, Cluster, Pod, finish, pod, ready, running, start, state
from tests.daemons.processes import Daemon, Supervisor, ZooKeeper, eventually


@pytest.fixture
async def steady(cluster: Cluster, client: KubeClient) -> Pod:
    """A running pod."""
    await client.create("pods", pod("steady"))
    return await cluster.until(client, "steady", running)


async def untouched(cluster: Cluster, client: KubeClient, before: Pod) -> None:
    """The same containers run, none was restarted, and the API says so."""
    shown = await cluster.until(client, before["metadata"]["name"], running)
    assert shown["metadata"]["uid"] == before["metadata"]["uid"]
    assert shown["status"]["containerStatuses"][0]["restartCount"] == 0
    assert (
        shown["status"]["containerStatuses"][0]["containerID"]
        == before["status"]["containerStatuses"][0]["containerID"]
    )
    assert len(cluster.containers(shown, alive_only=True)) == len(cluster.containers(shown)) == 2


async def test_a_new_scheduler_takes_the_pods_over(cluster: Cluster, client: KubeClient, steady: Pod) -> None:
    before = cluster.containers(steady)
    cluster.scheduler.kill()
    await cluster.scheduler.start_async()
    await untouched(cluster, client, steady)
    assert cluster.containers(steady) == before
    await client.create("pods", pod("later"))
    await cluster.until(client, "later", running)
    await client.delete("pods", "steady", "default")
    await cluster.gone(client, "steady")
    assert cluster.containers(steady) == {}


async def test_a_pod_deleted_while_the_scheduler_is_away_ends_when_it_is_back(
    cluster: Cluster, client: KubeClient, steady: Pod
) -> None:
    cluster.scheduler.kill()
    await client.delete("pods", "steady", "default", grace_period_seconds=1)
    await cluster.scheduler.start_async()
    await cluster.gone(client, "steady")
    assert cluster.containers(steady) == {}


async def test_a_dead_executor_is_replaced_and_its_containers_go_on(
    cluster: Cluster, client: KubeClient, steady: Pod
) -> None:
    agent = cluster.agent_of(steady)
    (executor,) = cluster.executors(agent)
    task = steady["metadata"]["annotations"]["k8s.mesosphere.io/taskId"]
    os.kill(executor, signal.SIGKILL)

    def taken_over(one: Pod) -> bool:
        return bool(one["metadata"]["annotations"]["k8s.mesosphere.io/taskId"] != task)

    await cluster.until(client, "steady", taken_over)
    await untouched(cluster, client, steady)
    assert cluster.executors(agent) != [executor]
    await client.delete("pods", "steady", "default")
    await cluster.gone(client, "steady")
    assert cluster.containers(steady) == {}


@pytest.mark.slow
async def test_a_pod_deleted_while_its_executor_is_dead_leaves_nothing(
    cluster: Cluster, client: KubeClient, steady: Pod
) -> None:
    (executor,) = cluster.executors(cluster.agent_of(steady))
    cluster.scheduler.kill()
    os.kill(executor, signal.SIGKILL)
    await client.delete("pods", "steady", "default", grace_period_seconds=1)
    await cluster.scheduler.start_async()
    await cluster.gone(client, "steady")
    assert cluster.containers(steady) == {}


async def test_a_pod_forced_out_while_its_executor_is_dead_leaves_nothing(
    cluster: Cluster, client: KubeClient, steady: Pod
) -> None:
    (executor,) = cluster.executors(cluster.agent_of(steady))
    # Before anybody notices that the executor is dead the pod is gone: no other one would come for its sake.
    cluster.scheduler.signal(signal.SIGSTOP)
    os.kill(executor, signal.SIGKILL)
    await client.delete("pods", "steady", "default", grace_period_seconds=0)
    cluster.scheduler.signal(signal.SIGCONT)

    async def nothing_left() -> bool:
        return cluster.containers(steady) == {}

    await eventually(nothing_left, what="its containers are gone")


async def test_an_agents_restart_is_not_felt(cluster: Cluster, client: KubeClient, steady: Pod) -> None:
    agent = cluster.agent_of(steady)
    executors = cluster.executors(agent)
    cluster.agents[agent].kill()
    await cluster.agents[agent].start_async()
    await untouched(cluster, client, steady)
    assert cluster.executors(agent) == executors
    await client.delete("pods", "steady", "default")
    await cluster.gone(client, "steady")
    assert cluster.containers(steady) == {}


async def test_a_masters_restart_is_not_felt(cluster: Cluster, client: KubeClient, steady: Pod) -> None:
    cluster.master.kill()
    await cluster.master.start_async()
    await client.create("pods", pod("later"))
    await cluster.until(client, "later", running, timeout=60)
    await untouched(cluster, client, steady)
    await client.delete("pods", "steady", "default")
    await cluster.gone(client, "steady", timeout=60)
    assert cluster.containers(steady) == {}


async def test_the_apiservers_restart_is_not_felt(cluster: Cluster, client: KubeClient, steady: Pod) -> None:
    cluster.api.kill()
    await cluster.api.start_async()
    await untouched(cluster, client, steady)
    await client.create("pods", pod("later"))
    await cluster.until(client, "later", running)


async def test_a_killed_container_comes_back(cluster: Cluster, client: KubeClient, steady: Pod) -> None:
    cluster.kill_container(steady, "main")

    def restarted(one: Pod) -> bool:
        return running(one) and one["status"]["containerStatuses"][0]["restartCount"] == 1

    shown = await cluster.until(client, "steady", restarted)
    assert shown["status"]["podIP"] == steady["status"]["podIP"]
    assert shown["status"]["containerStatuses"][0]["lastState"]["terminated"]["exitCode"] == 137


async def test_a_killed_sandbox_brings_the_pod_up_anew(cluster: Cluster, client: KubeClient, steady: Pod) -> None:
    cluster.kill_container(steady, "POD")

    async def anew() -> bool:
        names = cluster.containers(steady, alive_only=True)
        return {name.rpartition("_")[2] for name in names} == {"1"} and len(names) == 2

    await eventually(anew, what="both containers run again")
    await cluster.until(client, "steady", lambda one: running(one) and "running" in state(one))


async def test_a_pod_forced_out_of_the_api_ends_on_its_node(cluster: Cluster, client: KubeClient, steady: Pod) -> None:
    await client.delete("pods", "steady", "default", grace_period_seconds=0)

    async def nothing_left() -> bool:
        return cluster.containers(steady) == {}

    await eventually(nothing_left, what="its containers are gone")


@pytest.mark.slow
async def test_another_master_leads_and_no_pod_notices(
    pod_images: None, zookeeper: ZooKeeper, supervisor: Supervisor, tmp_path: Path
) -> None:
    cluster = start(supervisor, tmp_path, zookeeper=zookeeper)
    try:
        async with KubeClient(cluster.server) as client:
            await client.create("pods", pod("steady"))
            steady = await cluster.until(client, "steady", running)
            (leader,) = [one for one in cluster.masters if leads(one)]
            leader.kill()
            await client.create("pods", pod("later"))
            await cluster.until(client, "later", running, timeout=60)
            await untouched(cluster, client, steady)
            await client.delete("pods", "steady", "default")
            await cluster.gone(client, "steady", timeout=60)
            assert cluster.containers(steady) == {}
    finally:
        finish(cluster)


def leads(master: Daemon) -> bool:
    (port,) = [word.removeprefix("--port=") for word in master.argv if word.startswith("--port=")]
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/state", timeout=5) as answer:
        return answer.url.endswith(f":{port}/state") and bool(orjson.loads(answer.read())["elected_time"])


@pytest.mark.slow
async def test_a_lost_agents_node_is_not_ready_until_it_is_back(cluster: Cluster, client: KubeClient) -> None:
    host = cluster.hosts[1]

    async def node_ready(wanted: bool) -> bool:
        node = await client.get("nodes", host)
        return ready(node) == wanted

    await eventually(lambda: node_ready(True), what="the node is ready")
    cluster.agents[1].signal(signal.SIGSTOP)
    try:
        await eventually(lambda: node_ready(False), timeout=40, what="the node is not ready")
        node = await client.get("nodes", host)
        (condition,) = [one for one in node["status"]["conditions"] if one["type"] == "Ready"]
        assert condition["reason"] in ("SlaveLost", "NodeStatusUnknown")
    finally:
        cluster.agents[1].signal(signal.SIGCONT)
    await eventually(lambda: node_ready(True), timeout=40, what="the node is ready again")


@pytest.mark.slow
async def test_a_silent_nodes_pods_are_not_ready_until_it_speaks(cluster: Cluster, client: KubeClient) -> None:
    """Without its scheduler a node speaks for itself; it is silent when its executor is, too."""
    await client.create("pods", pod("silent"))
    shown = await cluster.until(client, "silent", running)
    executors = cluster.executors(cluster.agent_of(shown))
    cluster.scheduler.kill()
    try:
        await asyncio.sleep(GRACE + 2)
        assert condition(await client.get("nodes", shown["spec"]["nodeName"]), "Ready")["status"] == "True"
        for pid in executors:
            os.kill(pid, signal.SIGSTOP)
        await cluster.until(client, "silent", lambda one: not ready(one), timeout=40)
        node = await client.get("nodes", shown["spec"]["nodeName"])
        assert {one["status"] for one in node["status"]["conditions"]} == {"Unknown"}
        assert len(cluster.containers(shown, alive_only=True)) == 2
    finally:
        for pid in executors:
            os.kill(pid, signal.SIGCONT)
        await cluster.scheduler.start_async()
    await cluster.until(client, "silent", running)


@pytest.mark.slow
async def test_the_pods_of_a_node_that_is_lost_are_made_elsewhere(cluster: Cluster, client: KubeClient) -> None:
    """Frozen, with agent, executor and containers going on unseen; when it is back, what was replaced ends there."""
    leave = [
        {"key": f"node.kubernetes.io/{one}", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 1}
        for one in ("not-ready", "unreachable")
    ]
    made = pod("moving", tolerations=leave)
    template = {"metadata": {"labels": made["metadata"]["labels"]}, "spec": made["spec"]}
    selector = {"matchLabels": made["metadata"]["labels"]}
    spec = {"replicas": 1, "selector": selector, "template": template}
    await client.create("replicasets", {"metadata": {"name": "moving"}, "spec": spec}, "default")

    async def running_on(hosts: list[str]) -> Pod | None:
        found = (await client.list("pods", "default", label_selector="app=moving")).items
        return next((one for one in found if running(one) and one["spec"].get("nodeName") in hosts), None)

    try:
        first = await eventually(lambda: running_on(cluster.hosts), timeout=30, what="the first pod runs")
        assert first is not None
        agent = cluster.agent_of(first)
        others = [host for host in cluster.hosts if host != cluster.hosts[agent]]
        frozen = [cluster.agents[agent].pid, *cluster.executors(agent)]
        for pid in frozen:
            os.kill(pid, signal.SIGSTOP)
        try:
            second = await eventually(lambda: running_on(others), timeout=60, what="another pod runs elsewhere")
            assert second is not None
            lost = condition(await client.get("nodes", cluster.hosts[agent]), "Ready")
            assert lost["status"] != "True"
            declared, began = parse(lost["lastTransitionTime"]), parse(second["metadata"]["creationTimestamp"])
            assert (began - declared).total_seconds() <= 3
        finally:
            for pid in frozen:
                os.kill(pid, signal.SIGCONT)

        async def ended() -> bool:
            return cluster.containers(first) == {} and await cluster.get(client, first["metadata"]["name"]) is None

        await eventually(ended, timeout=60, interval=0.3, what="the pod that was replaced is gone from its node")
        now = await running_on(others)
        assert now is not None
        assert now["metadata"]["uid"] == second["metadata"]["uid"]
    finally:
        await client.delete("replicasets", "moving", "default", propagation="Background")


async def test_a_service_follows_its_pods(cluster: Cluster, client: KubeClient) -> None:
    spec = {"selector": {"app": "web"}, "ports": [{"port": 80, "targetPort": "http"}]}
    await client.create("services", {"metadata": {"name": "web", "namespace": "default"}, "spec": spec})
    try:
        made = pod("web", container={"ports": [{"containerPort": 8080, "name": "http"}]})
        await client.create("pods", made)
        shown = await cluster.until(client, "web", running)

        async def addresses() -> list[str]:
            found = (await client.get("endpoints", "web", "default")).get("subsets") or []
            return [f"{one['ip']}:{subset['ports'][0]['port']}" for subset in found for one in subset["addresses"]]

        async def listed() -> bool:
            return await addresses() == [f"{shown['status']['podIP']}:8080"]

        await eventually(listed, what="the pod's address is listed")
        await client.delete("pods", "web", "default")

        async def empty() -> bool:
            return await addresses() == []

        await eventually(empty, what="the address is gone")
    finally:
        await client.delete("services", "web", "default")
