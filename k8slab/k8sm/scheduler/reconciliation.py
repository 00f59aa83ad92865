"""Asking Mesos for the truth: after each subscription, at intervals, and soon after a launch that nobody confirmed."""

from __future__ import annotations

import asyncio
import logging
import random
from typing import Final

from k8slab.k8sm.scheduler.rounds import Rounds
from k8slab.k8sm.scheduler.tasks import LAUNCHING, Task, TaskRegistry
from k8slab.mesos.client.scheduler import SchedulerClient

log = logging.getLogger(__name__)

# A master that was elected a moment ago knows no agent yet: until they had time to return, "unknown" means nothing.
SETTLE: Final = 90.0


class Reconciler:
    """``interval``: seconds between two rounds over all tasks; ``implicit_delay``: from a subscription to the question
    for all that Mesos knows; ``cooldown`` and ``longest_delay``: between questions for what is not confirmed."""

    def __init__(
        self,
        client: SchedulerClient,
        tasks: TaskRegistry,
        *,
        interval: float,
        implicit_delay: float,
        cooldown: float,
        longest_delay: float,
    ) -> None:
        self._client = client
        self._tasks = tasks
        self._interval = interval
        self._implicit_delay = implicit_delay
        self._cooldown = cooldown
        self._longest_delay = longest_delay
        self._rounds = Rounds(client, self._due, self._pause)
        self._subscribed_at: float | None = None
        self._implicit_at: float | None = None
        self._explicit_at: float | None = None
        self._full_at = 0.0
        self._delay = self._cooldown

    @property
    def settled(self) -> bool:
        """Whether the master has led for long enough to know all agents that there are."""
        return self._subscribed_at is not None and _now() - self._subscribed_at > SETTLE

    def subscribed(self) -> None:
        now = _now()
        self._subscribed_at = now
        self._implicit_at = now + self._implicit_delay
        self._full_at = now
        self._explicit_at = now
        self._delay = self._cooldown
        self._rounds.wake()

    def disconnected(self) -> None:
        self._subscribed_at = self._implicit_at = self._explicit_at = None

    def soon(self) -> None:
        """There are tasks that Mesos has not confirmed: ask for them, a little later and with growing patience."""
        self._delay = self._cooldown
        at = _now() + self._delay
        if self._explicit_at is None or at < self._explicit_at:
            self._explicit_at = at
            self._rounds.wake()

    def everything_soon(self) -> None:
        """Ask for all that Mesos knows, a little later."""
        at = _now() + self._implicit_delay
        if self._subscribed_at is not None and (self._implicit_at is None or at < self._implicit_at):
            self._implicit_at = at
            self._rounds.wake()

    def all_now(self, *, explicit: bool) -> None:
        """Ask for all tasks known here, or for all that Mesos knows."""
        if self._subscribed_at is None:
            return
        if explicit:
            self._full_at = _now()
        else:
            self._implicit_at = _now()
        self._rounds.wake()

    async def run(self) -> None:
        await self._rounds.run()

    async def _due(self) -> None:
        """Ask what is due to be asked; what was ordered anew meanwhile, or could not be asked, stays due."""
        now = _now()
        if self._implicit_at is not None and now >= self._implicit_at:
            implicit_at = self._implicit_at
            await self._client.reconcile(())
            if self._implicit_at == implicit_at:
                self._implicit_at = None
        if self._subscribed_at is not None and now >= (asked_at := self._full_at):
            if asked := [(task.id, task.agent or None) for task in self._tasks if self._is_told(task, now)]:
                await self._client.reconcile(asked)
            if self._full_at == asked_at:
                self._full_at = now + self._interval * random.uniform(0.95, 1.05)
        elif self._explicit_at is not None and now >= self._explicit_at and (asked := self._unconfirmed(now)):
            await self._client.reconcile(asked)
        if self._explicit_at is not None and now >= self._explicit_at:
            self._explicit_at = now + self._delay if self._any_unconfirmed() else None
            self._delay = min(self._delay * 2, self._longest_delay)

    def _is_told(self, task: Task, now: float) -> bool:
        """Whether its launch must have reached the master: of one on its way it would say that there is no such task,
        and the pod would be launched twice."""
        return task.state != LAUNCHING or now - task.changed >= self._cooldown

    def _unconfirmed(self, now: float) -> list[tuple[str, str | None]]:
        return [
            (task.id, task.agent or None)
            for task in self._tasks
            if not task.confirmed and now - task.changed >= self._cooldown
        ]

    def _any_unconfirmed(self) -> bool:
        return any(not task.confirmed for task in self._tasks)

    def _pause(self) -> float | None:
        if self._subscribed_at is None:
            return None
        times = [self._full_at, *(at for at in (self._implicit_at, self._explicit_at) if at is not None)]
        return max(0.05, min(times) - _now())


def _now() -> float:
    return asyncio.get_running_loop().time()
