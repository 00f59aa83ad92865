"""Deletes jobs that have ended for as long as their ttlSecondsAfterFinished says, and their pods with them."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Mapping
from typing import Any, Final

from k8slab.kube import clock
from k8slab.kube.client import ApiError, KubeClient, Object
from k8slab.kube.controllers.informers import SharedInformers
from k8slab.kube.controllers.workqueue import WorkQueue
from k8slab.kube.informer import key_of

log = logging.getLogger(__name__)

ENDS: Final = ("Complete", "Failed")


class JobTtl:
    def __init__(self, client: KubeClient, informers: SharedInformers) -> None:
        self._client = client
        self._jobs = informers.of("jobs")
        self._queue = WorkQueue("jobs that have ended")
        self._jobs.subscribe(self._changed)

    async def run(self) -> None:
        await self._jobs.synced()
        await self._queue.run(self._sync)

    def _changed(self, kind: str, job: Object, old: Object | None) -> None:
        if kind != "DELETED" and expires_at(job) != math.inf:
            self._queue.add(key_of(job))

    async def _sync(self, key: str) -> None:
        known = self._jobs.cache.get(key)
        if known is None or known["metadata"].get("deletionTimestamp") or (left := _left(known)) == math.inf:
            return
        if left > 0:
            self._queue.add_after(key, left)
            return
        meta = known["metadata"]
        try:
            # Asked of the server: the time to live may just have been changed.
            fresh = await self._client.get("jobs", meta["name"], meta["namespace"])
            if fresh["metadata"]["uid"] != meta["uid"] or _left(fresh) > 0:
                return
            log.info("job %s goes: it has ended long enough ago", key)
            await self._client.delete(
                "jobs", meta["name"], meta["namespace"], uid=meta["uid"], propagation="Foreground"
            )
        except ApiError as error:
            if not (error.is_not_found or error.is_conflict):
                raise


def expires_at(job: Mapping[str, Any]) -> float:
    """Seconds since the epoch; inf for a job that is not to go by itself, or has not ended."""
    seconds = job["spec"].get("ttlSecondsAfterFinished")
    conditions = (job.get("status") or {}).get("conditions") or ()
    ended = next((one for one in conditions if one["type"] in ENDS and one["status"] == "True"), None)
    if seconds is None or ended is None:
        return math.inf
    return clock.parse(ended["lastTransitionTime"]).timestamp() + float(seconds)


def _left(job: Mapping[str, Any]) -> float:
    return expires_at(job) - time.time()
