"""Frameworks that leave, return, ask what became of their tasks, and are told what happened meanwhile."""

from __future__ import annotations

import time
from typing import Any

import aiohttp
import pytest

from k8slab.mesos.client.scheduler import launch
from tests.daemons.mesos.cluster import Cluster, Driver, command, eventually, get_json


async def disconnect(driver: Driver) -> str:
    """Close the stream as a scheduler that dies does; the framework's id."""
    framework_id = driver.client.framework_id
    assert framework_id is not None
    await driver.__aexit__(None, None, None)
    return framework_id


async def test_row_08_tasks_outlive_a_scheduler_that_returns_in_time(small: Cluster) -> None:
    driver = Driver(small.master_flag, failover_timeout=60.0)
    await driver.__aenter__()
    await driver.launch(command("kept", "sleep 1000"), refuse_seconds=0)
    await driver.status("kept", "TASK_RUNNING")
    old = await driver.offer()
    framework_id = await disconnect(driver)
    async with Driver(small.master_flag, failover_timeout=60.0, id={"value": framework_id}) as again:
        assert again.client.framework_id == framework_id
        fresh = await again.offer()
        assert fresh["id"] != old["id"]
        assert not [event for event in again.events if event["type"] == "RESCIND"]
        infos = [{"agent_id": old["agent_id"], **command("late", "true")}]
        await again.client.accept([old["id"]["value"]], [launch(infos)])
        assert (await again.status("late", "TASK_LOST"))["reason"] == "REASON_INVALID_OFFERS"
        await again.client.reconcile([])
        assert (await again.status("kept", "TASK_RUNNING"))["reason"] == "REASON_RECONCILIATION"


@pytest.mark.parametrize("timeout", [0.0, 0.5])
async def test_row_09_a_scheduler_that_does_not_return_in_time_is_removed(small: Cluster, timeout: float) -> None:
    driver = Driver(small.master_flag, failover_timeout=timeout)
    await driver.__aenter__()
    await driver.launch(command("doomed", "sleep 1000"))
    await driver.status("doomed", "TASK_RUNNING")
    framework_id = await disconnect(driver)

    async def removed() -> Any:
        return (await small.state())["completed_frameworks"]

    [framework] = await eventually(removed, what="the framework is removed")
    [ended] = framework["completed_tasks"]
    assert (framework["id"], ended["id"], ended["state"]) == (framework_id, "doomed", "TASK_KILLED")
    assert ended["statuses"][-1]["state"] == "TASK_KILLED"

    async def killed() -> bool:
        return not (await get_json(f"{small.agents[0].url}/state"))["frameworks"]

    await eventually(killed, what="its tasks are killed on the agent")
    again = Driver(small.master_flag, failover_timeout=timeout, id={"value": framework_id})
    events = [event async for event in again.client.events()]
    assert events[0] == {"type": "ERROR", "error": {"message": "Framework has been removed"}}


@pytest.mark.slow
@pytest.mark.parametrize(("refuse", "soonest", "latest"), [(3.0, 2.9, 4.2), (None, 4.9, 6.2), (0.0, 0.0, 0.9)])
async def test_row_11_refuse_seconds(small: Cluster, refuse: float | None, soonest: float, latest: float) -> None:
    async with Driver(small.master_flag) as driver:
        offer = await driver.offer()
        declined = time.monotonic()
        await driver.client.decline([offer["id"]["value"]], refuse_seconds=refuse)
        await driver.offer()
        assert soonest <= time.monotonic() - declined <= latest


@pytest.mark.parametrize("aware", [False, True])
async def test_row_18_kill_of_an_unknown_task(small: Cluster, aware: bool) -> None:
    capabilities = [{"type": "PARTITION_AWARE"}] if aware else []
    async with Driver(small.master_flag, capabilities=capabilities) as driver:
        await driver.client.kill("nobody")
        status = await driver.status("nobody", "TASK_UNKNOWN", "TASK_LOST")
        assert status["state"] == ("TASK_UNKNOWN" if aware else "TASK_LOST")
        assert (status["source"], status["reason"]) == ("SOURCE_MASTER", "REASON_RECONCILIATION")
        assert status["message"].startswith("Reconciliation: ")
        assert "uuid" not in status


async def test_a_kill_that_names_another_agent_is_ignored(small: Cluster) -> None:
    async with Driver(small.master_flag) as driver:
        await driver.launch(command("steady", "sleep 1000"), command("other", "sleep 1000"))
        for task_id in ("steady", "other"):
            await driver.status(task_id, "TASK_RUNNING")
        await driver.client.kill("steady", "elsewhere")
        await driver.client.kill("other")
        await driver.status("other", "TASK_KILLED")
        assert driver.statuses("steady")[-1]["state"] == "TASK_RUNNING"


@pytest.mark.parametrize("aware", [False, True])
async def test_row_19_explicit_reconciliation(cluster: Cluster, aware: bool) -> None:
    cluster.master("--agent_ping_timeout=300ms", "--max_agent_ping_timeouts=2", "--allocation_interval=200ms")
    cluster.agent()
    cluster.agent()
    lost = cluster.agent()
    capabilities = [{"type": "PARTITION_AWARE"}] if aware else []
    async with Driver(cluster.master_flag, capabilities=capabilities) as driver:
        offer = await driver.launch(command("known", "sleep 1000"), agent="agent-0")
        await driver.status("known", "TASK_RUNNING")
        here = offer["agent_id"]["value"]
        gone = (await driver.offer(agent="agent-1"))["agent_id"]["value"]
        away = (await driver.offer(agent="agent-2"))["agent_id"]["value"]
        await mark_gone(cluster, gone)
        lost.daemon.kill()

        async def unreachable() -> bool:
            return bool((await cluster.state())["unreachable_slaves"])

        await eventually(unreachable, what="an unreachable agent")
        asked = {
            "known": (here, "TASK_RUNNING"),
            "missing": (here, "TASK_GONE"),
            "away": (away, "TASK_UNREACHABLE"),
            "removed": (gone, "TASK_GONE_BY_OPERATOR"),
            "elsewhere": ("no-such-agent", "TASK_UNKNOWN"),
            "nowhere": (None, "TASK_UNKNOWN"),
        }
        await driver.client.reconcile([(task_id, agent) for task_id, (agent, _) in asked.items()])
        for task_id, (agent, state) in asked.items():
            expected = state if aware or task_id == "known" else "TASK_LOST"
            status = await driver.until(
                lambda task_id=task_id: [
                    status for status in driver.statuses(task_id) if status.get("reason") == "REASON_RECONCILIATION"
                ],
                what=f"an answer about {task_id}",
            )
            assert len(status) == 1
            assert (status[0]["state"], status[0]["source"]) == (expected, "SOURCE_MASTER"), task_id
            assert "uuid" not in status[0]
            assert status[0]["message"].startswith("Reconciliation: ")
            assert status[0].get("agent_id") == ({"value": agent} if agent else None)
            assert ("unreachable_time" in status[0]) == (expected == "TASK_UNREACHABLE")


async def mark_gone(cluster: Cluster, agent_id: str) -> None:
    call = {"type": "MARK_AGENT_GONE", "mark_agent_gone": {"agent_id": {"value": agent_id}}}
    async with (
        aiohttp.ClientSession() as session,
        session.post(f"{cluster.masters[0].url}/api/v1", json=call) as response,
    ):
        assert response.status == 200, await response.text()


async def test_row_19_implicit_reconciliation_tells_of_every_live_task(small: Cluster) -> None:
    async with Driver(small.master_flag) as driver:
        names = [f"live-{number}" for number in range(3)]
        await driver.launch(*(command(name, "sleep 1000") for name in names), command("over", "true"))
        for name in names:
            await driver.status(name, "TASK_RUNNING")
        await driver.status("over", "TASK_FINISHED")

        async def completed() -> bool:
            return bool((await small.state())["frameworks"][0]["completed_tasks"])

        await eventually(completed, what="the ended task is forgotten")
        count = len(driver.events)
        await driver.client.reconcile([])
        await driver.client.reconcile([("fence", None)])
        await driver.status("fence", "TASK_LOST")
        told = [event["update"]["status"] for event in driver.events[count:] if event["type"] == "UPDATE"]
        assert sorted(status["task_id"]["value"] for status in told) == ["fence", *names]
        for status in told[:-1]:
            assert (status["state"], status["reason"]) == ("TASK_RUNNING", "REASON_RECONCILIATION")
            assert "uuid" not in status


@pytest.mark.parametrize("aware", [False, True])
async def test_tasks_that_nobody_checkpoints_are_lost_with_the_connection(small: Cluster, aware: bool) -> None:
    capabilities = [{"type": "PARTITION_AWARE"}] if aware else []
    async with (
        Driver(small.master_flag, capabilities=capabilities, checkpoint=False, name="careless") as careless,
        Driver(small.master_flag, capabilities=capabilities, name="careful") as careful,
    ):
        offer = await careless.launch(command("lost", "sleep 1000", cpus=1), refuse_seconds=0.2)
        await careless.client.suppress()
        await careful.launch(command("kept", "sleep 1000", cpus=1), refuse_seconds=0.2)
        await careless.status("lost", "TASK_RUNNING")
        await careful.status("kept", "TASK_RUNNING")
        held = await careful.offer()
        small.agents[0].daemon.kill()
        lost = await careless.status("lost", "TASK_LOST")
        assert (lost["source"], lost["reason"]) == ("SOURCE_MASTER", "REASON_AGENT_DISCONNECTED")
        assert lost["message"] == "Agent agent-0 disconnected"
        assert lost["agent_id"] == offer["agent_id"]
        assert (await careful.event("RESCIND"))["rescind"]["offer_id"] == held["id"]
        await small.agents[0].daemon.start_async()
        await careful.offer()
        await careful.client.kill("kept")
        await careful.status("kept", "TASK_KILLED")
        assert {status["state"] for status in careful.statuses("kept")} == {
            "TASK_STARTING",
            "TASK_RUNNING",
            "TASK_KILLED",
        }


async def test_a_kill_waits_for_its_agent(small: Cluster) -> None:
    async with Driver(small.master_flag) as driver:
        await driver.launch(command("waiting", "sleep 1000"))
        await driver.status("waiting", "TASK_RUNNING")
        small.agents[0].daemon.kill()

        async def disconnected() -> bool:
            return bool((await small.state())["deactivated_slaves"])

        await eventually(disconnected, what="a disconnected agent")
        await driver.client.kill("waiting")
        assert driver.statuses("waiting")[-1]["state"] == "TASK_RUNNING"
        await small.agents[0].daemon.start_async()
        await driver.status("waiting", "TASK_KILLED")
