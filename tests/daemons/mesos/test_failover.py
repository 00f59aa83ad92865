"""Several masters on one real ZooKeeper: who leads, who redirects, and what survives a leader."""

from __future__ import annotations

import asyncio
import json
import uuid
from typing import Any

import aiohttp
from kazoo.client import KazooClient

from tests.daemons.mesos.cluster import Cluster, Driver, Node, command, eventually, get_json, task
from tests.daemons.mesos.test_executors import executor
from tests.daemons.processes import Supervisor, ZooKeeper, start_zookeeper

SESSION = "--zk_session_timeout=1secs"


async def leader_of(masters: list[Node]) -> Node | None:
    """The one that leads, once all living ones agree and it has recovered its registry."""
    named = set()
    async with aiohttp.ClientSession() as session:
        for node in masters:
            if node.daemon.returncode is None:
                async with session.get(f"{node.url}/redirect", allow_redirects=False) as response:
                    named.add(response.headers.get("Location"))
    if len(named) != 1 or None in named:
        return None
    address = str(named.pop()).removeprefix("//")
    leader = next((node for node in masters if node.address == address and node.daemon.returncode is None), None)
    return leader if leader is not None and await leads(leader) else None


async def leads(node: Node) -> bool:
    async with aiohttp.ClientSession() as session, session.get(f"{node.url}/slaves", allow_redirects=False) as response:
        return response.status == 200


async def three_masters(cluster: Cluster) -> Node:
    for _ in range(3):
        cluster.master(SESSION, "--allocation_interval=200ms")
    return await eventually(lambda: leader_of(cluster.masters), what="a leader")


def children(zookeeper: ZooKeeper, path: str) -> dict[str, dict[str, Any]]:
    client = KazooClient(hosts=zookeeper.hosts)
    client.start()
    try:
        names = set(client.get_children(path))
        names.remove("log_replicas")
        return {name: json.loads(client.get(f"{path}/{name}")[0]) for name in sorted(names)}
    finally:
        client.stop()
        client.close()


async def test_election_and_redirects(zookeeper: ZooKeeper, cluster: Cluster) -> None:
    path = f"/mesos-{uuid.uuid4()}"
    cluster.zk = zookeeper.url(path)
    leader = await three_masters(cluster)
    znodes = await asyncio.to_thread(children, zookeeper, path)
    assert [name[:10] for name in znodes] == ["json.info_"] * 3
    info = next(iter(znodes.values()))
    state = await get_json(f"{leader.url}/state")
    assert info == {
        "address": {"hostname": "127.0.0.1", "ip": "127.0.0.1", "port": leader.port},
        "capabilities": [{"type": "AGENT_UPDATE"}, {"type": "AGENT_DRAINING"}, {"type": "QUOTA_V2"}],
        "hostname": "127.0.0.1",
        "id": state["id"],
        "ip": 16777343,
        "pid": f"master@{leader.address}",
        "port": leader.port,
        "version": "1.11.0",
    }
    assert state["leader"] == f"master@{leader.address}"
    follower = next(node for node in cluster.masters if node is not leader)
    async with aiohttp.ClientSession() as session:
        for url in ("/state", "/master/slaves?slave_id=x", "/api/v1/scheduler"):
            async with session.get(follower.url + url, allow_redirects=False) as response:
                assert response.status == 307
                assert response.headers["Location"] == f"//{leader.address}{url}"
                assert await response.read() == b""
        for url in ("/health", "/version", "/metrics/snapshot", "/flags"):
            async with session.get(follower.url + url, allow_redirects=False) as response:
                assert response.status == 200
        body = {"type": "SUBSCRIBE", "subscribe": {"framework_info": {"user": "root", "name": "x"}}}
        async with session.post(f"{follower.url}/api/v1/scheduler", json=body, allow_redirects=False) as response:
            assert response.status == 307
    assert (await get_json(f"{follower.url}/metrics/snapshot"))["master/elected"] == 0.0
    assert (await get_json(f"{leader.url}/metrics/snapshot"))["master/elected"] == 1.0
    async with Driver(follower.address) as redirected:
        assert str(redirected.client.framework_id).startswith(state["id"])


async def test_row_28_tasks_survive_their_leader(zookeeper: ZooKeeper, cluster: Cluster) -> None:
    cluster.zk = zookeeper.url(f"/mesos-{uuid.uuid4()}")
    leader = await three_masters(cluster)
    cluster.agent("--zk_session_timeout=1secs")
    async with Driver(cluster.zk) as driver:
        framework_id = driver.client.framework_id
        await driver.launch(task("pod", executor=executor()), command("plain", "sleep 1000"))
        for task_id in ("pod", "plain"):
            await driver.status(task_id, "TASK_RUNNING")
        for _ in range(2):
            count = len(driver.events)
            leader.daemon.kill()
            await driver.event("DISCONNECTED", after=count)
            await driver.event("SUBSCRIBED", after=count)
            assert driver.client.framework_id == framework_id
            survivor = await eventually(lambda: leader_of(cluster.masters), what="another leader")
            assert survivor is not leader
            await driver.event("OFFERS", after=count)
            await driver.client.reconcile([])
            for task_id in ("pod", "plain"):
                await driver.until(
                    lambda task_id=task_id, count=count: any(
                        event["type"] == "UPDATE"
                        and event["update"]["status"]["task_id"]["value"] == task_id
                        and event["update"]["status"]["reason"] == "REASON_RECONCILIATION"
                        for event in driver.events[count:]
                        if event["type"] == "UPDATE" and "reason" in event["update"]["status"]
                    ),
                    what=f"{task_id} reconciled",
                )
            states = {status["state"] for task_id in ("pod", "plain") for status in driver.statuses(task_id)}
            assert states == {"TASK_STARTING", "TASK_RUNNING"}
            state = await get_json(f"{survivor.url}/state")
            [framework] = state["frameworks"]
            assert (framework["id"], framework["active"], framework["recovered"]) == (framework_id, True, False)
            assert {shown["id"]: shown["executor_id"] for shown in framework["tasks"]} == {"pod": "custom", "plain": ""}
            assert state["slaves"][0]["used_resources"]["cpus"] == 0.3
            await leader.daemon.start_async()
            leader = survivor
        await driver.client.kill("plain")
        await driver.status("plain", "TASK_KILLED")


async def test_a_leader_that_is_stopped_hands_over_at_once(zookeeper: ZooKeeper, cluster: Cluster) -> None:
    cluster.zk = zookeeper.url(f"/mesos-{uuid.uuid4()}")
    for _ in range(3):
        cluster.master("--zk_session_timeout=10secs")
    leader = await eventually(lambda: leader_of(cluster.masters), what="a leader")
    async with Driver(cluster.zk) as driver:
        count = len(driver.events)
        assert await asyncio.to_thread(leader.daemon.stop) == 0
        await driver.event("SUBSCRIBED", after=count, timeout=5.0)


async def test_a_framework_that_has_not_returned_shows_as_recovered(zookeeper: ZooKeeper, cluster: Cluster) -> None:
    cluster.zk = zookeeper.url(f"/mesos-{uuid.uuid4()}")
    leader = await three_masters(cluster)
    cluster.agent("--zk_session_timeout=1secs")
    async with Driver(cluster.zk) as driver:
        framework_id = driver.client.framework_id
        await driver.launch(command("plain", "sleep 1000"))
        await driver.status("plain", "TASK_RUNNING")
    leader.daemon.kill()

    async def recovered() -> Any:
        found = await leader_of(cluster.masters)
        return found and (await get_json(f"{found.url}/state"))["frameworks"]

    [framework] = await eventually(recovered, what="the framework is known from its agent")
    assert (framework["id"], framework["recovered"]) == (framework_id, True)
    assert (framework["active"], framework["connected"]) == (False, False)
    assert [shown["state"] for shown in framework["tasks"]] == ["TASK_RUNNING"]


async def test_a_leader_without_zookeeper_steps_down(supervisor: Supervisor, cluster: Cluster) -> None:
    zookeeper = start_zookeeper(supervisor)
    cluster.zk = zookeeper.url("/mesos")
    cluster.master(SESSION)
    leader = await eventually(lambda: leader_of(cluster.masters), what="a leader")
    cluster.agent()
    zookeeper.members[0].kill()
    assert await leader.daemon.exited() == 1
    assert "lost leadership" in leader.daemon.tail()
    leader.daemon.start()
    async with aiohttp.ClientSession() as session:
        for path, status in (("/state", 503), ("/redirect", 503), ("/health", 200)):
            async with session.get(leader.url + path) as response:
                assert response.status == status, path
    zookeeper.members[0].start(wait=False)

    async def back() -> bool:
        metrics = await get_json(f"{leader.url}/metrics/snapshot")
        return bool(metrics["master/elected"] and metrics["master/slaves_active"])

    await eventually(back, what="a leader with its agent again")
