"""Executors that other flags made: each is asked to end and to leave its pods, which the next executor takes over.

One agent runs one executor. An executor's description cannot be changed while it lives, so after a change of flags the
old one has to go before anything new can be launched there. It ends without touching its pods; Mesos then says that
their tasks are over, and each is launched again on its own node.
"""

from __future__ import annotations

import asyncio
import logging
from typing import Final

from k8slab.k8sm import mapping
from k8slab.k8sm.scheduler.tasks import TaskRegistry
from k8slab.mesos.client.scheduler import SchedulerClient

log = logging.getLogger(__name__)

ASK_AGAIN: Final = 5.0
# An executor that does not know the question is shut down once it has no pods that would end with it.
PATIENCE: Final = 30.0


class Replacer:
    def __init__(self, client: SchedulerClient, tasks: TaskRegistry) -> None:
        self._client = client
        self._tasks = tasks
        self._first_asked: dict[tuple[str, str], float] = {}
        self._asked: dict[tuple[str, str], float] = {}

    async def replace(self, agent: str, host: str, executor: str) -> None:
        """Have an executor leave an agent. Raises MesosError."""
        now, key = asyncio.get_running_loop().time(), (agent, executor)
        if now - self._asked.get(key, float("-inf")) < ASK_AGAIN:
            return
        self._asked[key] = now
        since = self._first_asked.setdefault(key, now)
        is_idle = not any((task.agent, task.executor) == key for task in self._tasks)
        if is_idle and now - since > PATIENCE:
            log.warning("executor %s on %s does not leave: shutting it down", executor, host)
            await self._client.shutdown(agent, executor)
        else:
            log.warning("executor %s on %s was made by other flags: it is asked to hand its pods over", executor, host)
            await self._client.message(agent, executor, mapping.HAND_OVER)
