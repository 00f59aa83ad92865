"""Runs pods until enough of them have succeeded, or too many have failed, or it takes too long.

A job that is to end first says what it will be (FailureTarget, SuccessCriteriaMet); it is that (Failed, Complete) when
the last of its pods has ended and is counted.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Final

from k8slab.kube import clock
from k8slab.kube.client import ApiError, ApiUnavailable, KubeClient, Object
from k8slab.kube.controllers.informers import SharedInformers
from k8slab.kube.controllers.job_indexes import index_of, success_rule, written
from k8slab.kube.controllers.job_pods import TRACKED, Tally, ended_at, is_tracked, new_pods, restarts, tally
from k8slab.kube.controllers.node_lifecycle import condition
from k8slab.kube.controllers.owned import controller_of
from k8slab.kube.controllers.owned_pods import OwnedPods, is_ready, to_delete
from k8slab.kube.controllers.statuses import write_status
from k8slab.kube.controllers.workqueue import WorkQueue
from k8slab.kube.events import NORMAL, WARNING, EventRecorder
from k8slab.kube.informer import key_of

COMPONENT: Final = "job-controller"
WORKERS: Final = 5
MANAGER: Final = "kubernetes.io/job-controller"
# Pods made or counted in one go, before the job is looked at again.
BURST: Final = 500
# After a failure the next pod waits so long (seconds), twice as long after each more.
FIRST_BACKOFF: Final = 10.0
LONGEST_BACKOFF: Final = 600.0
LOOK_AGAIN: Final = 1.0
# Of an index that has not failed yet.
FRESH: Final = (0, 0.0)

SUSPENDED: Final = "Suspended"
TARGETS: Final = {"FailureTarget": "Failed", "SuccessCriteriaMet": "Complete"}


@dataclass(frozen=True)
class End:
    """How a job is to end: ``target`` is a condition of TARGETS."""

    target: str
    reason: str
    message: str


@dataclass
class _Known:
    """Of a job: up to where our own writes must have been seen, its failures since the last success, and who failed."""

    job_version: int = 0
    pod_version: int = 0
    failures: int = 0
    last_failure: float = 0.0
    failed: set[str] = field(default_factory=set)


class JobController:
    """``backoff``: seconds to wait after the first failure of a pod."""

    def __init__(
        self,
        client: KubeClient,
        informers: SharedInformers,
        pods: OwnedPods,
        recorder: EventRecorder,
        *,
        backoff: float = FIRST_BACKOFF,
    ) -> None:
        self._client = client
        self._recorder = recorder
        self._backoff = backoff
        self._pods = pods
        self._jobs = informers.of("jobs")
        self._known: dict[str, _Known] = {}
        self._queue = WorkQueue("jobs")
        self._strays = WorkQueue("pods of jobs that are gone")
        self._jobs.subscribe(self._job_changed)
        pods.report_to("jobs", self._queue)
        pods.informer.subscribe(self._pod_changed)

    async def run(self) -> None:
        await asyncio.gather(self._jobs.synced(), self._pods.informer.synced())
        async with asyncio.TaskGroup() as group:
            group.create_task(self._queue.run(self._sync, workers=WORKERS))
            group.create_task(self._strays.run(self._let_go_of_stray))

    def _job_changed(self, kind: str, job: Object, old: Object | None) -> None:
        if kind == "DELETED":
            uid = job["metadata"]["uid"]
            self._known.pop(uid, None)
            self._pods.forget(uid)
            for pod in self._pods.of(job):
                self._strays.add(key_of(pod))
        self._queue.add(key_of(job))

    def _pod_changed(self, kind: str, pod: Object, old: Object | None) -> None:
        if kind != "DELETED" and is_tracked(pod) and not self._has_job(pod):
            self._strays.add(key_of(pod))

    def _has_job(self, pod: Object) -> bool:
        owner = controller_of(pod) or {}
        job = self._jobs.cache.get(f"{pod['metadata']['namespace']}/{owner.get('name')}")
        return job is not None and job["metadata"]["uid"] == owner.get("uid")

    async def _let_go_of_stray(self, key: str) -> None:
        """Nobody will count it any more."""
        pod = self._pods.informer.cache.get(key)
        if pod is not None and is_tracked(pod) and not self._has_job(pod):
            await self._untrack(pod)

    async def _sync(self, key: str) -> None:
        job = self._jobs.cache.get(key)
        if job is None or job["spec"].get("managedBy") not in (None, MANAGER):
            return
        known = self._known.setdefault(job["metadata"]["uid"], _Known())
        if not await self._is_up_to_date(job, known):
            self._queue.add_after(key, LOOK_AGAIN)
            return
        pods = await self._pods.claim(job, job["spec"].get("selector"))
        if is_finished(job) or job["metadata"].get("deletionTimestamp"):
            await self._untrack_all(known, [one for one in pods if is_tracked(one)])
            return
        now = time.time()
        failing = condition(job, "FailureTarget").get("status") == "True"
        found = tally(job, pods, failing=failing)
        self._remember_failures(known, found, now)
        end = ending(job, found, now)
        if end is not None and end.target == "FailureTarget" and not failing:
            found = tally(job, pods, failing=True)
        trouble: ApiError | ApiUnavailable | None = None
        active = found.active
        try:
            active = await self._act(job, found, end, known, now)
        except (ApiError, ApiUnavailable) as error:
            trouble = error
        await self._tell(job, status_of(job, found, end, active, now), known)
        counted = {*found.succeeded_uids, *found.failed_uids}
        over = [*found.ignored, *(found.new_successes if found.indexed else ())]
        await self._untrack_all(known, [*over, *(one for one in pods if one["metadata"]["uid"] in counted)])
        if trouble is not None:
            raise trouble
        if not job["spec"].get("suspend") and (deadline := deadline_of(job)) != math.inf:
            self._queue.add_after(key, max(deadline - now, 0.0))

    async def _is_up_to_date(self, job: Object, known: _Known) -> bool:
        """Whether the copies show what we wrote: else what was counted would be counted again."""
        seen = self._jobs.has_seen(str(known.job_version)) and self._pods.informer.has_seen(str(known.pod_version))
        return seen and await self._pods.all_seen(job)

    def _remember_failures(self, known: _Known, found: Tally, now: float) -> None:
        if found.new_successes:
            known.failures = 0
        news = [one for one in found.new_failures if one["metadata"]["uid"] not in known.failed]
        if news:
            known.failures += len(news)
            known.last_failure = max(ended_at(one) or now for one in news)
            known.failed |= {one["metadata"]["uid"] for one in news}

    async def _act(self, job: Object, found: Tally, end: End | None, known: _Known, now: float) -> list[Object]:
        """Make or take away pods; the pods that are active then, as far as they are known."""
        if end is not None:
            await self._pods.delete(job, found.active)
            return []
        if job["spec"].get("suspend"):
            await self._withdraw(job, found.active, known)
            return []
        wanted = wanted_active(job, found)
        surplus = len(found.active) - wanted
        doomed = to_delete(found.active, surplus) if surplus > 0 else []
        doomed += [one for one in _twins(job, found) if one not in doomed]
        if doomed:
            await self._withdraw(job, doomed, known)
            return [one for one in found.active if one not in doomed]
        missing = wanted - len(found.active)
        if job["spec"].get("podReplacementPolicy") == "Failed":
            missing -= found.terminating
        own_limits = job["spec"].get("backoffLimitPerIndex") is not None
        if missing > 0 and (own_limits or self._may_start(job, known.failures, known.last_failure, now)):
            count = min(missing, BURST)
            startable = (
                one for one in _free_indexes(job, found) if self._may_start(job, *found.failures.get(one, FRESH), now)
            )
            await self._pods.create(job, new_pods(job, count, list(islice(startable, count)), found.failures))
        return found.active

    def _may_start(self, job: Object, failures: int, last: float, now: float) -> bool:
        if not failures:
            return True
        pause: float = min(self._backoff * 2 ** min(failures - 1, 32), LONGEST_BACKOFF)
        left = last + pause - now
        if left > 0:
            self._queue.add_after(key_of(job), left)
        return left <= 0

    async def _withdraw(self, job: Object, pods: Sequence[Object], known: _Known) -> None:
        """Delete pods that did nothing wrong: they are not counted."""
        await self._untrack_all(known, [one for one in pods if is_tracked(one)])
        await self._pods.delete(job, pods)

    async def _untrack_all(self, known: _Known, pods: Sequence[Object]) -> None:
        for version in await asyncio.gather(*(self._untrack(one) for one in pods if is_tracked(one))):
            known.pod_version = max(known.pod_version, version)

    async def _untrack(self, pod: Object) -> int:
        """Take the finalizer off; the version that this made, 0 when the pod is gone."""
        meta = pod["metadata"]
        rest = [one for one in meta["finalizers"] if one != TRACKED]
        change = {"uid": meta["uid"], "resourceVersion": meta["resourceVersion"], "finalizers": rest or None}
        try:
            done = await self._client.patch("pods", meta["name"], {"metadata": change}, meta["namespace"])
        except ApiError as error:
            if error.is_not_found:
                return 0
            raise
        return int(done["metadata"]["resourceVersion"])

    async def _tell(self, job: Object, status: Object, known: _Known) -> None:
        told = await write_status(self._client, "jobs", job, status)
        if told is None:
            return
        known.job_version = int(told["metadata"]["resourceVersion"])
        before = (job.get("status") or {}).get("conditions") or ()
        for one in status.get("conditions") or ():
            if one not in before:
                self._say(job, one)

    def _say(self, job: Object, told: Object) -> None:
        match told["type"], told["status"]:
            case "Complete", "True":
                self._recorder.say(job, NORMAL, "Completed", "Job completed", component=COMPONENT)
            case "Failed", "True":
                self._recorder.say(job, WARNING, told["reason"], told["message"], component=COMPONENT)
            case "Suspended", status:
                self._recorder.say(
                    job, NORMAL, "Suspended" if status == "True" else "Resumed", told["message"], component=COMPONENT
                )


def ending(job: Object, found: Tally, now: float) -> End | None:
    """How the job is to end, None as long as it goes on."""
    for target in TARGETS:
        if (decided := condition(job, target)).get("status") == "True":
            return End(target, decided.get("reason", ""), decided.get("message", ""))
    spec = job["spec"]
    if found.verdict:
        return End("FailureTarget", "PodFailurePolicy", found.verdict)
    limit = spec.get("backoffLimit", 6)
    again = restarts(found.active) if spec["template"]["spec"].get("restartPolicy") == "OnFailure" else 0
    if found.failed > limit or (again > 0 and again >= limit):
        return End("FailureTarget", "BackoffLimitExceeded", "Job has reached the specified backoff limit")
    if not spec.get("suspend") and now >= deadline_of(job):
        return End("FailureTarget", "DeadlineExceeded", "Job was active longer than specified deadline")
    completions = spec.get("completions")
    if (place := success_rule(spec.get("successPolicy") or {}, found.done, completions or 0)) is not None:
        return End("SuccessCriteriaMet", "SuccessPolicy", f"Matched rules at index {place}")
    most = spec.get("maxFailedIndexes")
    if most is not None and len(found.lost) > most:
        why = "Job has exceeded the specified maximal number of failed indexes"
        return End("FailureTarget", "MaxFailedIndexesExceeded", why)
    if found.lost and len(found.lost | found.done) >= completions:
        return End("FailureTarget", "FailedIndexes", "Job has failed indexes")
    enough = found.succeeded >= completions if completions is not None else found.succeeded and not found.active
    if enough:
        return End("SuccessCriteriaMet", "CompletionsReached", "Reached expected number of succeeded pods")
    return None


def deadline_of(job: Object) -> float:
    """Seconds since the epoch; inf for a job that may take its time, or has not begun."""
    seconds, began = job["spec"].get("activeDeadlineSeconds"), (job.get("status") or {}).get("startTime")
    return clock.parse(began).timestamp() + float(seconds) if began and seconds is not None else math.inf


def wanted_active(job: Object, found: Tally) -> int:
    spec = job["spec"]
    if spec.get("completions") is None:
        # The first that succeeds knows that the work is done: the others end by themselves.
        return len(found.active) if found.succeeded else int(spec["parallelism"])
    return max(min(int(spec["completions"]) - found.succeeded - len(found.lost), int(spec["parallelism"])), 0)


def _free_indexes(job: Object, found: Tally) -> Iterator[int]:
    """One after the other: a job may want more completions than anybody could count."""
    taken = found.done | found.lost | {index_of(one) for one in found.active}
    return (index for index in range(job["spec"].get("completions") or 0) if index not in taken)


def _twins(job: Object, found: Tally) -> list[Object]:
    """Active pods whose index another one has, or that is done, or that the job does not have."""
    if not found.indexed:
        return []
    taken, doubled = set(found.done), []
    for pod in sorted(found.active, key=lambda one: one["metadata"]["creationTimestamp"]):
        index = index_of(pod)
        if index in taken or not 0 <= index < job["spec"]["completions"]:
            doubled.append(pod)
        taken.add(index)
    return doubled


def status_of(job: Object, found: Tally, end: End | None, active: Sequence[Object], now: float) -> Object:
    before, spec = job.get("status") or {}, job["spec"]
    uncounted = {"succeeded": found.succeeded_uids, "failed": found.failed_uids}
    counts = {
        "active": len(active),
        "succeeded": len(found.done) if found.indexed else found.succeeded_before,
        "failed": found.failed_before,
    }
    conditions = _conditions(job, found, end)
    status: Object = {
        **{name: count for name, count in counts.items() if count},
        "ready": sum(1 for one in active if is_ready(one)),
        "terminating": found.terminating,
        "uncountedTerminatedPods": {name: uids for name, uids in uncounted.items() if uids},
        **({"conditions": conditions} if conditions else {}),
        **({"completedIndexes": written(found.done)} if found.done else {}),
        **({"failedIndexes": written(found.lost)} if found.lost else {}),
    }
    was_suspended = condition(job, SUSPENDED).get("status") == "True"
    if not spec.get("suspend"):
        began = before.get("startTime") if not was_suspended else None
        status["startTime"] = began or clock.rfc3339(clock.from_epoch(now))
    elif before.get("startTime") and end is not None:
        status["startTime"] = before["startTime"]
    if any(one["type"] == "Complete" for one in conditions):
        status["completionTime"] = clock.rfc3339(clock.from_epoch(now))
    return status


def _conditions(job: Object, found: Tally, end: End | None) -> list[Object]:
    conditions = list((job.get("status") or {}).get("conditions") or ())
    suspended = bool(job["spec"].get("suspend"))
    if end is not None:
        _set(conditions, end.target, "True", end.reason, end.message)
        if found.is_settled and not found.active and not found.terminating:
            _set(conditions, TARGETS[end.target], "True", end.reason, end.message)
    elif suspended:
        _set(conditions, SUSPENDED, "True", "JobSuspended", "Job suspended")
    elif any(one["type"] == SUSPENDED for one in conditions):
        _set(conditions, SUSPENDED, "False", "JobResumed", "Job resumed")
    return conditions


def _set(conditions: list[Object], kind: str, status: str, reason: str, message: str) -> None:
    now = clock.rfc3339()
    old = next((one for one in conditions if one["type"] == kind), None)
    if old is not None and old["status"] == status:
        return
    told = {"type": kind, "status": status, "reason": reason, "message": message}
    made = {**told, "lastProbeTime": now, "lastTransitionTime": now}
    if old is None:
        conditions.append(made)
    else:
        conditions[conditions.index(old)] = made


def is_finished(job: Object) -> bool:
    return any(condition(job, kind).get("status") == "True" for kind in TARGETS.values())
