"""Task groups: the default executor, its nested sandboxes, and how tasks end together."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator

import pytest

from tests.daemons.mesos.cluster import command
from tests.daemons.mesos.link_master import LinkMaster, default_executor
from tests.daemons.processes import Supervisor, eventually


@pytest.fixture
async def link(supervisor: Supervisor) -> AsyncIterator[LinkMaster]:
    async with LinkMaster(supervisor) as link:
        await link.start_agent()
        yield link


async def test_tasks_of_a_group_run_together_in_sandboxes_of_their_own(link: LinkMaster) -> None:
    await link.run_group(
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
        status = await link.status(task_id, "TASK_FINISHED", "TASK_FAILED")
        assert (status["state"], status["message"]) == ("TASK_FINISHED", "Command exited with status 0")
        states = [status["state"] for status in link.statuses(task_id)]
        assert states == ["TASK_STARTING", "TASK_RUNNING", "TASK_FINISHED"]
    assert link.agent is not None
    sandbox = link.agent.work_dir / "slaves/S0/frameworks/F/executors/groups/runs/latest"
    nested = (sandbox / "tasks" / "one").resolve()
    assert (nested / "stdout").read_text().splitlines() == ["first", str(nested)]
    container = link.statuses("one")[0]["container_status"]["container_id"]
    assert container == {"value": nested.name, "parent": {"value": sandbox.resolve().name}}
    ended = await link.call("EXECUTOR_EXITED")
    assert (ended["executor_id"], ended["status"]) == ({"value": "groups"}, 0)


@pytest.mark.parametrize("end", ["exit", "kill"])
async def test_one_that_ends_badly_takes_its_group_along_and_no_other(link: LinkMaster, end: str) -> None:
    await link.run_group(
        command("bad", "until test -e ../../go; do sleep 0.05; done; exit 7"), command("sibling", "sleep 1000")
    )
    await link.run_group(command("other", "sleep 1000"))
    for task_id in ("bad", "sibling", "other"):
        await link.status(task_id, "TASK_RUNNING")
    if end == "kill":
        await link.kill("bad")
        await link.status("bad", "TASK_KILLED")
    else:
        assert link.agent is not None
        (link.agent.work_dir / "slaves/S0/frameworks/F/executors/groups/runs/latest/go").touch()
        assert (await link.status("bad", "TASK_FAILED"))["message"] == "Command exited with status 7"
    killed = await link.status("sibling", "TASK_KILLED")
    assert killed["message"] == "Command terminated with signal Terminated"
    assert [status["state"] for status in link.statuses("other")] == ["TASK_STARTING", "TASK_RUNNING"]
    await link.kill("other")
    await link.status("other", "TASK_KILLED")
    await link.call("EXECUTOR_EXITED")


async def test_one_that_finishes_leaves_its_group_alone(link: LinkMaster) -> None:
    await link.run_group(command("brief", "true"), command("steady", "sleep 1000"))
    await link.status("brief", "TASK_FINISHED")
    await link.status("steady", "TASK_RUNNING")
    await link.run_group(command("late", "true"))
    await link.status("late", "TASK_FINISHED")
    assert link.statuses("steady")[-1]["state"] == "TASK_RUNNING"


async def test_a_group_killed_before_its_executor_was_there_never_starts(link: LinkMaster) -> None:
    await link.run_group(command("a", "true"), command("b", "true"))
    await link.kill("a")
    for task_id in ("a", "b"):
        status = await link.status(task_id, "TASK_KILLED")
        assert status["reason"] == "REASON_TASK_KILLED_DURING_LAUNCH"
        assert len(link.statuses(task_id)) == 1


async def test_what_cannot_be_fetched_ends_the_group(link: LinkMaster) -> None:
    missing = {"value": "true", "uris": [{"value": "/nowhere/at/all"}]}
    await link.run_group(command("unfetched", "") | {"command": missing}, command("beside", "sleep 1000"))
    status = await link.status("unfetched", "TASK_FAILED")
    assert status["reason"] == "REASON_CONTAINER_LAUNCH_FAILED"
    assert "/nowhere/at/all" in status["message"]
    await link.status("beside", "TASK_KILLED")


async def test_tasks_run_as_their_users(link: LinkMaster) -> None:
    script = {"value": "id -un > who; test $(stat -c %U .) = nobody", "user": "nobody"}
    await link.run_group(command("theirs", "") | {"command": script}, executor=default_executor("users"))
    assert (await link.status("theirs", "TASK_FINISHED", "TASK_FAILED"))["state"] == "TASK_FINISHED"


async def test_a_user_cannot_lead_root_astray(link: LinkMaster) -> None:
    """The executor's folder is passed through by root for every further task: no task may put anything there."""
    assert link.agent is not None
    link.framework["user"] = "nobody"
    precious = link.agent.work_dir / "precious"
    precious.mkdir()
    planting = f"""
        rm -rf ../../tasks && ln -s {precious} ../../tasks && exit 1
        mv ../../containers ../../moved && ln -s {precious} ../../containers && exit 2
        ln -s {precious} ../../planted && exit 3
        test $(id -un) = nobody
    """
    await link.run_group(command("steady", "sleep 1000"))
    await link.run_group(command("planter", planting))
    ended = await link.status("planter", "TASK_FINISHED", "TASK_FAILED")
    assert ended["message"] == "Command exited with status 0"
    await link.run_group(command("after", "touch mine"))
    await link.status("after", "TASK_FINISHED")
    assert list(precious.iterdir()) == []
    assert precious.stat().st_uid == 0


async def test_a_task_that_cannot_be_started_leaves_the_others_alone(link: LinkMaster) -> None:
    impossible = {"value": "true", "environment": {"variables": [{"name": "a=b", "value": ""}]}}
    await link.run_group(command("steady", "sleep 1000"))
    await link.status("steady", "TASK_RUNNING")
    await link.run_group(command("impossible", "") | {"command": impossible})
    status = await link.status("impossible", "TASK_FAILED")
    assert (status["source"], status["reason"]) == ("SOURCE_EXECUTOR", "REASON_CONTAINER_LAUNCH_FAILED")
    await link.run_group(command("later", "true"))
    await link.status("later", "TASK_FINISHED")
    assert link.statuses("steady")[-1]["state"] == "TASK_RUNNING"


async def test_a_task_may_have_the_name_of_one_that_has_ended(link: LinkMaster) -> None:
    await link.run_group(command("steady", "sleep 1000"))
    await link.run_group(command("again", "exit 3"))
    await link.status("again", "TASK_FAILED")
    await link.run_group(command("again", "echo second"))
    await link.status("again", "TASK_FINISHED")
    assert link.agent is not None
    sandbox = link.agent.work_dir / "slaves/S0/frameworks/F/executors/groups/runs/latest"
    assert (sandbox / "tasks" / "again" / "stdout").read_text() == "second\n"


async def test_groups_survive_an_agent_restart(link: LinkMaster) -> None:
    await link.run_group(command("kept", "sleep 1000"), command("too", "sleep 1000"))
    for task_id in ("kept", "too"):
        await link.status(task_id, "TASK_RUNNING")
    assert link.agent is not None
    count = len(link.calls)
    link.agent.daemon.kill()
    await link.agent.daemon.start_async()
    again = await link.call("REREGISTER", after=count)
    assert sorted(task["task_id"]["value"] for task in again["tasks"]) == ["kept", "too"]
    assert {task["executor_id"] for task in again["tasks"]} == {"groups"}
    assert [item["executor_info"]["type"] for item in again["executors"]] == ["DEFAULT"]
    await link.kill("kept", kill_policy={"grace_period": {"nanoseconds": 1_000_000_000}})
    for task_id in ("kept", "too"):
        await link.status(task_id, "TASK_KILLED")
    told = {status["state"] for task_id in ("kept", "too") for status in link.statuses(task_id)}
    assert told == {"TASK_STARTING", "TASK_RUNNING", "TASK_KILLED"}


async def test_a_shut_down_executor_kills_its_tasks_in_time(link: LinkMaster) -> None:
    stubborn = "trap '' TERM; while :; do sleep 0.1; done"
    executor = default_executor(shutdown_grace_period={"nanoseconds": 2_000_000_000})
    await link.run_group(command("stubborn", stubborn), command("gentle", "sleep 1000"), executor=executor)
    for task_id in ("stubborn", "gentle"):
        await link.status(task_id, "TASK_RUNNING")
    asked = time.monotonic()
    await link.send("SHUTDOWN_EXECUTOR", framework_id={"value": "F"}, executor_id={"value": "groups"})
    for task_id in ("stubborn", "gentle"):
        status = await link.status(task_id, "TASK_KILLED")
        assert status["source"] == "SOURCE_EXECUTOR"
    assert 1.0 < time.monotonic() - asked < 2.5
    await eventually(lambda: _ended(link), what="the executor ended")


async def _ended(link: LinkMaster) -> bool:
    return any(call["type"] == "EXECUTOR_EXITED" for call in link.calls)
