"""Tasks from ACCEPT to their last acknowledged update."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest

from tests.daemons.mesos.cluster import Cluster, Driver, command, eventually, get_json


async def test_row_15_command_task_runs_to_its_end(small: Cluster) -> None:
    async with Driver(small.master_flag) as driver:
        await driver.launch(command("one", "echo hello; sleep 0.2"))
        await driver.status("one", "TASK_FINISHED")
        states = [status["state"] for status in driver.statuses("one")]
        assert states == ["TASK_STARTING", "TASK_RUNNING", "TASK_FINISHED"]
        assert all(status["source"] == "SOURCE_EXECUTOR" and status["uuid"] for status in driver.statuses("one"))
        assert driver.statuses("one")[-1]["message"] == "Command exited with status 0"
        output = next(small.agents[0].work_dir.glob("slaves/latest/frameworks/*/executors/one/runs/latest/stdout"))
        assert "hello" in output.read_text().splitlines()

        async def completed() -> Any:
            framework = (await small.state())["frameworks"][0]
            return not framework["tasks"] and framework["completed_tasks"]

        [ended] = await eventually(completed, what="the task moves to the completed ones")
        assert (ended["id"], ended["state"], ended["executor_id"]) == ("one", "TASK_FINISHED", "")


@pytest.mark.parametrize(
    ("line", "state", "message"),
    [
        ("exit 3", "TASK_FAILED", "Command exited with status 3"),
        ("kill -9 $$", "TASK_FAILED", "Command terminated with signal Killed"),
    ],
)
async def test_row_17_command_task_ends_badly(small: Cluster, line: str, state: str, message: str) -> None:
    async with Driver(small.master_flag) as driver:
        await driver.launch(command("bad", line))
        status = await driver.status("bad", state)
        assert status["message"] == message


async def test_row_15_the_next_update_waits_for_the_acknowledgement(small: Cluster) -> None:
    async with Driver(small.master_flag, acknowledge=False) as driver:
        await driver.launch(command("patient", "true"))
        for state in ("TASK_STARTING", "TASK_RUNNING", "TASK_FINISHED"):
            status = await driver.status("patient", state)
            await asyncio.sleep(0.3)
            assert driver.statuses("patient")[-1]["state"] == state
            await driver.client.acknowledge(status)


@pytest.mark.slow
async def test_row_16_an_unacknowledged_update_is_sent_again(small: Cluster) -> None:
    async with Driver(small.master_flag, acknowledge=False) as driver:
        await driver.launch(command("ignored", "true"))
        first = await driver.status("ignored", "TASK_STARTING")
        seen = time.monotonic()
        again = await driver.until(lambda: driver.statuses("ignored")[1:2], what="the same update again")
        first_wait = time.monotonic() - seen
        assert 9.0 < first_wait < 12.0
        assert again == [first]
        await driver.until(lambda: driver.statuses("ignored")[2:3], timeout=25.0, what="and again")
        assert 1.8 < (time.monotonic() - seen - first_wait) / first_wait < 2.2
        assert driver.statuses("ignored") == [first] * 3, "what comes next is withheld"


async def test_row_17_kill(small: Cluster) -> None:
    async with Driver(small.master_flag, capabilities=[{"type": "TASK_KILLING_STATE"}]) as driver:
        await driver.launch(
            command("gentle", "sleep 1000"), command("stubborn", "trap '' TERM; while :; do sleep 0.1; done")
        )
        await driver.status("gentle", "TASK_RUNNING")
        await driver.status("stubborn", "TASK_RUNNING")
        await driver.client.kill("gentle")
        assert (await driver.status("gentle", "TASK_KILLED"))["message"] == "Command terminated with signal Terminated"
        assert [status["state"] for status in driver.statuses("gentle")][2:] == ["TASK_KILLING", "TASK_KILLED"]
        asked = time.monotonic()
        await driver.client.kill("stubborn", grace_seconds=1.0)
        await driver.status("stubborn", "TASK_KILLED")
        assert 0.9 < time.monotonic() - asked < 3.0


async def test_row_18_and_row_19_unknown_tasks_are_reconciled(small: Cluster) -> None:
    async with Driver(small.master_flag) as driver:
        await driver.client.kill("nobody")
        status = await driver.status("nobody", "TASK_LOST")
        assert status["reason"] == "REASON_RECONCILIATION"
        assert "uuid" not in status
    async with Driver(small.master_flag, capabilities=[{"type": "PARTITION_AWARE"}]) as driver:
        offer = await driver.launch(command("known", "sleep 1000"))
        await driver.status("known", "TASK_RUNNING")
        agent_id = offer["agent_id"]["value"]
        await driver.client.reconcile([("known", None), ("gone", agent_id), ("unknown", None)])
        assert (await driver.status("gone", "TASK_GONE"))["reason"] == "REASON_RECONCILIATION"
        await driver.status("unknown", "TASK_UNKNOWN")
        assert driver.statuses("known")[-1]["reason"] == "REASON_RECONCILIATION"
        count = len(driver.events)
        await driver.client.reconcile([])
        update = await driver.event("UPDATE", after=count)
        assert update["update"]["status"]["task_id"]["value"] == "known"
        assert update["update"]["status"]["state"] == "TASK_RUNNING"


async def test_row_20_teardown_kills_everything(small: Cluster) -> None:
    async with Driver(small.master_flag) as driver:
        await driver.launch(command("doomed", "sleep 4242"))
        await driver.status("doomed", "TASK_RUNNING")
        await driver.client.teardown()
        await driver.event("DISCONNECTED")
        [framework] = (await small.state())["completed_frameworks"]
        assert [(task["id"], task["state"]) for task in framework["completed_tasks"]] == [("doomed", "TASK_KILLED")]

        async def gone() -> bool:
            return not (await get_json(f"{small.agents[0].url}/state"))["frameworks"]

        await eventually(gone, what="the agent forgets the framework")
    async with Driver(small.master_flag) as other:
        offer = await other.offer()
        assert next(r for r in offer["resources"] if r["name"] == "cpus")["scalar"]["value"] == 4.0


async def test_a_launch_that_cannot_work(small: Cluster) -> None:
    async with Driver(small.master_flag) as driver:
        missing = {"value": "true", "uris": [{"value": "/nowhere/at/all"}]}
        stranger = {"value": "true", "user": "nobody-of-that-name"}
        await driver.launch(
            command("unfetched", "true") | {"command": missing}, command("stranger", "true") | {"command": stranger}
        )
        for task_id, words in (("unfetched", "/nowhere/at/all"), ("stranger", "nobody-of-that-name")):
            status = await driver.status(task_id, "TASK_FAILED")
            assert status["reason"] == "REASON_CONTAINER_LAUNCH_FAILED"
            assert words in status["message"]


async def test_fetched_files_and_environment(small: Cluster) -> None:
    script = small.supervisor.directory / "script"
    script.write_text('#!/bin/sh\ntest "$GREETING" = hi && test -n "$MESOS_SANDBOX" && test "$0" = ./script\n')
    async with Driver(small.master_flag) as driver:
        info = {
            "value": "./script",
            "uris": [{"value": str(script), "executable": True}],
            "environment": {"variables": [{"name": "GREETING", "value": "hi"}]},
        }
        await driver.launch(command("fetched", "") | {"command": info})
        await driver.status("fetched", "TASK_FINISHED", "TASK_FAILED")
        assert driver.statuses("fetched")[-1]["message"] == "Command exited with status 0"
