"""Our own clients against real masters and agents."""

from __future__ import annotations

import asyncio
import uuid
from contextlib import aclosing
from typing import Any

import pytest

from k8slab.mesos.client import MesosError
from k8slab.mesos.client.operator import AgentClient, MasterClient
from k8slab.mesos.client.scheduler import SchedulerClient, launch
from tests.daemons.mesos.cluster import Cluster, Driver, command, eventually, get_json
from tests.daemons.mesos.test_failover import three_masters
from tests.daemons.processes import ZooKeeper, free_port

FRAMEWORK = {"user": "root", "name": "loop", "failover_timeout": 60.0, "checkpoint": True}


def client(master: str, **options: object) -> SchedulerClient:
    return SchedulerClient(master, FRAMEWORK, session_timeout=2.0, **options)  # type: ignore[arg-type]


async def test_an_update_is_acknowledged_once_it_has_been_dealt_with(small: Cluster) -> None:
    framework = client(small.master_flag)
    states: list[str] = []
    async for event in framework.events():
        if event["type"] == "OFFERS" and not states:
            offer = event["offers"]["offers"][0]
            task = {"agent_id": offer["agent_id"], **command("brief", "true")}
            await framework.accept([offer["id"]["value"]], [launch([task])])
        elif event["type"] == "UPDATE":
            states.append(event["update"]["status"]["state"])
            if states[-1] == "TASK_FINISHED":
                break
    assert states == ["TASK_STARTING", "TASK_RUNNING", "TASK_FINISHED"]
    [known] = (await get_json(f"{small.masters[0].url}/frameworks"))["frameworks"]
    assert [task["state"] for task in known["tasks"]] == ["TASK_FINISHED"], "the last one was not dealt with"

    again = client(small.master_flag)
    again.framework_id = framework.framework_id
    await framework.close()
    async with aclosing(again.events()) as events:
        async for event in events:
            if event["type"] == "UPDATE":
                assert event["update"]["status"]["state"] == "TASK_FINISHED"
                asyncio.get_running_loop().call_later(0.5, asyncio.create_task, again.close())

    async def forgotten() -> bool:
        [known] = (await get_json(f"{small.masters[0].url}/frameworks"))["frameworks"]
        return not known["tasks"]

    await eventually(forgotten, what="the update is acknowledged after it was dealt with")


async def test_addresses_alone_lead_to_the_leader(zookeeper: ZooKeeper, cluster: Cluster) -> None:
    cluster.zk = zookeeper.url(f"/mesos-{uuid.uuid4()}")
    leader = await three_masters(cluster)
    followers = [node.address for node in cluster.masters if node is not leader]
    nobody = f"127.0.0.1:{free_port()}"
    for addresses in ([followers[0]], [nobody, followers[0]], [nobody, leader.address]):
        async with Driver(",".join(addresses)) as driver:
            assert driver.client.detector.current == leader.address
        master = MasterClient(",".join(addresses))
        assert (await master.state())["pid"] == f"master@{leader.address}"
        await master.close()


async def test_a_cluster_without_a_leader_is_told_from_one_that_refuses(cluster: Cluster) -> None:
    nobody = MasterClient(f"127.0.0.1:{free_port()}", patience=0.5)
    with pytest.raises(MesosError) as caught:
        await nobody.state()
    assert caught.value.status == 503
    await nobody.close()
    cluster.master()
    master = MasterClient(cluster.master_flag)
    for framework_id in ("", "no-such"):
        with pytest.raises(MesosError) as caught:
            await master.teardown(framework_id)
        assert caught.value.status // 100 in (4, 5)
    with pytest.raises(MesosError) as caught:
        await master.get("/nowhere")
    assert caught.value.status == 404
    await master.close()


async def test_an_agent_is_known_by_its_pid(small: Cluster) -> None:
    master = MasterClient(small.master_flag)
    [slave] = await eventually(lambda: _slaves(master), what="the agent")
    agent = AgentClient(slave["pid"])
    assert (await agent.state())["id"] == slave["id"]
    await agent.close()
    await master.close()


async def _slaves(master: MasterClient) -> list[dict[str, str]]:
    return list((await master.state())["slaves"])


async def test_an_operator_hears_what_happens_over_two_leaders(zookeeper: ZooKeeper, cluster: Cluster) -> None:
    cluster.zk = zookeeper.url(f"/mesos-{uuid.uuid4()}")
    leader = await three_masters(cluster)
    master = MasterClient(cluster.zk, session_timeout=2.0)
    seen: list[dict[str, Any]] = []

    async def listen() -> None:
        async for event in master.events():
            seen.append(event)

    def heard(kind: str) -> list[dict[str, Any]]:
        return [event for event in seen if event["type"] == kind]

    listening = asyncio.create_task(listen())
    try:
        await eventually(lambda: _now(heard("SUBSCRIBED")), what="the first state")
        cluster.agent("--zk_session_timeout=1secs")
        await eventually(lambda: _now(heard("AGENT_ADDED")), what="the agent")
        async with Driver(cluster.zk, name="watched") as driver:
            await eventually(lambda: _now(heard("FRAMEWORK_ADDED")), what="the framework")
            await driver.launch(command("brief", "true"))
            await eventually(lambda: _now(heard("TASK_ADDED")), what="the task")

            def updates() -> list[str]:
                return [event["task_updated"]["state"] for event in heard("TASK_UPDATED")]

            await eventually(lambda: _now("TASK_FINISHED" in updates()), what="its end")
            before = len(driver.events)
            leader.daemon.kill()
            await eventually(lambda: _now(len(heard("SUBSCRIBED")) == 2), what="another state")
            assert len(heard("DISCONNECTED")) == 1
            await driver.event("SUBSCRIBED", after=before)
            await driver.client.teardown()
        [agent] = await eventually(lambda: _agents(master), what="the agent with the next leader")
        await master.mark_agent_gone(agent["agent_info"]["id"]["value"])
        await eventually(lambda: _now(heard("AGENT_REMOVED")), what="it is gone")
    finally:
        await master.close()
        listening.cancel()
        await asyncio.gather(listening, return_exceptions=True)


async def _now(found: object) -> object:
    return found


async def _agents(master: MasterClient) -> list[dict[str, Any]]:
    return list((await master.call("GET_AGENTS")).get("agents", ()))


async def test_an_operator_tears_a_framework_down(small: Cluster) -> None:
    master = MasterClient(small.master_flag)
    async with Driver(small.master_flag) as driver:
        await driver.launch(command("long", "sleep 1000"))
        await driver.status("long", "TASK_RUNNING")
        framework_id = str(driver.client.framework_id)
        await master.teardown(framework_id)
        await driver.event("ERROR")
        completed = (await master.call("GET_FRAMEWORKS"))["completed_frameworks"]
        assert [one["framework_info"]["id"]["value"] for one in completed] == [framework_id]
    await master.close()
