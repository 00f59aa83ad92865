"""Agents that vanish, freeze, come back, and are set up wrongly."""

from __future__ import annotations

import asyncio
import signal
import time

from k8slab.mesos.agent.processes import kill_tree
from tests.daemons.mesos.cluster import Cluster, Driver, command, eventually, get_json
from tests.daemons.processes import NotReady


async def test_row_25_a_frozen_agent_is_unreachable_and_returns_with_its_tasks(cluster: Cluster) -> None:
    cluster.master("--agent_ping_timeout=500ms", "--max_agent_ping_timeouts=3", "--allocation_interval=200ms")
    agent = cluster.agent()
    async with (
        Driver(cluster.master_flag, name="old") as old,
        Driver(cluster.master_flag, name="aware", capabilities=[{"type": "PARTITION_AWARE"}]) as aware,
    ):
        offer = await old.launch(command("plain", "sleep 1000", cpus=1), refuse_seconds=0.2)
        await old.client.suppress()
        await aware.launch(command("informed", "sleep 1000", cpus=1), refuse_seconds=0.2)
        await old.status("plain", "TASK_RUNNING")
        await aware.status("informed", "TASK_RUNNING")
        outstanding = await aware.offer()
        agent.daemon.signal(signal.SIGSTOP)
        lost = await old.status("plain", "TASK_LOST")
        unreachable = await aware.status("informed", "TASK_UNREACHABLE")
        for status in (lost, unreachable):
            assert (status["source"], status["reason"]) == ("SOURCE_MASTER", "REASON_AGENT_REMOVED")
        assert unreachable["unreachable_time"]["nanoseconds"] > 0
        assert (await aware.event("RESCIND"))["rescind"] == {"offer_id": outstanding["id"]}
        for driver in (old, aware):
            assert (await driver.event("FAILURE"))["failure"] == {"agent_id": offer["agent_id"]}
        assert (await cluster.state())["unreachable_slaves"] == 1
        agent.daemon.signal(signal.SIGCONT)
        for driver, task_id in ((old, "plain"), (aware, "informed")):
            again = await driver.until(
                lambda driver=driver, task_id=task_id: (
                    driver.statuses(task_id)[-1]["state"] == "TASK_RUNNING" and driver.statuses(task_id)[-1]
                ),
                what=f"{task_id} runs again",
            )
            assert again["reason"] == "REASON_AGENT_REREGISTERED"
        state = await cluster.state()
        assert [slave["id"] for slave in state["slaves"]] == [offer["agent_id"]["value"]]
        assert state["slaves"][0]["used_resources"]["cpus"] == 2.0
        for framework in state["frameworks"]:
            assert [task["state"] for task in framework["tasks"]] == ["TASK_RUNNING"]
            assert (framework["unreachable_tasks"], framework["completed_tasks"]) == ([], [])


async def test_an_idle_agent_stays_connected_by_pings(cluster: Cluster) -> None:
    cluster.master("--agent_ping_timeout=200ms", "--max_agent_ping_timeouts=2")
    cluster.agent()
    await asyncio.sleep(1.5)
    metrics = await get_json(f"{cluster.masters[0].url}/metrics/snapshot")
    assert metrics["master/slaves_active"] == 1
    assert metrics["master/slave_reregistrations"] == 0


async def test_a_stopped_agent_returns_with_its_id(small: Cluster) -> None:
    before = (await small.state())["slaves"][0]["id"]
    started = time.monotonic()
    assert small.agents[0].daemon.stop() == 0
    assert time.monotonic() - started < 2.0

    async def disconnected() -> bool:
        return bool((await small.state())["deactivated_slaves"])

    await eventually(disconnected)
    await small.agents[0].daemon.start_async()
    slave = (await small.state())["slaves"][0]
    assert (slave["id"], slave["active"]) == (before, True)
    assert slave["reregistered_time"] > slave["registered_time"]


async def test_other_resources_than_before_are_refused(small: Cluster) -> None:
    agent = small.agents[0]
    agent.daemon.stop()
    agent.daemon.argv = [flag.replace("cpus:4", "cpus:8") for flag in agent.daemon.argv]
    try:
        await agent.daemon.start_async()
    except NotReady as error:
        assert "ended (1)" in str(error)
        assert "incompatible agent info: resources were cpus:4" in str(error)
    else:
        raise AssertionError("it started")
    agent.daemon.argv = [*agent.daemon.argv, "--reconfiguration_policy=additive"]
    await agent.daemon.start_async()
    assert (await small.state())["slaves"][0]["resources"]["cpus"] == 8.0


async def test_an_agent_without_its_work_directory_is_a_new_one(small: Cluster) -> None:
    agent = small.agents[0]
    before = (await small.state())["slaves"][0]["id"]
    async with (
        Driver(small.master_flag, name="old") as old,
        Driver(small.master_flag, name="aware", capabilities=[{"type": "PARTITION_AWARE"}]) as aware,
    ):
        await old.launch(command("plain", "sleep 1000", cpus=1), refuse_seconds=0.2)
        await old.client.suppress()
        await aware.launch(command("informed", "sleep 1000", cpus=1), refuse_seconds=0.2)
        pids = []
        for driver, task_id in ((old, "plain"), (aware, "informed")):
            running = await driver.status(task_id, "TASK_RUNNING")
            pids.append(running["container_status"]["executor_pid"])
        agent.daemon.stop()
        for pid in pids:
            kill_tree(pid)
        (agent.work_dir / "meta" / "slaves" / "latest").unlink()
        await agent.daemon.start_async()
        lost = await old.status("plain", "TASK_LOST")
        gone = await aware.status("informed", "TASK_GONE")
        for status in (lost, gone):
            assert (status["source"], status["reason"]) == ("SOURCE_MASTER", "REASON_AGENT_REMOVED")
            assert status["agent_id"] == {"value": before}
            assert "unreachable_time" not in status
        state = await small.state()
        [slave] = state["slaves"]
        assert slave["id"] != before
        assert (slave["used_resources"]["cpus"], state["unreachable_slaves"]) == (0.0, 0)
        for framework in state["frameworks"]:
            assert (framework["tasks"], framework["unreachable_tasks"]) == ([], [])
            assert [task["state"] for task in framework["completed_tasks"]] in (["TASK_LOST"], ["TASK_GONE"])


async def test_agent_routes(small: Cluster) -> None:
    agent = small.agents[0]
    state = await get_json(f"{agent.url}/slave(1)/state")
    assert (state["hostname"], state["pid"]) == ("agent-0", f"slave(1)@{agent.address}")
    assert (await get_json(f"{agent.url}/slave%281%29/state"))["id"] == state["id"]
    assert state["resources"] == {
        "cpus": 4.0,
        "gpus": 0.0,
        "mem": 4096.0,
        "disk": 2000.0,
        "ports": "[31000-31099]",
    }
    assert (await get_json(f"{agent.url}/metrics/snapshot"))["slave/registered"] == 1.0
    assert (await get_json(f"{agent.url}/version"))["version"] == "1.11.0"
    assert (await get_json(f"{agent.url}/flags"))["flags"]["port"] == str(agent.port)
