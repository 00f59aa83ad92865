"""Removing what ended executors left on the disk: after ``gc_delay``, sooner the fuller the disk is."""

from __future__ import annotations

import asyncio
import logging
import os
import shutil
import time
from pathlib import Path

from k8slab.mesos.agent.agent import Agent
from k8slab.mesos.agent.paths import Paths, ended_runs, folders

log = logging.getLogger(__name__)


class SandboxCollector:
    """What is marked as ended is found on the disk each time: nothing needs to be remembered over a restart."""

    def __init__(self, paths: Paths, *, delay: float, headroom: float, interval: float) -> None:
        """``delay`` and ``interval`` in seconds; ``headroom`` is the share of the disk that should stay free."""
        self._paths = paths
        self._delay = delay
        self._headroom = headroom
        self._interval = interval

    async def run(self, agent: Agent) -> None:
        """For ever."""
        while True:
            await asyncio.sleep(self._interval)
            if agent.agent_id:
                runs = await asyncio.to_thread(self.sweep, agent.agent_id, now=time.time())
                for run in runs:
                    self.remove_empty(run, agent)

    def sweep(self, agent_id: str, *, now: float) -> list[Path]:
        """Remove what has been there long enough; returns the runs of this agent that went, by their meta folders."""
        allowed = self.allowed_age(self._used())
        gone = []
        for agent in folders(self._paths.meta / "slaves"):
            if agent.name != agent_id:
                self._remove_agent(agent, older_than=now - allowed)
                continue
            for ended, run in ended_runs(agent, "frameworks/*/executors/*/runs/*"):
                if ended <= now - allowed:
                    self._remove_run(agent, run)
                    gone.append(run)
        return gone

    def remove_empty(self, run: Path, agent: Agent) -> None:
        """Of an executor and a framework without runs nothing stays, unless they live.

        In the event loop, and so never while one of them is being made.
        """
        executor, framework = run.parent.parent, run.parents[3]
        known = agent.frameworks.get(framework.name)
        for home in (self._paths.meta, self._paths.work_dir):
            place = home / executor.relative_to(self._paths.meta)
            if (known is None or executor.name not in known.executors) and not list(folders(place / "runs")):
                shutil.rmtree(place, ignore_errors=True)
            if known is None and not list(folders(place.parent)):
                shutil.rmtree(place.parent.parent, ignore_errors=True)

    def allowed_age(self, used: float) -> float:
        """Seconds, at a disk of which the share ``used`` is taken."""
        return self._delay * max(0.0, 1.0 - self._headroom - used)

    def _used(self) -> float:
        disk = os.statvfs(self._paths.work_dir)
        return 1.0 - disk.f_bavail / disk.f_blocks if disk.f_blocks else 0.0

    def _remove_agent(self, agent: Path, *, older_than: float) -> None:
        """One that worked here under another id."""
        if agent.is_dir() and agent.stat().st_mtime <= older_than:
            log.info("what agent %s left is removed", agent.name)
            for folder in (self._paths.work_dir / "slaves" / agent.name, agent):
                shutil.rmtree(folder, ignore_errors=True)

    def _remove_run(self, agent: Path, run: Path) -> None:
        sandbox = self._paths.work_dir / "slaves" / agent.name / run.relative_to(agent)
        log.info("sandbox %s is removed", sandbox)
        # The sandbox first: while the mark is there, what is left of it will be found again.
        for folder in (sandbox, run):
            shutil.rmtree(folder, ignore_errors=True)
