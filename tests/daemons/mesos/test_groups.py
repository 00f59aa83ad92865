"""Task groups: the default executor, its nested sandboxes, and how tasks end together."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator

import pytest

from tests.daemons.mesos.cluster import command
from tests.daemons.mesos.link_master import LinkMaster, default_executor
from tests.daemons.processes import Supervisor, eventually


@pytest.fixture
async def master(supervisor: Supervisor) -> AsyncIterator[LinkMaster]:
    async with LinkMaster(supervisor) as master:
        await master.start_agent()
        yield master


async def test_tasks_of_a_group_run_together_in_sandboxes_of_their_own(master: LinkMaster) -> None:
    await master.run_group(
        command("one", 'echo first; pwd; test "$MESOS_SANDBOX" = "$PWD"'),
        command("two", 'echo second; test "$GREETING" = hi')
        | {
            "command": {
                "value": 'test "$GREETING" = hi',
                "environment": {"variables": [{"name": "GREETING", "value": "hi"}]},
            }
        },
    )
    for task_id in ("one", "two"):
        status = await master.status(task_id, "TASK_FINISHED", "TASK_FAILED")
        assert (status["state"], status["message"]) == ("TASK_FINISHED", "Command exited with status 0")
        states = [status["state"] for status in master.statuses(task_id)]
        assert states == ["TASK_STARTING", "TASK_RUNNING", "TASK_FINISHED"]
    assert master.agent is not None
    sandbox = master.agent.work_dir / "slaves/S0/frameworks/F/executors/groups/runs/latest"
    nested = (sandbox / "tasks" / "one").resolve()
    assert (nested / "stdout").read_text().splitlines() == ["first", str(nested)]
    container = master.statuses("one")[0]["container_status"]["container_id"]
    assert container == {"value": nested.name, "parent": {"value": sandbox.resolve().name}}
    ended = await master.call("EXECUTOR_EXITED")
    assert (ended["executor_id"], ended["status"]) == ({"value": "groups"}, 0)


@pytest.mark.parametrize("end", ["exit", "kill"])
async def test_one_that_ends_badly_takes_its_group_along_and_no_other(master: LinkMaster, end: str) -> None:
    await master.run_group(
        command("bad", "until test -e ../../go; do sleep 0.05; done; exit 7"), command("sibling", "sleep 1000")
    )
    await master.run_group(command("other", "sleep 1000"))
    for task_id in ("bad", "sibling", "other"):
        await master.status(task_id, "TASK_RUNNING")
    if end == "kill":
        await master.kill("bad")
        await master.status("bad", "TASK_KILLED")
    else:
        assert master.agent is not None
        (master.agent.work_dir / "slaves/S0/frameworks/F/executors/groups/runs/latest/go").touch()
        assert (await master.status("bad", "TASK_FAILED"))["message"] == "Command exited with status 7"
    killed = await master.status("sibling", "TASK_KILLED")
    assert killed["message"] == "Command terminated with signal Terminated"
    assert [status["state"] for status in master.statuses("other")] == ["TASK_STARTING", "TASK_RUNNING"]
    await master.kill("other")
    await master.status("other", "TASK_KILLED")
    await master.call("EXECUTOR_EXITED")


async def test_one_that_finishes_leaves_its_group_alone(master: LinkMaster) -> None:
    await master.run_group(command("brief", "true"), command("steady", "sleep 1000"))
    await master.status("brief", "TASK_FINISHED")
    await master.status("steady", "TASK_RUNNING")
    await master.run_group(command("late", "true"))
    await master.status("late", "TASK_FINISHED")
    assert master.statuses("steady")[-1]["state"] == "TASK_RUNNING"


async def test_a_group_killed_before_its_executor_was_there_never_starts(master: LinkMaster) -> None:
    await master.run_group(command("a", "true"), command("b", "true"))
    await master.kill("a")
    for task_id in ("a", "b"):
        status = await master.status(task_id, "TASK_KILLED")
        assert status["reason"] == "REASON_TASK_KILLED_DURING_LAUNCH"
        assert len(master.statuses(task_id)) == 1


async def test_what_cannot_be_fetched_ends_the_group(master: LinkMaster) -> None:
    missing = {"value": "true", "uris": [{"value": "/nowhere/at/all"}]}
    await master.run_group(command("unfetched", "") | {"command": missing}, command("beside", "sleep 1000"))
    status = await master.status("unfetched", "TASK_FAILED")
    assert status["reason"] == "REASON_CONTAINER_LAUNCH_FAILED"
    assert "/nowhere/at/all" in status["message"]
    await master.status("beside", "TASK_KILLED")


async def test_tasks_run_as_their_users(master: LinkMaster) -> None:
    script = {"value": "id -un > who; test $(stat -c %U .) = nobody", "user": "nobody"}
    await master.run_group(command("theirs", "") | {"command": script}, executor=default_executor("users"))
    assert (await master.status("theirs", "TASK_FINISHED", "TASK_FAILED"))["state"] == "TASK_FINISHED"


async def test_groups_survive_an_agent_restart(master: LinkMaster) -> None:
    await master.run_group(command("kept", "sleep 1000"), command("too", "sleep 1000"))
    for task_id in ("kept", "too"):
        await master.status(task_id, "TASK_RUNNING")
    assert master.agent is not None
    count = len(master.calls)
    master.agent.daemon.kill()
    await master.agent.daemon.start_async()
    again = await master.call("REREGISTER", after=count)
    assert sorted(task["task_id"]["value"] for task in again["tasks"]) == ["kept", "too"]
    assert {task["executor_id"] for task in again["tasks"]} == {"groups"}
    assert [item["executor_info"]["type"] for item in again["executors"]] == ["DEFAULT"]
    await master.kill("kept", kill_policy={"grace_period": {"nanoseconds": 1_000_000_000}})
    for task_id in ("kept", "too"):
        await master.status(task_id, "TASK_KILLED")
    told = {status["state"] for task_id in ("kept", "too") for status in master.statuses(task_id)}
    assert told == {"TASK_STARTING", "TASK_RUNNING", "TASK_KILLED"}


async def test_a_shut_down_executor_kills_its_tasks_in_time(master: LinkMaster) -> None:
    stubborn = "trap '' TERM; while :; do sleep 0.1; done"
    executor = default_executor(shutdown_grace_period={"nanoseconds": 2_000_000_000})
    await master.run_group(command("stubborn", stubborn), command("gentle", "sleep 1000"), executor=executor)
    for task_id in ("stubborn", "gentle"):
        await master.status(task_id, "TASK_RUNNING")
    asked = time.monotonic()
    await master.send("SHUTDOWN_EXECUTOR", framework_id={"value": "F"}, executor_id={"value": "groups"})
    for task_id in ("stubborn", "gentle"):
        status = await master.status(task_id, "TASK_KILLED")
        assert status["source"] == "SOURCE_EXECUTOR"
    assert 1.0 < time.monotonic() - asked < 2.5
    await eventually(lambda: _ended(master), what="the executor ended")


async def _ended(master: LinkMaster) -> bool:
    return any(call["type"] == "EXECUTOR_EXITED" for call in master.calls)
