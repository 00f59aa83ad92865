"""Control groups of containers: ``<controller>/mesos/<container>`` in version 1, ``mesos/<container>`` in version 2.

Below the mount is what this machine may use: all there is on a host of its own, a node's subtree inside a node.
"""

from __future__ import annotations

import contextlib
import logging
import os
import signal
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

log = logging.getLogger(__name__)

MOUNT = Path("/sys/fs/cgroup")
CFS_PERIOD_US = 100_000
SMALLEST_QUOTA_US = 1_000
SHARES_PER_CPU = 1024
SMALLEST_SHARES = 2
WEIGHT_PER_CPU = 100
MIB = 1 << 20
SMALLEST_MEMORY = 32 * MIB


class CgroupsUnavailable(Exception):
    """Why containers cannot have control groups here, in one sentence."""


@dataclass(frozen=True)
class Usage:
    """Seconds and bytes; what no controller tells is None."""

    cpu_user: float | None = None
    cpu_system: float | None = None
    memory: int | None = None
    memory_limit: int | None = None


class Cgroups:
    """``cpu`` and ``memory``: which of the two are limited. ``quota``: whether cpus are a ceiling, not only a share."""

    def __init__(
        self, *, cpu: bool, memory: bool, quota: bool = False, mount: Path = MOUNT, root: str = "mesos"
    ) -> None:
        """Raises CgroupsUnavailable."""
        self._quota = quota
        self._cpu, self._memory = cpu, memory
        self.version = 2 if (mount / "cgroup.controllers").exists() else 1
        wanted = [name for name, on in (("cpu", cpu), ("memory", memory)) if on]
        try:
            self._homes = self._open_2(mount, root, wanted) if self.version == 2 else self._open_1(mount, root, wanted)
        except OSError as error:
            raise CgroupsUnavailable(f"{error.filename or mount}: {error.strerror or error}") from error

    @staticmethod
    def _open_1(mount: Path, root: str, wanted: list[str]) -> dict[str, Path]:
        homes = {}
        for controller in wanted:
            mounted = mount / controller
            if not (mounted / "cgroup.procs").exists():
                raise CgroupsUnavailable(f"no hierarchy of controller {controller} is mounted at {mounted}")
            home = mounted / root
            home.mkdir(exist_ok=True)
            if not os.access(home / "cgroup.procs", os.W_OK):
                raise CgroupsUnavailable(f"{home} cannot be written")
            homes[controller] = home
            if controller == "memory":
                with contextlib.suppress(OSError):
                    # Kernels that know no other way refuse to be told so.
                    (home / "memory.use_hierarchy").write_text("1")
        accounting = mount / "cpuacct"
        if "cpu" in wanted and (accounting / "cgroup.procs").exists():
            homes["cpuacct"] = accounting / root
            homes["cpuacct"].mkdir(exist_ok=True)
        return homes

    @staticmethod
    def _open_2(mount: Path, root: str, wanted: list[str]) -> dict[str, Path]:
        missing = set(wanted) - set((mount / "cgroup.controllers").read_text().split())
        if missing:
            raise CgroupsUnavailable(f"controllers {', '.join(sorted(missing))} are not available in {mount}")
        home = mount / root
        home.mkdir(exist_ok=True)
        for parent in (mount, home):
            given = (parent / "cgroup.subtree_control").read_text().split()
            for controller in wanted:
                if controller not in given:
                    (parent / "cgroup.subtree_control").write_text(f"+{controller}")
        return dict.fromkeys(wanted, home)

    def create(self, container_id: str) -> list[Path]:
        """Make its groups; the files into which a process writes ``0`` to belong to them. Raises OSError."""
        folders = dict.fromkeys(home / container_id for home in self._homes.values())
        for folder in folders:
            folder.mkdir(exist_ok=True)
        return [folder / "cgroup.procs" for folder in folders]

    def limit(self, container_id: str, *, cpus: float, memory: int) -> None:
        """``memory`` in bytes. A limit below what is in use is not enforced by killing: it is only ever raised."""
        if self._cpu and (folder := self._homes["cpu"] / container_id).is_dir():
            self._limit_cpu(folder, cpus)
        if self._memory and (folder := self._homes["memory"] / container_id).is_dir():
            self._limit_memory(folder, max(memory, SMALLEST_MEMORY))

    def _limit_cpu(self, folder: Path, cpus: float) -> None:
        quota = max(SMALLEST_QUOTA_US, int(cpus * CFS_PERIOD_US))
        if self.version == 2:
            (folder / "cpu.weight").write_text(str(min(10_000, max(1, int(cpus * WEIGHT_PER_CPU)))))
            if self._quota:
                (folder / "cpu.max").write_text(f"{quota} {CFS_PERIOD_US}")
            return
        (folder / "cpu.shares").write_text(str(max(SMALLEST_SHARES, int(cpus * SHARES_PER_CPU))))
        if self._quota:
            (folder / "cpu.cfs_period_us").write_text(str(CFS_PERIOD_US))
            (folder / "cpu.cfs_quota_us").write_text(str(quota))

    def _limit_memory(self, folder: Path, memory: int) -> None:
        soft, hard = (
            ("memory.low", "memory.max")
            if self.version == 2
            else (
                "memory.soft_limit_in_bytes",
                "memory.limit_in_bytes",
            )
        )
        with contextlib.suppress(OSError):
            (folder / soft).write_text(str(memory))
        present = _number(folder / hard)
        if present is None or present > 1 << 62 or memory > present:
            (folder / hard).write_text(str(memory))

    def out_of_memory(self, container_id: str) -> bool:
        """Whether the kernel ended something of it for want of memory."""
        if not self._memory:
            return False
        name = "memory.events" if self.version == 2 else "memory.oom_control"
        counts = _table(self._homes["memory"] / container_id / name)
        return counts.get("oom_kill", 0) > 0

    def peak(self, container_id: str) -> int | None:
        """The most memory it ever used, in bytes."""
        if not self._memory:
            return None
        name = "memory.peak" if self.version == 2 else "memory.max_usage_in_bytes"
        return _number(self._homes["memory"] / container_id / name)

    def usage(self, container_id: str) -> Usage:
        return self._usage_2(container_id) if self.version == 2 else self._usage_1(container_id)

    def _usage_1(self, container_id: str) -> Usage:
        user = system = memory = limit = None
        if (home := self._homes.get("cpuacct")) is not None:
            ticks, times = os.sysconf("SC_CLK_TCK"), _table(home / container_id / "cpuacct.stat")
            user, system = times.get("user", 0) / ticks, times.get("system", 0) / ticks
        if self._memory:
            folder = self._homes["memory"] / container_id
            statistics = _table(folder / "memory.stat")
            memory = statistics.get("total_rss", statistics.get("rss", 0))
            limit = _number(folder / "memory.limit_in_bytes")
        return Usage(user, system, memory, limit)

    def _usage_2(self, container_id: str) -> Usage:
        user = system = memory = limit = None
        if self._cpu:
            times = _table(self._homes["cpu"] / container_id / "cpu.stat")
            user, system = times.get("user_usec", 0) / 1e6, times.get("system_usec", 0) / 1e6
        if self._memory:
            folder = self._homes["memory"] / container_id
            memory = _table(folder / "memory.stat").get("anon", 0)
            limit = _number(folder / "memory.max")
        return Usage(user, system, memory, limit)

    def containers(self) -> set[str]:
        """Ids of all that have groups here."""
        return {entry.name for home in self._homes.values() for entry in home.iterdir() if entry.is_dir()}

    def kill(self, container_id: str) -> None:
        """Also those of its processes that left their session."""
        if self.version == 2 and self._kill_2(container_id):
            return
        for pid in self._members(container_id):
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)

    def _kill_2(self, container_id: str) -> bool:
        """All at once, so that nothing forks away; False on kernels before 5.14, which cannot."""
        try:
            for folder in {home / container_id for home in self._homes.values()}:
                descriptor = os.open(folder / "cgroup.kill", os.O_WRONLY)
                with os.fdopen(descriptor, "w") as file:
                    file.write("1")
        except OSError:
            return False
        return True

    def _members(self, container_id: str) -> set[int]:
        pids: set[int] = set()
        for home in self._homes.values():
            with contextlib.suppress(OSError):
                pids |= {int(line) for line in (home / container_id / "cgroup.procs").read_text().split()}
        return pids

    def remove(self, container_id: str) -> bool:
        """Whether nothing of it is left; what still dies keeps its group a moment."""
        gone = True
        for folder in dict.fromkeys(home / container_id for home in self._homes.values()):
            try:
                folder.rmdir()
            except FileNotFoundError:
                continue
            except OSError:
                gone = False
        return gone


def _number(path: Path) -> int | None:
    """None for "max", and for a file that is not there."""
    try:
        return int(path.read_text())
    except (OSError, ValueError):
        return None


def _table(path: Path) -> Mapping[str, int]:
    """Lines of a name and a number; empty when the file is not there."""
    try:
        lines = [line.split() for line in path.read_text().splitlines()]
    except OSError:
        return {}
    return {words[0]: int(words[1]) for words in lines if len(words) == 2 and words[1].isdigit()}
