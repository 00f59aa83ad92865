"""`km teardown`: frameworks that nobody comes back for end with their executors, and nobody else's do."""

from __future__ import annotations

import pytest

from tests.daemons.mesos.cluster import Cluster, Driver, command, get_json
from tests.daemons.processes import Supervisor

# Ignores the signal that ends it politely, for as long as an executor is given.
STUBBORN = "trap '' TERM; while :; do sleep 0.2; done"


@pytest.fixture
def mesos(supervisor: Supervisor) -> Cluster:
    """One master and one agent."""
    made = Cluster(supervisor)
    made.master("--allocation_interval=200ms")
    made.agent("--executor_shutdown_grace_period=2secs")
    return made


async def teardown(mesos: Cluster, *flags: str) -> int:
    """The exit code."""
    program = mesos.supervisor.km("teardown", *flags)
    program.start(wait=False)
    return await program.exited(40)


async def frameworks_of_agent(mesos: Cluster) -> list[str]:
    return [one["name"] for one in (await get_json(f"{mesos.agents[0].url}/state"))["frameworks"]]


async def test_it_ends_those_of_a_name_and_a_host_with_their_executors(mesos: Cluster) -> None:
    for name, host in (("kubernetes", "here"), ("kubernetes", "there"), ("batch", "here")):
        async with Driver(mesos.master_flag, name=name, hostname=host, failover_timeout=3600.0) as driver:
            await driver.launch(command(f"{name}-{host}", STUBBORN), refuse_seconds=0)
            await driver.status(f"{name}-{host}", "TASK_RUNNING")
    assert sorted(await frameworks_of_agent(mesos)) == ["batch", "kubernetes", "kubernetes"]
    flags = [f"--mesos-master={mesos.master_flag}", "--framework-name=kubernetes"]
    assert await teardown(mesos, *flags, "--framework-hostname=here") == 0
    # When it has ended the executors have, whatever they thought of it.
    assert sorted(await frameworks_of_agent(mesos)) == ["batch", "kubernetes"]
    state = await mesos.state()
    assert [(one["name"], one["hostname"]) for one in state["completed_frameworks"]] == [("kubernetes", "here")]
    assert sorted((one["name"], one["hostname"]) for one in state["frameworks"]) == [
        ("batch", "here"),
        ("kubernetes", "there"),
    ]
    assert await teardown(mesos, *flags) == 0
    assert await frameworks_of_agent(mesos) == ["batch"]
    assert await teardown(mesos, *flags) == 0, "there is nothing left, and nothing wrong with that"


async def test_what_cannot_be_asked_is_an_error(mesos: Cluster) -> None:
    assert await teardown(mesos, "--mesos-master=zk://", "--framework-name=kubernetes") == 2
    assert await teardown(mesos, f"--mesos-master={mesos.master_flag}") == 2
