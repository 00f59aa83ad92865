"""Removing what ended executors left on the disk: after ``gc_delay``, sooner the fuller the disk is."""

from __future__ import annotations

import asyncio
import logging
import os
import shutil
import time
from pathlib import Path

from k8slab.mesos.agent.agent import Agent
from k8slab.mesos.agent.paths import Paths, folders

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
                await asyncio.to_thread(self.sweep, agent.agent_id, now=time.time())

    def sweep(self, agent_id: str, *, now: float) -> None:
        allowed = self.allowed_age(self._used())
        for agent in folders(self._paths.meta / "slaves"):
            if agent.name != agent_id:
                self._remove_agent(agent, older_than=now - allowed)
                continue
            for run in agent.glob("frameworks/*/executors/*/runs/*/executor.sentinel"):
                if run.parent.name != "latest" and run.stat().st_mtime <= now - allowed:
                    self._remove_run(agent, run.parent)

    def allowed_age(self, used: float) -> float:
        """Seconds, at a disk of which the share ``used`` is taken."""
        return self._delay * max(0.0, 1.0 - self._headroom - used)

    def _used(self) -> float:
        disk = os.statvfs(self._paths.work_dir)
        return 1.0 - disk.f_bavail / disk.f_blocks if disk.f_blocks else 0.0

    def _remove_agent(self, agent: Path, *, older_than: float) -> None:
        """One that worked here under another id."""
        if agent.stat().st_mtime <= older_than:
            log.info("what agent %s left is removed", agent.name)
            for folder in (self._paths.work_dir / "slaves" / agent.name, agent):
                shutil.rmtree(folder, ignore_errors=True)

    def _remove_run(self, agent: Path, run: Path) -> None:
        sandbox = self._paths.work_dir / "slaves" / agent.name / run.relative_to(agent)
        log.info("sandbox %s is removed", sandbox)
        for folder in (sandbox, run):
            shutil.rmtree(folder, ignore_errors=True)
            if not list(folders(folder.parent)):
                # runs/<container> was the last of executors/<executor>, and perhaps of frameworks/<framework>.
                executor = folder.parent.parent
                shutil.rmtree(executor, ignore_errors=True)
                if not list(folders(executor.parent)):
                    shutil.rmtree(executor.parent.parent, ignore_errors=True)
