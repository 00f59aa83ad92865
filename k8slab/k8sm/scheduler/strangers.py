"""Tasks that are in no books and whose pods the watch has not told of: the API is asked whose they are, once for all
that are waiting for the answer. After a fail-over a reconciliation may tell of thousands in one breath."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from k8slab.k8sm.scheduler.pods import PodStore
from k8slab.k8sm.scheduler.reconciliation import Reconciler
from k8slab.k8sm.scheduler.rounds import Rounds
from k8slab.kube.client import ApiError, ApiUnavailable
from k8slab.mesos.client.scheduler import SchedulerClient

log = logging.getLogger(__name__)

Status = Mapping[str, Any]
# A status, and the pod whose annotations speak of its task as the API has it, if any; may raise MesosError.
Judge = Callable[[Status, Mapping[str, Any] | None], Awaitable[None]]


class Strangers:
    def __init__(self, client: SchedulerClient, pods: PodStore, reconciler: Reconciler, judge: Judge) -> None:
        self._pods = pods
        self._reconciler = reconciler
        self._judge = judge
        self._waiting: dict[str, Status] = {}
        self._rounds = Rounds(client, self._ask, lambda: None)

    def ask(self, status: Status) -> None:
        self._waiting[status["task_id"]["value"]] = status
        self._rounds.wake()

    def forget(self, task: str) -> None:
        """There is news of it: what was heard before counts no more."""
        self._waiting.pop(task, None)

    def clear(self) -> None:
        """Mesos will tell of all tasks again."""
        self._waiting.clear()

    async def run(self) -> None:
        await self._rounds.run()

    async def _ask(self) -> None:
        # Those that come meanwhile need a list that is younger than they are.
        asked = dict(self._waiting)
        if not asked:
            return
        try:
            owners = await self._pods.fresh_by_task()
        except (ApiError, ApiUnavailable) as trouble:
            log.warning("whose %d tasks are will be seen later: %s", len(asked), trouble)
            self._waiting.clear()
            self._reconciler.everything_soon()
            return
        for task, status in asked.items():
            if self._waiting.get(task) is status:
                await self._judge(status, owners.get(task))
                self.forget(task)
