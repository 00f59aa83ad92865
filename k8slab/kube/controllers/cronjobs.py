"""Makes jobs by the clock, and takes away the elder ones when they have ended."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from k8slab.kube import clock
from k8slab.kube.client import ApiError, KubeClient, Object
from k8slab.kube.controllers.cron_schedule import MOST_MISSED, Schedule, UnknownZone
from k8slab.kube.controllers.informers import SharedInformers
from k8slab.kube.controllers.node_lifecycle import condition
from k8slab.kube.controllers.owned import Owned, controller_reference, is_controlled_by
from k8slab.kube.controllers.owned_pods import is_of_a_namespace_that_ends, reason_of
from k8slab.kube.controllers.statuses import write_status
from k8slab.kube.controllers.workqueue import WorkQueue
from k8slab.kube.events import NORMAL, WARNING, EventRecorder, reference
from k8slab.kube.informer import key_of

COMPONENT: Final = "cronjob-controller"
WORKERS: Final = 5
SCHEDULED: Final = "batch.kubernetes.io/cronjob-scheduled-timestamp"
LOOK_AGAIN: Final = 1.0
# Timers may fire a little early.
LATE: Final = 0.1
ENDS: Final = ("Complete", "Failed")


class CronJobController:
    """``now``: what time it is, in UTC."""

    def __init__(
        self,
        client: KubeClient,
        informers: SharedInformers,
        jobs: Owned,
        recorder: EventRecorder,
        *,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._client = client
        self._recorder = recorder
        self._now = now
        self._jobs = jobs
        self._owners = informers.of("cronjobs")
        self._written: dict[str, str] = {}
        self._queue = WorkQueue("cronjobs")
        self._owners.subscribe(self._changed)
        jobs.report_to("cronjobs", self._queue)

    async def run(self) -> None:
        await asyncio.gather(self._owners.synced(), self._jobs.informer.synced())
        await self._queue.run(self._sync, workers=WORKERS)

    def _changed(self, kind: str, owner: Object, old: Object | None) -> None:
        if kind == "DELETED":
            self._written.pop(owner["metadata"]["uid"], None)
        self._queue.add(key_of(owner))

    async def _sync(self, key: str) -> None:
        owner = self._owners.cache.get(key)
        if owner is None or owner["metadata"].get("deletionTimestamp"):
            return
        if not self._owners.has_seen(self._written.get(owner["metadata"]["uid"], "0")):
            self._queue.add_after(key, LOOK_AGAIN)
            return
        jobs = self._jobs.of(owner)
        status = self._looked_after(owner, jobs)
        await self._thin_out(owner, jobs)
        if not owner["spec"].get("suspend"):
            try:
                await self._by_the_clock(owner, jobs, status)
            except UnknownZone as trouble:
                self._recorder.say(
                    owner, WARNING, "UnknownTimeZone", f"invalid timeZone: {trouble}", component=COMPONENT
                )
            except ValueError as trouble:
                self._recorder.say(
                    owner, WARNING, "UnparseableSchedule", f"unparseable schedule: {trouble}", component=COMPONENT
                )
        await self._tell(owner, status)

    def _looked_after(self, owner: Object, jobs: Iterable[Object]) -> Object:
        """The status without the jobs that are not active any more."""
        status = {**(owner.get("status") or {})}
        active, by_uid = [], {one["metadata"]["uid"]: one for one in jobs}
        for one in status.get("active") or ():
            job = by_uid.pop(one.get("uid") or "", None)
            name = one.get("name") or ""
            if job is None:
                self._recorder.say(owner, NORMAL, "MissingJob", f"Active job went missing: {name}", component=COMPONENT)
            elif end := end_of(job):
                said = f"Saw completed job: {name}, condition: {end}"
                self._recorder.say(owner, NORMAL, "SawCompletedJob", said, component=COMPONENT)
            else:
                active.append(one)
        for job in by_uid.values():
            if not end_of(job):
                said = f"Saw a job that the controller did not create or forgot: {job['metadata']['name']}"
                self._recorder.say(owner, WARNING, "UnexpectedJob", said, component=COMPONENT)
        ends = [one["status"]["completionTime"] for one in jobs if end_of(one) == "Complete"]
        if ends:
            status["lastSuccessfulTime"] = max([*ends, status.get("lastSuccessfulTime") or ""])
        return _with_active(status, active)

    async def _thin_out(self, owner: Object, jobs: Iterable[Object]) -> None:
        limits = {"Complete": "successfulJobsHistoryLimit", "Failed": "failedJobsHistoryLimit"}
        for end, limit in limits.items():
            kept = owner["spec"].get(limit)
            over = sorted((one for one in jobs if end_of(one) == end), key=_began)
            if kept is not None:
                for job in over[: max(len(over) - kept, 0)]:
                    await self._delete(owner, job)

    async def _by_the_clock(self, owner: Object, jobs: Iterable[Object], status: Object) -> None:
        """Raises ValueError for a schedule that cannot be understood."""
        spec, key, now = owner["spec"], key_of(owner), self._now()
        schedule = Schedule(spec["schedule"], spec.get("timeZone") or "")
        since = clock.parse(status.get("lastScheduleTime") or owner["metadata"]["creationTimestamp"])
        patience = spec.get("startingDeadlineSeconds")
        if patience is not None:
            since = max(since, now - timedelta(seconds=patience))
        missed = schedule.missed(since, now)
        if missed.count > MOST_MISSED:
            why = "Set or decrease .spec.startingDeadlineSeconds or check clock skew"
            self._recorder.say(
                owner, WARNING, "TooManyMissedTimes", f"too many missed start times. {why}", component=COMPONENT
            )
        if missed.last is not None:
            await self._start(owner, jobs, status, missed.last)
        upcoming = schedule.upcoming(since, now)
        if upcoming is not None:
            self._queue.add_after(key, max((upcoming - self._now()).total_seconds(), 0.0) + LATE)

    async def _start(self, owner: Object, jobs: Iterable[Object], status: Object, due: datetime) -> None:
        active = status.get("active") or []
        policy = owner["spec"].get("concurrencyPolicy")
        if active and policy == "Forbid":
            why = "Not starting job because prior execution is running and concurrency policy is Forbid"
            self._recorder.say(owner, NORMAL, "JobAlreadyActive", why, component=COMPONENT)
            return
        if policy == "Replace":
            running = {one["uid"] for one in active}
            for one in jobs:
                if one["metadata"]["uid"] in running:
                    await self._delete(owner, one)
            active = []
        job = await self._create(owner, job_of(owner, due))
        if job is not None:
            active = [*active, reference(job)]
        status["lastScheduleTime"] = clock.rfc3339(due)
        _with_active(status, active)

    async def _create(self, owner: Object, wanted: Object) -> Object | None:
        """None when there is one of this name that has ended, or is not ours."""
        namespace, name = owner["metadata"]["namespace"], wanted["metadata"]["name"]
        try:
            job = await self._client.create("jobs", wanted, namespace)
        except ApiError as error:
            if error.is_already_exists:
                # Made before, by a controller that could not tell any more; or by somebody else.
                there = await self._client.get("jobs", name, namespace)
                return there if is_controlled_by(there, owner) and not end_of(there) else None
            if not is_of_a_namespace_that_ends(error):
                self._recorder.say(
                    owner, WARNING, "FailedCreate", f"Error creating job: {reason_of(error)}", component=COMPONENT
                )
            raise
        self._recorder.say(owner, NORMAL, "SuccessfulCreate", f"Created job {name}", component=COMPONENT)
        return job

    async def _delete(self, owner: Object, job: Object) -> None:
        meta = job["metadata"]
        try:
            await self._client.delete(
                "jobs", meta["name"], meta["namespace"], uid=meta["uid"], propagation="Background"
            )
        except ApiError as error:
            if error.is_not_found or error.is_conflict:
                return
            self._recorder.say(owner, WARNING, "FailedDelete", f"Deleted job: {reason_of(error)}", component=COMPONENT)
            raise
        self._recorder.say(owner, NORMAL, "SuccessfulDelete", f"Deleted job {meta['name']}", component=COMPONENT)

    async def _tell(self, owner: Object, status: Object) -> None:
        if (told := await write_status(self._client, "cronjobs", owner, status)) is not None:
            self._written[owner["metadata"]["uid"]] = told["metadata"]["resourceVersion"]


def job_of(owner: Object, due: datetime) -> Object:
    """The job for a moment, named by its minute: it cannot be made twice."""
    template: dict[str, Any] = owner["spec"]["jobTemplate"]
    meta = template.get("metadata") or {}
    return {
        "metadata": {
            "name": f"{owner['metadata']['name']}-{int(due.timestamp()) // 60}",
            "labels": meta.get("labels") or {},
            "annotations": {**(meta.get("annotations") or {}), SCHEDULED: due.isoformat().replace("+00:00", "Z")},
            "ownerReferences": [controller_reference(owner)],
        },
        "spec": template["spec"],
    }


def end_of(job: Object) -> str:
    """ "Complete" or "Failed", "" as long as it runs."""
    return next((kind for kind in ENDS if condition(job, kind).get("status") == "True"), "")


def _began(job: Object) -> str:
    return str((job.get("status") or {}).get("startTime") or job["metadata"]["creationTimestamp"])


def _with_active(status: Object, active: list[Any]) -> Object:
    status.pop("active", None)
    if active:
        status["active"] = active
    return status
