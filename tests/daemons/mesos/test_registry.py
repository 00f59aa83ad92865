"""The registry on a real ZooKeeper: what a leader leaves to the next one, and when it must not go on."""

from __future__ import annotations

import signal
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import aiohttp
import pytest
from kazoo.client import KazooClient
from kazoo.security import OPEN_ACL_UNSAFE, make_digest_acl

from tests.daemons.mesos.cluster import Cluster, Driver, Node, command, eventually, get_json
from tests.daemons.mesos.test_failover import SESSION, leader_of
from tests.daemons.processes import Supervisor, ZooKeeper, start_zookeeper

IMPATIENT = ("--agent_ping_timeout=300ms", "--max_agent_ping_timeouts=3", "--allocation_interval=200ms")
AGENT_SESSION = "--zk_session_timeout=1secs"
AWARE = [{"type": "PARTITION_AWARE"}]


async def operate(node: Node, type: str, **payload: Any) -> dict[str, Any]:
    body = {"type": type} | ({type.lower(): payload} if payload else {})
    async with aiohttp.ClientSession() as session, session.post(f"{node.url}/api/v1", json=body) as response:
        assert response.status == 200, await response.text()
        return dict(await response.json()).get(type.lower(), {}) if response.content_type.endswith("json") else {}


async def set_weight(node: Node, role: str, weight: float) -> None:
    await operate(node, "UPDATE_WEIGHTS", weight_infos=[{"role": role, "weight": weight}])


async def weights(node: Node) -> dict[str, float]:
    shown = await operate(node, "GET_WEIGHTS")
    return {info["role"]: info["weight"] for info in shown.get("weight_infos", ())}


async def slave_ids(node: Node) -> dict[str, str]:
    """Ids of the registered agents by hostname."""
    return {slave["hostname"]: slave["id"] for slave in (await get_json(f"{node.url}/slaves"))["slaves"]}


@contextmanager
def zookeeper_client(zookeeper: ZooKeeper, **options: Any) -> Iterator[KazooClient]:
    client = KazooClient(hosts=zookeeper.hosts, **options)
    client.start()
    try:
        yield client
    finally:
        client.stop()
        client.close()


@dataclass
class Succession:
    """A leader that died, its heir, and what each agent was to it."""

    heir: Node
    ids: dict[str, str]
    known: str
    unreachable_nanoseconds: int


async def succession(cluster: Cluster, driver: Driver, leader: Node) -> Succession:
    """Kill a leader of four agents: agent-0 lives, 1 was unreachable, 2 marked gone after that, 3 freezes with it."""

    async def all_registered() -> dict[str, str] | None:
        ids = await slave_ids(leader)
        return ids if len(ids) == 4 else None

    ids = await eventually(all_registered, what="four agents")
    await driver.launch(command("known", "sleep 1000"), agent="agent-0")
    await driver.status("known", "TASK_RUNNING")
    for frozen in (1, 2):
        cluster.agents[frozen].daemon.signal(signal.SIGSTOP)

    async def two_unreachable() -> bool:
        return bool((await cluster.state(leader))["unreachable_slaves"] == 2)

    await eventually(two_unreachable, what="two frozen agents are unreachable")
    await operate(leader, "MARK_AGENT_GONE", agent_id={"value": ids["agent-2"]})
    await set_weight(leader, "red", 2.5)
    count = len(driver.events)
    await driver.client.reconcile([("x", ids["agent-1"])])
    update = await driver.event("UPDATE", after=count)
    since = update["update"]["status"].get("unreachable_time", {}).get("nanoseconds", 0)
    cluster.agents[3].daemon.signal(signal.SIGSTOP)
    count = len(driver.events)
    leader.daemon.kill()
    await driver.event("DISCONNECTED", after=count)
    await driver.event("SUBSCRIBED", after=count)
    heir = await eventually(lambda: leader_of(cluster.masters), what="another leader")

    async def agent_0_is_back() -> bool:
        return list(await slave_ids(heir)) == ["agent-0"]

    await eventually(agent_0_is_back, what="the living agent is back")
    return Succession(heir=heir, ids=ids, known="known", unreachable_nanoseconds=since)


async def two_masters(zookeeper: ZooKeeper, cluster: Cluster, *flags: str, agents: int = 4) -> Node:
    cluster.zk = zookeeper.url(f"/mesos-{uuid.uuid4()}")
    for _ in range(2):
        cluster.master(SESSION, *IMPATIENT, *flags)
    for _ in range(agents):
        cluster.agent(AGENT_SESSION, wait=False)
    return await eventually(lambda: leader_of(cluster.masters), what="a leader")


@pytest.mark.parametrize("aware", [True, False], ids=["partition aware", "not aware"])
async def test_row_19_the_six_cases_of_explicit_reconciliation(
    zookeeper: ZooKeeper, cluster: Cluster, aware: bool
) -> None:
    leader = await two_masters(zookeeper, cluster)
    async with Driver(str(cluster.zk), capabilities=AWARE if aware else []) as driver:
        left = await succession(cluster, driver, leader)
        ids = left.ids
        asked = [
            ("expected", ids["agent-3"]),
            ("expected somewhere", None),
            (left.known, ids["agent-0"]),
            ("not there", ids["agent-0"]),
            ("away", ids["agent-1"]),
            ("gone", ids["agent-2"]),
            ("nowhere", "an-agent-nobody-knows"),
        ]
        count = len(driver.events)
        await driver.client.reconcile(asked)

        def answers() -> dict[str, dict[str, Any]]:
            updates = [event["update"]["status"] for event in driver.events[count:] if event["type"] == "UPDATE"]
            return {status["task_id"]["value"]: status for status in updates}

        # Answers come in the order of the questions: with the last one here, the first two were passed over.
        await driver.until(lambda: "nowhere" in answers(), what="the last answer")
        found = answers()
        told = {task_id: status["state"] for task_id, status in found.items()}
        presumed = {
            "not there": "TASK_GONE",
            "away": "TASK_UNREACHABLE",
            "gone": "TASK_GONE_BY_OPERATOR",
            "nowhere": "TASK_UNKNOWN",
        }
        if not aware:
            presumed = dict.fromkeys(presumed, "TASK_LOST")
        assert told == {left.known: "TASK_RUNNING", **presumed}
        for status in found.values():
            assert (status["source"], status["reason"]) == ("SOURCE_MASTER", "REASON_RECONCILIATION")
            assert status["message"].startswith("Reconciliation: ")
            assert "uuid" not in status
        since = found["away"].get("unreachable_time", {}).get("nanoseconds", 0)
        assert since == left.unreachable_nanoseconds
        assert bool(since) == aware


async def test_row_28_the_registry_survives_its_leader(zookeeper: ZooKeeper, cluster: Cluster) -> None:
    leader = await two_masters(zookeeper, cluster)
    async with Driver(str(cluster.zk), capabilities=AWARE) as driver:
        left = await succession(cluster, driver, leader)
        heir = left.heir
        assert await weights(heir) == {"red": 2.5}
        state = await cluster.state(heir)
        [recovered] = state["recovered_slaves"]
        assert (recovered["id"], recovered["hostname"]) == (left.ids["agent-3"], "agent-3")
        assert state["unreachable_slaves"] == 1
        shown = await operate(heir, "GET_AGENTS")
        assert [info["id"]["value"] for info in shown["recovered_agents"]] == [left.ids["agent-3"]]
        metrics = await get_json(f"{heir.url}/metrics/snapshot")
        assert metrics["registrar/log/recovered"] == 1.0
        assert metrics["registrar/registry_size_bytes"] > 100
        assert [status["state"] for status in driver.statuses("known")][-1] == "TASK_RUNNING"
        cluster.agents[2].daemon.signal(signal.SIGCONT)
        assert await cluster.agents[2].daemon.exited() == 0
        assert "marked gone" in cluster.agents[2].daemon.tail()
        for frozen in (1, 3):
            cluster.agents[frozen].daemon.signal(signal.SIGCONT)

        async def all_back() -> bool:
            return len(await slave_ids(heir)) == 3

        await eventually(all_back, what="thawed agents are back")
        assert await slave_ids(heir) == {name: left.ids[name] for name in ("agent-0", "agent-1", "agent-3")}
        state = await cluster.state(heir)
        assert (state["recovered_slaves"], state["unreachable_slaves"]) == ([], 0)


async def test_agents_that_do_not_return_to_a_new_leader_are_unreachable(
    zookeeper: ZooKeeper, cluster: Cluster
) -> None:
    leader = await two_masters(zookeeper, cluster, "--agent_reregister_timeout=3secs", agents=1)
    async with Driver(str(cluster.zk), capabilities=AWARE) as driver:
        offer = await driver.launch(command("away", "sleep 1000"))
        await driver.status("away", "TASK_RUNNING")
        cluster.agents[0].daemon.signal(signal.SIGSTOP)
        count = len(driver.events)
        leader.daemon.kill()
        failure = await driver.event("FAILURE", after=count)
        assert failure["failure"] == {"agent_id": offer["agent_id"]}
        heir = await eventually(lambda: leader_of(cluster.masters), what="another leader")
        metrics = await get_json(f"{heir.url}/metrics/snapshot")
        assert (metrics["master/slaves_unreachable"], metrics["master/recovery_slave_removals"]) == (1, 1)
        await driver.client.reconcile([("away", offer["agent_id"]["value"])])
        status = await driver.status("away", "TASK_UNREACHABLE")
        assert status["unreachable_time"]["nanoseconds"] > 0
        count = len(driver.events)
        cluster.agents[0].daemon.signal(signal.SIGCONT)
        await driver.until(
            lambda: driver.statuses("away")[-1].get("reason") == "REASON_AGENT_REREGISTERED", what="it is back"
        )
        assert driver.statuses("away")[-1]["state"] == "TASK_RUNNING"
        assert await slave_ids(heir) == {"agent-0": offer["agent_id"]["value"]}


async def test_a_leader_answers_503_until_it_has_recovered(zookeeper: ZooKeeper, cluster: Cluster) -> None:
    path = f"/mesos-{uuid.uuid4()}"
    cluster.zk = zookeeper.url(path)
    with zookeeper_client(zookeeper, auth_data=[("digest", "other:secret")]) as client:
        client.create(path)
        client.create(f"{path}/log_replicas", acl=[make_digest_acl("other", "secret", all=True)])
        cluster.master(SESSION, "--registry_fetch_timeout=30secs")
        hopeless = cluster.master(SESSION, "--registry_fetch_timeout=500ms")
        leader = cluster.masters[0]

        async def elected() -> bool:
            return bool((await get_json(f"{leader.url}/metrics/snapshot"))["master/elected"])

        await eventually(elected, what="the first one is elected")
        body = {"type": "SUBSCRIBE", "subscribe": {"framework_info": {"user": "root", "name": "x"}}}
        async with aiohttp.ClientSession() as session:
            for url, asked in (("/state", None), ("/api/v1/scheduler", body), ("/api/v1", {"type": "GET_AGENTS"})):
                method = "GET" if asked is None else "POST"
                async with session.request(method, leader.url + url, json=asked) as response:
                    assert response.status == 503, url
                    assert await response.text() == "Master has not finished recovery"
        assert (await get_json(f"{leader.url}/metrics/snapshot"))["registrar/log/recovered"] == 0.0
        client.set_acls(f"{path}/log_replicas", OPEN_ACL_UNSAFE)
        assert await eventually(lambda: leader_of([leader]), what="recovery ends")
        client.set_acls(f"{path}/log_replicas", [make_digest_acl("other", "secret", all=True)])
        client.delete(f"{path}/log_replicas/registry", recursive=True)
        leader.daemon.kill()
        assert await hopeless.daemon.exited() == 1
        assert "the registry was not fetched within 0.5 s" in hopeless.daemon.tail()


async def test_a_leader_whose_registry_another_one_took_over_ends(zookeeper: ZooKeeper, cluster: Cluster) -> None:
    path = f"/mesos-{uuid.uuid4()}"
    cluster.zk = zookeeper.url(path)
    leader = cluster.master(SESSION)
    await eventually(lambda: leader_of(cluster.masters), what="a leader")
    await set_weight(leader, "red", 2.0)
    with zookeeper_client(zookeeper) as client:
        client.set(f"{path}/log_replicas/registry", b"")
        before = client.get(f"{path}/log_replicas/registry/weights")[0]
        with pytest.raises((aiohttp.ClientError, AssertionError)):
            await set_weight(leader, "red", 3.0)
        assert await leader.daemon.exited() == 1
        assert "another master took over the registry" in leader.daemon.tail()
        assert client.get(f"{path}/log_replicas/registry/weights")[0] == before


async def test_an_agent_is_registered_once_it_is_stored(supervisor: Supervisor, cluster: Cluster) -> None:
    own = start_zookeeper(supervisor)
    cluster.zk = own.url("/mesos")
    leader = cluster.master("--zk_session_timeout=10secs")
    await eventually(lambda: leader_of(cluster.masters), what="a leader")
    own.members[0].signal(signal.SIGSTOP)
    cluster.agent(f"--master={leader.address}", wait=False)

    async def queued() -> bool:
        return bool((await get_json(f"{leader.url}/metrics/snapshot"))["registrar/queued_operations"] == 1)

    await eventually(queued, what="the admission waits for its store")
    assert await slave_ids(leader) == {}
    own.members[0].signal(signal.SIGCONT)

    async def registered() -> bool:
        return list(await slave_ids(leader)) == ["agent-0"]

    await eventually(registered, what="the agent is admitted")


async def test_a_store_that_takes_too_long_ends_the_leader(supervisor: Supervisor, cluster: Cluster) -> None:
    own = start_zookeeper(supervisor)
    cluster.zk = own.url("/mesos")
    leader = cluster.master("--zk_session_timeout=10secs", "--registry_store_timeout=500ms")
    await eventually(lambda: leader_of(cluster.masters), what="a leader")
    own.members[0].signal(signal.SIGSTOP)
    with pytest.raises((aiohttp.ClientError, AssertionError)):
        await set_weight(leader, "red", 3.0)
    own.members[0].signal(signal.SIGCONT)
    assert await leader.daemon.exited() == 1
    assert "the registry was not stored within 0.5 s" in leader.daemon.tail()


@pytest.mark.parametrize("registry", ["replicated_log", "in_memory"])
async def test_a_master_alone_keeps_its_registry_in_its_work_dir(cluster: Cluster, registry: str) -> None:
    master = cluster.master(f"--registry={registry}")
    cluster.agent()
    await set_weight(master, "red", 2.0)
    cluster.agents[0].daemon.kill()
    master.daemon.kill()
    await master.daemon.start_async()
    kept = registry == "replicated_log"
    assert await weights(master) == ({"red": 2.0} if kept else {})
    recovered = (await cluster.state())["recovered_slaves"]
    assert [slave["hostname"] for slave in recovered] == (["agent-0"] if kept else [])


async def test_a_leader_ends_when_more_agents_are_missing_than_allowed(cluster: Cluster) -> None:
    master = cluster.master("--agent_reregister_timeout=500ms", "--recovery_agent_removal_limit=50%")
    cluster.agent()
    cluster.agents[0].daemon.kill()
    master.daemon.kill()
    await master.daemon.start_async()
    assert await master.daemon.exited() == 1
    assert "1 of 1 recovered agents did not return" in master.daemon.tail()
