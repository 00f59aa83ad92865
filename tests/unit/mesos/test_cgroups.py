"""What is written into the files of version 2, whose hierarchy not every machine has; version 1 is tested for real."""

from __future__ import annotations

import signal
import subprocess
from pathlib import Path

import pytest

from k8slab.mesos.agent.cgroups import Cgroups, CgroupsUnavailable

MIB = 1 << 20


@pytest.fixture
def mount(tmp_path: Path) -> Path:
    (tmp_path / "cgroup.controllers").write_text("cpuset cpu memory pids\n")
    (tmp_path / "cgroup.subtree_control").write_text("cpu\n")
    (tmp_path / "mesos").mkdir()
    (tmp_path / "mesos" / "cgroup.subtree_control").write_text("\n")
    return tmp_path


def test_limits_of_version_2(mount: Path) -> None:
    cgroups = Cgroups(cpu=True, memory=True, quota=True, mount=mount)
    assert cgroups.version == 2
    assert (mount / "cgroup.subtree_control").read_text() == "+memory"
    [joined] = cgroups.create("c")
    home = mount / "mesos" / "c"
    assert joined == home / "cgroup.procs"
    (home / "memory.max").write_text("max\n")
    cgroups.limit("c", cpus=1.5, memory=64 * MIB)
    found = {name: (home / name).read_text() for name in ("cpu.weight", "cpu.max", "memory.max", "memory.low")}
    assert found == {
        "cpu.weight": "150",
        "cpu.max": "150000 100000",
        "memory.max": str(64 * MIB),
        "memory.low": str(64 * MIB),
    }
    cgroups.limit("c", cpus=0.0, memory=40 * MIB)
    assert (home / "memory.max").read_text() == str(64 * MIB), "never below what was promised"
    assert (home / "cpu.weight").read_text() == "1"
    assert cgroups.containers() == {"c"}


def test_usage_and_want_of_memory_in_version_2(mount: Path) -> None:
    cgroups = Cgroups(cpu=True, memory=True, mount=mount)
    cgroups.create("c")
    home = mount / "mesos" / "c"
    (home / "cpu.stat").write_text("usage_usec 3000000\nuser_usec 2000000\nsystem_usec 1000000\n")
    (home / "memory.stat").write_text("anon 4096\nfile 8192\n")
    (home / "memory.max").write_text("max\n")
    (home / "memory.events").write_text("low 0\nmax 7\noom 0\noom_kill 0\n")
    usage = cgroups.usage("c")
    assert (usage.cpu_user, usage.cpu_system, usage.memory, usage.memory_limit) == (2.0, 1.0, 4096, None)
    assert not cgroups.out_of_memory("c")
    (home / "memory.events").write_text("low 0\nmax 9\noom 1\noom_kill 1\n")
    assert cgroups.out_of_memory("c")


def test_version_2_kills_all_of_a_container_at_once_where_it_can(mount: Path) -> None:
    cgroups = Cgroups(cpu=True, memory=True, mount=mount)
    home = mount / "mesos" / "c"
    cgroups.create("c")
    (home / "cgroup.kill").write_text("")
    cgroups.kill("c")
    assert (home / "cgroup.kill").read_text() == "1"
    (home / "cgroup.kill").unlink()
    with subprocess.Popen(["sleep", "1000"]) as member:
        (home / "cgroup.procs").write_text(f"{member.pid}\n")
        cgroups.kill("c")
        assert member.wait(timeout=10.0) == -signal.SIGKILL
    assert not (home / "cgroup.kill").exists()


def test_a_controller_that_is_not_to_be_had(mount: Path) -> None:
    (mount / "cgroup.controllers").write_text("cpu pids\n")
    with pytest.raises(CgroupsUnavailable, match="controllers memory are not available"):
        Cgroups(cpu=True, memory=True, mount=mount)
