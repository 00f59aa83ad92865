"""Killing the tasks of pods that were deleted, again and again until they are gone."""

from __future__ import annotations

import asyncio
import logging
from typing import Final

from k8slab.k8sm.scheduler import tasks as registry
from k8slab.k8sm.scheduler.pods import PodStore
from k8slab.k8sm.scheduler.tasks import TaskRegistry
from k8slab.mesos.client import MesosError
from k8slab.mesos.client.scheduler import SchedulerClient

log = logging.getLogger(__name__)

KILL_AGAIN: Final = 15.0


class Killer:
    def __init__(self, client: SchedulerClient, pods: PodStore, tasks: TaskRegistry) -> None:
        self._client = client
        self._pods = pods
        self._tasks = tasks
        self._wake = asyncio.Event()

    def wake(self) -> None:
        """A pod with a task was deleted, or a task that was to be killed can be."""
        self._wake.set()

    async def run(self) -> None:
        while True:
            self._wake.clear()
            if self._client.subscribed:
                try:
                    await self._kill_deleted()
                except MesosError as error:
                    log.warning("kills not told: %s", error)
            try:
                await asyncio.wait_for(self._wake.wait(), self._pause())
            except TimeoutError:
                continue

    async def _kill_deleted(self) -> None:
        now = _now()
        for task in self._tasks:
            if task.killed_at is not None and now - task.killed_at < KILL_AGAIN:
                continue
            pod = self._pods.by_uid(task.uid)
            if pod is not None and not registry.is_deleted(pod):
                continue
            if pod is None and not self._pods.is_complete:
                continue
            if pod is not None and task.state == registry.LAUNCHING:
                # Launched for the sake of its end: a kill that overtakes the launch would leave its containers alone.
                continue
            grace = 0.0 if pod is None else float(pod["metadata"].get("deletionGracePeriodSeconds") or 0)
            self._tasks.killing(task.id, now)
            log.info("pod %s is deleted: killing task %s", task.pod, task.id)
            await self._client.kill(task.id, task.agent or None, grace_seconds=grace)

    def _pause(self) -> float | None:
        times = [task.killed_at + KILL_AGAIN for task in self._tasks if task.killed_at is not None]
        return max(0.05, min(times) - _now()) if times else None


def _now() -> float:
    return asyncio.get_running_loop().time()
