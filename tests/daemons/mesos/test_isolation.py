"""Control groups: limits that are enforced, told and removed again; and what is said where they cannot be had."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from k8slab.mesos.agent.cgroups import MOUNT, Cgroups, CgroupsUnavailable
from tests.daemons.mesos.cluster import Cluster, Driver, command, eventually, get_json

MIB = 1 << 20
ESCAPE = """
import os, time
if os.fork():
    os._exit(0)
os.setsid()
open("pid", "w").write(str(os.getpid()))
time.sleep(1000)
"""


ROOT = f"k8slab-test-{os.getpid()}"


@pytest.fixture
async def cgroups() -> AsyncIterator[Cgroups]:
    try:
        cgroups = Cgroups(cpu=True, memory=True, root=ROOT)
    except CgroupsUnavailable as error:
        pytest.skip(f"no control groups here: {error}")
    yield cgroups
    for container in cgroups.containers():
        cgroups.kill(container)
    for home in [MOUNT / ROOT] if cgroups.version == 2 else list(MOUNT.glob(f"*/{ROOT}")):
        for folder in [*(entry for entry in home.iterdir() if entry.is_dir()), home]:
            await eventually(partial(_removed, folder), timeout=10.0, interval=0.02, what=f"{folder} is removed")


async def _removed(folder: Path) -> bool:
    """What was killed keeps its group until it has died."""
    return _remove(folder)


def _remove(folder: Path) -> bool:
    with contextlib.suppress(OSError):
        folder.rmdir()
    return not folder.exists()


@pytest.fixture
def isolated(cgroups: Cgroups, master: Cluster) -> Cluster:
    master.agent("--isolation=cgroups/cpu,cgroups/mem", f"--cgroups_root={ROOT}", "--cgroups_enable_cfs=true")
    return master


def eats(megabytes: int) -> str:
    return f"exec {sys.executable} -c 'import time; eaten = bytearray({megabytes} << 20); time.sleep(1000)'"


def read(cgroups: Cgroups, container: str, version_1: str, version_2: str) -> str:
    path = MOUNT / ROOT / container / version_2
    if cgroups.version == 1:
        path = MOUNT / version_1.partition(".")[0] / ROOT / container / version_1
    return path.read_text().strip()


async def test_limits_follow_the_tasks_and_are_gone_after_them(isolated: Cluster, cgroups: Cgroups) -> None:
    async with Driver(isolated.master_flag) as driver:
        await driver.launch(command("held", "sleep 1000", cpus=0.4, mem=64))
        running = await driver.status("held", "TASK_RUNNING")
        container = running["container_status"]["container_id"]["value"]
        # 0.1 cpus and 32 MB are the built-in executor's own, and another 32 MB what it needs beyond that.
        assert int(read(cgroups, container, "memory.limit_in_bytes", "memory.max")) == 128 * MIB
        if cgroups.version == 1:
            assert read(cgroups, container, "cpu.shares", "") == "512"
            assert read(cgroups, container, "cpu.cfs_quota_us", "") == "50000"
        else:
            assert read(cgroups, container, "", "cpu.max") == "50000 100000"
        members = (
            read(cgroups, container, "memory.procs", "cgroup.procs")
            if cgroups.version == 2
            else (MOUNT / "memory" / ROOT / container / "cgroup.procs").read_text()
        )
        assert str(running["container_status"]["executor_pid"]) in members.split()
        [shown] = await get_json(f"{isolated.agents[0].url}/monitor/statistics")
        assert shown["statistics"]["mem_limit_bytes"] == 128 * MIB
        assert 5 * MIB < shown["statistics"]["mem_rss_bytes"] < 128 * MIB
        await driver.client.kill("held")
        await driver.status("held", "TASK_KILLED")

        async def gone() -> bool:
            return container not in cgroups.containers()

        await eventually(gone, what="the groups are removed")


async def test_a_task_that_takes_too_much_memory(isolated: Cluster) -> None:
    async with Driver(isolated.master_flag) as driver:
        await driver.launch(command("greedy", eats(400), mem=64), command("modest", eats(40), mem=64))
        status = await driver.status("greedy", "TASK_FAILED", "TASK_FINISHED")
        assert status["source"] == "SOURCE_AGENT"
        assert status["reason"] == "REASON_CONTAINER_LIMITATION_MEMORY"
        assert status["message"].startswith("Memory limit exceeded: Requested: 128MB")
        [exceeded] = status["limitation"]["resources"]
        assert (exceeded["name"], exceeded["type"], exceeded["role"]) == ("mem", "SCALAR", "*")
        assert 100 < exceeded["scalar"]["value"] <= 128
        await driver.status("modest", "TASK_RUNNING")
        assert driver.statuses("modest")[-1]["state"] == "TASK_RUNNING"


async def test_what_left_its_session_ends_with_its_container(isolated: Cluster) -> None:
    async with Driver(isolated.master_flag) as driver:
        program = isolated.supervisor.directory / "escape.py"
        program.write_text(ESCAPE)
        await driver.launch(command("escaped", f"{sys.executable} {program}; until test -s pid; do sleep 0.05; done"))
        await driver.status("escaped", "TASK_FINISHED")
        [path] = isolated.agents[0].work_dir.glob("slaves/latest/frameworks/*/executors/escaped/runs/latest/pid")
        pid = int(path.read_text())

        async def gone() -> bool:
            return not _alive(pid)

        await eventually(gone, what="the daemon is ended")


async def test_groups_of_a_dead_executor_are_removed_by_the_next_agent(isolated: Cluster, cgroups: Cgroups) -> None:
    async with Driver(isolated.master_flag) as driver:
        await driver.launch(command("doomed", "sleep 1000"), command("kept", "sleep 1000"))
        containers: dict[str, Any] = {}
        for task_id in ("doomed", "kept"):
            containers[task_id] = (await driver.status(task_id, "TASK_RUNNING"))["container_status"]
        agent = isolated.agents[0]
        agent.daemon.kill()
        os.kill(containers["doomed"]["executor_pid"], 9)
        await agent.daemon.start_async()
        await driver.status("doomed", "TASK_FAILED")

        async def only_kept() -> bool:
            ids = {task_id: shown["container_id"]["value"] for task_id, shown in containers.items()}
            return ids["doomed"] not in cgroups.containers() and ids["kept"] in cgroups.containers()

        await eventually(only_kept, what="the groups of the dead are removed")
        await driver.client.kill("kept")
        await driver.status("kept", "TASK_KILLED")


@pytest.mark.parametrize(
    ("flag", "words"),
    [("posix/cpu,cgroups/cpu", "cannot both isolate"), ("namespaces/pid", "unknown or unsupported isolator")],
)
async def test_isolation_that_cannot_be_is_refused_at_the_start(master: Cluster, flag: str, words: str) -> None:
    node = master.agent(f"--isolation={flag}", wait=False)
    assert await node.daemon.exited() != 0
    assert words in node.daemon.tail()


def test_groups_that_cannot_be_written_are_refused_with_the_reason(tmp_path: Path) -> None:
    with pytest.raises(CgroupsUnavailable, match="no hierarchy of controller"):
        Cgroups(cpu=True, memory=True, mount=tmp_path)
    (tmp_path / "cgroup.controllers").write_text("cpu\n")
    with pytest.raises(CgroupsUnavailable, match="controllers memory are not available"):
        Cgroups(cpu=True, memory=True, mount=tmp_path)


def _alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False
