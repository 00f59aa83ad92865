"""Killing the tasks of pods that were deleted, again and again until they are gone."""

from __future__ import annotations

import asyncio
import logging
from typing import Final

from k8slab.k8sm.scheduler import tasks as registry
from k8slab.k8sm.scheduler.pods import PodStore
from k8slab.k8sm.scheduler.rounds import Rounds
from k8slab.k8sm.scheduler.tasks import TaskRegistry
from k8slab.mesos.client.scheduler import SchedulerClient

log = logging.getLogger(__name__)

KILL_AGAIN: Final = 15.0


class Killer:
    def __init__(self, client: SchedulerClient, pods: PodStore, tasks: TaskRegistry) -> None:
        self._client = client
        self._pods = pods
        self._tasks = tasks
        self._uids: set[str] = set()
        self._rounds = Rounds(client, self._kill_deleted, self._pause)

    def consider(self, uid: str) -> None:
        """This pod is deleted, or gone, or may be, and has a task or will get one."""
        self._uids.add(uid)
        self._rounds.wake()

    def changed(self, uid: str) -> None:
        """A task is known to Mesos: if it is to be killed, it can be now."""
        if uid in self._uids:
            self._rounds.wake()

    def subscribed(self) -> None:
        """Whatever was deleted while Mesos was away is looked for."""
        self._uids.update(task.uid for task in self._tasks)
        self._rounds.wake()

    async def run(self) -> None:
        await self._rounds.run()

    async def _kill_deleted(self) -> None:
        now = _now()
        for uid in list(self._uids):
            task, pod = self._tasks.of_pod(uid), self._pods.by_uid(uid)
            if not (registry.is_deleted(pod) if pod is not None else task):
                self._uids.discard(uid)
                continue
            if task is None:
                continue
            if task.killed_at is not None and now - task.killed_at < KILL_AGAIN:
                continue
            if pod is None and not self._pods.is_complete:
                continue
            if pod is not None and task.state == registry.LAUNCHING:
                # Launched for the sake of its end: a kill that overtakes the launch would leave its containers alone.
                continue
            grace = 0.0 if pod is None else float(pod["metadata"].get("deletionGracePeriodSeconds") or 0)
            # Noted before it is told: one that cannot be told must not keep the others from being killed.
            self._tasks.killing(task.id, now)
            log.info("pod %s is deleted: killing task %s", task.pod, task.id)
            await self._client.kill(task.id, task.agent or None, grace_seconds=grace)

    def _pause(self) -> float | None:
        killed = (task.killed_at for uid in self._uids if (task := self._tasks.of_pod(uid)) is not None)
        times = [at + KILL_AGAIN for at in killed if at is not None]
        return max(0.05, min(times) - _now()) if times else None


def _now() -> float:
    return asyncio.get_running_loop().time()
