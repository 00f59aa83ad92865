"""The example frameworks, run as a person runs them."""

from __future__ import annotations

import asyncio
import signal
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.daemons.mesos.cluster import Cluster, Driver, command, eventually, get_json

BATCH = Path(__file__).parents[3] / "examples" / "batch" / "batch.py"


async def batch(cluster: Cluster, *words: str) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        *(sys.executable, str(BATCH), "--master", cluster.master_flag, *words),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )


@pytest.mark.parametrize(("line", "code"), [("test -n $JOB", 0), ("test $JOB != 3", 1)])
async def test_a_batch_runs_to_its_end(small: Cluster, line: str, code: int) -> None:
    process = await batch(small, "--jobs", "8", "--cpus", "0.5", line)
    said, _ = await asyncio.wait_for(process.communicate(), 60)
    assert process.returncode == code, said.decode()
    assert said.count(b"TASK_FINISHED") == 8 - code

    async def gone() -> list[dict[str, Any]]:
        return list((await small.state())["completed_frameworks"])

    [framework] = await eventually(gone, what="the framework is torn down")
    assert (framework["name"], framework["role"]) == ("batch", "batch")
    assert len(framework["completed_tasks"]) == 8


async def test_a_batch_leaves_room_for_others_and_ends_when_told(small: Cluster) -> None:
    async def running() -> int:
        frameworks = (await get_json(f"{small.masters[0].url}/frameworks"))["frameworks"]
        tasks = [task for framework in frameworks if framework["name"] == "batch" for task in framework["tasks"]]
        return sum(task["state"] == "TASK_RUNNING" for task in tasks)

    process = await batch(small, "--jobs", "1000", "--cpus", "2", "--mem", "2048", "sleep 2")
    await eventually(lambda: running(), what="jobs on the whole agent")
    async with Driver(small.master_flag, name="late") as late:
        # Its share is nothing, the batch's everything: the next job that ends makes room for it.
        await late.launch(command("mine", "sleep 1000", cpus=1.0))
        await late.status("mine", "TASK_RUNNING")
        process.send_signal(signal.SIGINT)
        said, _ = await asyncio.wait_for(process.communicate(), 30)
        assert process.returncode == 130, said.decode()
        [framework] = (await small.state())["frameworks"]
        assert framework["name"] == "late"
        assert {status["state"] for status in late.statuses("mine")} == {"TASK_STARTING", "TASK_RUNNING"}
