"""One task in the hands of a built-in executor: what it ends as, and what its checks may not do to it."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from k8slab.mesos.agent.payload import ProcessPayload
from k8slab.mesos.agent.task_run import TaskRun
from k8slab.mesos.client.errors import MesosError
from tests.daemons.processes import eventually

EXPIRED = "REASON_MAX_COMPLETION_TIME_REACHED"


class Told:
    """The agent's part: what it was told, and what it refuses."""

    def __init__(self, *, refuses: str = "") -> None:
        self.refuses = refuses
        self.updates: list[dict[str, Any]] = []
        self.running = asyncio.Event()

    async def __call__(self, task_id: str, state: str, **fields: Any) -> None:
        self.updates.append({"state": state, **fields})
        if state == "TASK_RUNNING":
            self.running.set()
        if self.refuses and fields.get("reason") == self.refuses:
            raise MesosError(400, "refused")

    @property
    def last(self) -> dict[str, Any]:
        return self.updates[-1]


def run(told: Told, directory: Path, line: str, **fields: Any) -> TaskRun:
    task = {"task_id": {"value": "t"}, **fields}
    environment = {"PATH": "/usr/bin:/bin"}
    return TaskRun(task, ProcessPayload({"value": line}, environment=environment, directory=directory), told)


def nanoseconds(seconds: float) -> dict[str, int]:
    return {"nanoseconds": int(seconds * 1e9)}


STUBBORN = "trap '' TERM; touch ready; while :; do sleep 0.05; done"


async def ready(directory: Path) -> None:
    await eventually(lambda: asyncio.to_thread((directory / "ready").exists), interval=0.01, what="the trap is set")


async def test_time_that_runs_out_after_a_kill_changes_nothing(tmp_path: Path) -> None:
    told = Told()
    task = run(told, tmp_path, STUBBORN, max_completion_time=nanoseconds(0.6))
    living = asyncio.create_task(task.run())
    await ready(tmp_path)
    await task.kill({"grace_period": nanoseconds(1.0)})
    await living
    assert (told.last["state"], told.last.get("reason")) == ("TASK_KILLED", None)


async def test_time_that_has_run_out_has_no_grace(tmp_path: Path) -> None:
    told = Told()
    policy = {"grace_period": nanoseconds(1000.0)}
    task = run(told, tmp_path, STUBBORN, max_completion_time=nanoseconds(0.3), kill_policy=policy)
    await asyncio.wait_for(task.run(), 10.0)
    assert (told.last["state"], told.last["reason"]) == ("TASK_FAILED", EXPIRED)


async def test_a_kill_after_the_time_has_run_out_changes_nothing(tmp_path: Path) -> None:
    told = Told()
    task = run(told, tmp_path, "sleep 1000", max_completion_time=nanoseconds(0.0))
    living = asyncio.create_task(task.run())
    await told.running.wait()
    await living
    await task.kill()
    assert (told.last["state"], told.last["reason"]) == ("TASK_FAILED", EXPIRED)


async def test_a_health_check_goes_on_when_the_agent_takes_no_news_of_it(tmp_path: Path) -> None:
    told = Told(refuses="REASON_TASK_HEALTH_CHECK_STATUS_UPDATED")
    check = {"type": "COMMAND", "command": {"value": "exit 1"}, "delay_seconds": 0.0, "interval_seconds": 0.01}
    health = {**check, "grace_period_seconds": 0.0, "consecutive_failures": 3}
    await asyncio.wait_for(run(told, tmp_path, "sleep 1000", health_check=health).run(), 10.0)
    assert (told.last["state"], told.last["healthy"]) == ("TASK_KILLED", False)


@pytest.mark.parametrize("name", ["a=b", "a\0b", ""])
async def test_a_variable_that_no_process_can_have_fails_the_task(tmp_path: Path, name: str) -> None:
    told = Told()
    command = {"value": "true", "environment": {"variables": [{"name": name, "value": "x\0"}]}}
    payload = ProcessPayload(command, environment={}, directory=tmp_path)
    await TaskRun({"task_id": {"value": "t"}}, payload, told).run()
    assert (told.last["state"], told.last["reason"]) == ("TASK_FAILED", "REASON_CONTAINER_LAUNCH_FAILED")
