"""Fifty tasks under a framework that keeps them running, while what is above and below them fails."""

from __future__ import annotations

import asyncio
import signal
import sys
import uuid
from pathlib import Path

import aiohttp
import pytest

from tests.daemons.mesos.cluster import Cluster, Node, eventually, get_json
from tests.daemons.mesos.keeper import Keeper, starts_below
from tests.daemons.mesos.test_executors import all_acknowledged
from tests.daemons.mesos.test_failover import leader_of, three_masters
from tests.daemons.processes import Daemon, Supervisor, ZooKeeper, start_zookeeper

ROOT = Path(__file__).parents[3]

pytestmark = pytest.mark.timeout(300)


def keeper(cluster: Cluster) -> Keeper:
    return Keeper(cluster.master_flag, python=sys.executable, environment={"PYTHONPATH": str(ROOT)})


async def settled(kept: Keeper, cluster: Cluster, leader: Node) -> None:
    """Every end is acknowledged: the agents owe nothing, the master knows the living ones alone."""
    await kept.full()

    async def nothing_owed() -> bool:
        return all([await all_acknowledged(agent) for agent in cluster.agents])

    async def only_the_living() -> bool:
        [known] = (await get_json(f"{leader.url}/frameworks"))["frameworks"]
        return {task["id"] for task in known["tasks"]} == kept.live

    kept.count = 0
    await kept.until(lambda: kept.live == kept.eternal, what="those with an end have come to it")
    await eventually(nothing_owed, what="all updates are acknowledged")
    await eventually(only_the_living, what="the master has forgotten what ended")


async def survive_leaders(cluster: Cluster, kills: int) -> None:
    leader = await three_masters(cluster)
    for _ in range(2):
        cluster.agent("--zk_session_timeout=1secs")
    async with keeper(cluster) as kept:
        await kept.full()
        for _ in range(kills):
            before = kept.subscriptions
            leader.daemon.kill()
            await kept.until(lambda before=before: kept.subscriptions > before, what="another leader")
            found = await eventually(lambda: leader_of(cluster.masters), what="another leader")
            assert found is not leader
            await leader.daemon.start_async()
            leader = found
            await kept.full()
        await settled(kept, cluster, leader)
        kept.audit(starts_below([agent.work_dir for agent in cluster.agents]))


async def test_row_28_tasks_of_a_keeper_outlive_two_leaders(zookeeper: ZooKeeper, cluster: Cluster) -> None:
    cluster.zk = zookeeper.url(f"/mesos-{uuid.uuid4()}")
    await survive_leaders(cluster, 2)


async def test_row_25_an_agent_frozen_past_its_pings_and_thawed(cluster: Cluster) -> None:
    cluster.master("--allocation_interval=200ms", "--agent_ping_timeout=500ms", "--max_agent_ping_timeouts=3")
    for _ in range(2):
        cluster.agent()
    async with keeper(cluster) as kept:
        await kept.full()
        frozen = cluster.agents[0]
        agent_id = (await get_json(f"{frozen.url}/state"))["id"]
        there = {task for task in kept.eternal if kept.agents[task] == agent_id}
        assert there
        frozen.daemon.signal(signal.SIGSTOP)
        await kept.until(lambda: there <= kept.in_state("TASK_UNREACHABLE"), what="its tasks are unreachable")
        failure = {"type": "FAILURE", "failure": {"agent_id": {"value": agent_id}}}
        await kept.until(lambda: failure in kept.heard, what="the agent's failure is told")
        frozen.daemon.signal(signal.SIGCONT)
        await kept.until(lambda: there <= kept.in_state("TASK_RUNNING"), what="its tasks are back")
        assert (await get_json(f"{frozen.url}/state"))["id"] == agent_id
        await settled(kept, cluster, cluster.masters[0])
        kept.audit(starts_below([agent.work_dir for agent in cluster.agents]))


async def lose_zookeeper(supervisor: Supervisor, cluster: Cluster) -> None:
    """Its leader, then its quorum, and all of it back: masters step down meanwhile, and no task notices."""
    ensemble = start_zookeeper(supervisor, members=3)
    cluster.zk = ensemble.url("/mesos")
    await three_masters(cluster)
    for _ in range(2):
        cluster.agent("--zk_session_timeout=1secs")
    async with keeper(cluster) as kept:
        await kept.full()
        first = await leading_member(ensemble)
        second = next(member for member in ensemble.members if member is not first)
        first.kill()
        # Two of three still make a quorum; one alone does not serve, and nobody leads.
        await eventually(lambda: leads(cluster), timeout=60.0, what="a leader on two members")
        await kept.full()
        second.kill()
        await eventually(lambda: nobody_leads(cluster), timeout=60.0, what="all masters step down")
        running = {task for task in kept.eternal if kept.states[task] == "TASK_RUNNING"}
        assert len(running) >= kept.count // 2
        first.start(wait=False)
        second.start(wait=False)
        first.await_probe()
        second.await_probe()
        leader = await eventually(lambda: leads(cluster), timeout=60.0, what="a leader again")
        await kept.full()
        await settled(kept, cluster, leader)
        kept.audit(starts_below([agent.work_dir for agent in cluster.agents]))


async def leading_member(ensemble: ZooKeeper) -> Daemon:
    ports = [int(host.rpartition(":")[2]) for host in ensemble.hosts.split(",")]
    for member, port in zip(ensemble.members, ports, strict=True):
        reading, writing = await asyncio.open_connection("127.0.0.1", port)
        writing.write(b"srvr")
        said = await reading.read()
        writing.close()
        if b"Mode: leader" in said:
            return member
    raise AssertionError("no member of the ensemble leads")


async def leads(cluster: Cluster) -> Node | None:
    """The leader all masters agree on; those that stepped down are started again, as their supervisor would."""
    for node in cluster.masters:
        if node.daemon.returncode is not None:
            await node.daemon.start_async()
    try:
        return await leader_of(cluster.masters)
    except aiohttp.ClientError:
        # One of them steps down while it is asked.
        return None


async def nobody_leads(cluster: Cluster) -> bool:
    if await leads(cluster) is not None:
        return False
    try:
        metrics = [await get_json(f"{node.url}/metrics/snapshot") for node in cluster.masters]
    except aiohttp.ClientError:
        return False
    return all(shown["master/elected"] == 0 for shown in metrics)


async def test_tasks_outlive_zookeepers_leader_and_quorum(supervisor: Supervisor, cluster: Cluster) -> None:
    await lose_zookeeper(supervisor, cluster)
