"""What keeps containers within their resources: control groups when asked for, nothing but counting otherwise."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from k8slab.mesos.agent.cgroups import MIB, Cgroups, CgroupsUnavailable
from k8slab.mesos.agent.model import Executor
from k8slab.mesos.agent.processes import ProcessTable

log = logging.getLogger(__name__)

KNOWN = frozenset(("posix/cpu", "posix/mem", "filesystem/posix", "cgroups/cpu", "cgroups/mem"))
# The built-in executors are accounted 32 MB as in the original, but are Python and need twice as much: a task must not
# die of what is not its own.
BUILTIN_ALLOWANCE = 32 * MIB
REMOVAL_SECONDS = 10.0
REMOVAL_INTERVAL_SECONDS = 0.05


@dataclass(frozen=True)
class Overrun:
    """``resources``: as JSON, what had come to be used of what there was too little of."""

    message: str
    resources: list[dict[str, Any]]


class Isolation:
    """``cgroups`` is None with the posix isolators, which enforce nothing."""

    def __init__(self, cgroups: Cgroups | None = None) -> None:
        self._cgroups = cgroups
        self._removals: set[asyncio.Task[None]] = set()

    @classmethod
    def parse(cls, flag: str, *, quota: bool, root: str) -> Isolation:
        """From ``--isolation``. Raises ValueError for what is unknown, or asked for and not to be had here."""
        names = {name.strip() for name in flag.split(",") if name.strip()}
        if unknown := names - KNOWN:
            raise ValueError(f"unknown or unsupported isolator: {', '.join(sorted(unknown))}")
        if {"posix/cpu", "cgroups/cpu"} <= names or {"posix/mem", "cgroups/mem"} <= names:
            raise ValueError("posix and cgroups cannot both isolate the same resource")
        cpu, memory = "cgroups/cpu" in names, "cgroups/mem" in names
        if not (cpu or memory):
            log.info("isolation %s: cpus and memory of tasks are counted, not enforced", flag)
            return cls()
        try:
            return cls(Cgroups(cpu=cpu, memory=memory, quota=quota, root=root))
        except CgroupsUnavailable as error:
            raise ValueError(f"control groups cannot be used here ({error}); use posix/cpu,posix/mem") from error

    def admit(self, executor: Executor) -> list[Path]:
        """Groups for a new container; the files a process joins them through. Raises OSError."""
        if self._cgroups is None:
            return []
        joins = self._cgroups.create(executor.container_id)
        self.resize(executor)
        return joins

    def resize(self, executor: Executor) -> None:
        """Its tasks have changed."""
        if self._cgroups is None:
            return
        allocated = executor.allocated
        memory = int(allocated.scalar("mem") * MIB) + (BUILTIN_ALLOWANCE if executor.is_builtin else 0)
        try:
            self._cgroups.limit(executor.container_id, cpus=allocated.scalar("cpus"), memory=memory)
        except OSError as error:
            log.warning("%s keeps its limits: %s", executor.label, error)

    def overrun(self, executor: Executor) -> Overrun | None:
        """What to say when the kernel ended something of it for want of memory."""
        if self._cgroups is None or not self._cgroups.out_of_memory(executor.container_id):
            return None
        usage, peak = self._cgroups.usage(executor.container_id), self._cgroups.peak(executor.container_id)
        text = f"Memory limit exceeded: Requested: {_megabytes(usage.memory_limit)}"
        if peak is not None:
            text = f"{text} Maximum Used: {_megabytes(peak)}"
        used = peak or usage.memory_limit or 0
        return Overrun(text, [{"name": "mem", "type": "SCALAR", "scalar": {"value": used // MIB}, "role": "*"}])

    def kill(self, executor: Executor) -> None:
        if self._cgroups is not None:
            self._cgroups.kill(executor.container_id)

    def release(self, container_id: str) -> None:
        """It has ended: kill what is left of it, remove its groups."""
        if self._cgroups is None:
            return
        removal = asyncio.create_task(self._remove(self._cgroups, container_id))
        self._removals.add(removal)
        removal.add_done_callback(self._removals.discard)

    async def _remove(self, cgroups: Cgroups, container_id: str) -> None:
        deadline = time.monotonic() + REMOVAL_SECONDS
        while True:
            cgroups.kill(container_id)
            if cgroups.remove(container_id):
                return
            if time.monotonic() > deadline:
                log.warning("groups of container %s could not be removed", container_id)
                return
            await asyncio.sleep(REMOVAL_INTERVAL_SECONDS)

    def release_unknown(self, known: Iterable[str]) -> None:
        """What an agent before left behind and nobody knows any more."""
        if self._cgroups is not None:
            for container_id in self._cgroups.containers() - set(known):
                self.release(container_id)

    def statistics(self, executor: Executor, table: ProcessTable) -> dict[str, Any]:
        """As ``/monitor/statistics`` shows them: seconds of processors, bytes of memory."""
        allocated = executor.allocated
        shown: dict[str, Any] = {
            "timestamp": time.time(),
            "cpus_limit": allocated.scalar("cpus"),
            "mem_limit_bytes": int(allocated.scalar("mem") * MIB),
        }
        if executor.process is None or executor.state == "terminated":
            return shown
        members = table.tree(executor.process.pid)
        used = table.used_by(members)
        shown |= {
            "processes": len(members),
            "threads": used.threads,
            "cpus_user_time_secs": used.cpu_user,
            "cpus_system_time_secs": used.cpu_system,
            "mem_rss_bytes": used.memory,
        }
        if self._cgroups is not None:
            usage = self._cgroups.usage(executor.container_id)
            better = {
                "cpus_user_time_secs": usage.cpu_user,
                "cpus_system_time_secs": usage.cpu_system,
                "mem_rss_bytes": usage.memory,
                "mem_limit_bytes": usage.memory_limit,
            }
            shown |= {key: value for key, value in better.items() if value is not None}
        return shown


def _megabytes(size: int | None) -> str:
    return "unlimited" if size is None else f"{size // MIB}MB"
