"""Tasks from ACCEPT to their last acknowledged update."""

from __future__ import annotations

from tests.daemons.mesos.cluster import Cluster, Driver, command


async def test_command_task_runs_to_its_end(small: Cluster) -> None:
    async with Driver(small.master_flag) as driver:
        await driver.launch(command("one", "echo hello; sleep 0.2"))
        await driver.status("one", "TASK_FINISHED")
        states = [status["state"] for status in driver.statuses("one")]
        assert states == ["TASK_STARTING", "TASK_RUNNING", "TASK_FINISHED"]
        assert all(status["source"] == "SOURCE_EXECUTOR" and status["uuid"] for status in driver.statuses("one"))
        assert driver.statuses("one")[-1]["message"] == "Command exited with status 0"
