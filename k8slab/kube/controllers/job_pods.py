"""What a job's pods amount to: who works, who is done, who failed, and who of them has been counted already.

A pod of a job carries a finalizer until it is counted, so that no end of a pod is missed, whoever deletes it. First its
uid goes into the job's status, then the finalizer goes from the pod, and then the uid becomes part of a number: should
the controller end between any two of these, it goes on where it was.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from k8slab.kube import clock
from k8slab.kube.client import Object
from k8slab.kube.controllers.job_indexes import COMPLETION_INDEX, INDEX_FAILURES, failures_before, index_of, indexes
from k8slab.kube.controllers.owned_pods import is_active, phase, pod_of

TRACKED: Final = "batch.kubernetes.io/job-tracking"


@dataclass
class Tally:
    """``succeeded_before``, ``failed_before``: numbers; the lists of uids are counted but still carry the finalizer.

    ``new_failures``: those not seen as failed before; ``ignored``: failures that the job's policy does not count;
    ``verdict``: why the policy lets the whole job fail, "" when it does not; ``done``: indexes, of an indexed job.
    Where each index has a limit of its own, ``failures`` says how often it failed and when (seconds since the epoch) it
    did last, and ``lost`` are those that are not tried again.
    """

    active: list[Object] = field(default_factory=list)
    terminating: int = 0
    succeeded_before: int = 0
    failed_before: int = 0
    succeeded_uids: list[str] = field(default_factory=list)
    failed_uids: list[str] = field(default_factory=list)
    new_successes: list[Object] = field(default_factory=list)
    new_failures: list[Object] = field(default_factory=list)
    ignored: list[Object] = field(default_factory=list)
    verdict: str = ""
    done: set[int] = field(default_factory=set)
    indexed: bool = False
    failures: dict[int, tuple[int, float]] = field(default_factory=dict)
    lost: set[int] = field(default_factory=set)

    @property
    def succeeded(self) -> int:
        return len(self.done) if self.indexed else self.succeeded_before + len(self.succeeded_uids)

    @property
    def failed(self) -> int:
        return self.failed_before + len(self.failed_uids)

    @property
    def is_settled(self) -> bool:
        """Whether nothing is left to be counted."""
        return not (self.succeeded_uids or self.failed_uids)


def tally(job: Object, pods: Iterable[Object], *, failing: bool) -> Tally:
    """``failing``: the job has failed, so that all of its pods have that do not succeed."""
    status, here = job.get("status") or {}, list(pods)
    tracked = {one["metadata"]["uid"]: one for one in here if is_tracked(one)}
    waiting = status.get("uncountedTerminatedPods") or {}
    was_good, was_bad = waiting.get("succeeded") or [], waiting.get("failed") or []
    is_indexed = job["spec"].get("completionMode") == "Indexed"
    completions = int(job["spec"].get("completions") or 0)
    found = Tally(
        active=[one for one in here if is_active(one)],
        terminating=sum(1 for one in here if one["metadata"].get("deletionTimestamp") and not has_ended(one)),
        succeeded_before=(status.get("succeeded") or 0) + sum(1 for uid in was_good if uid not in tracked),
        failed_before=(status.get("failed") or 0) + sum(1 for uid in was_bad if uid not in tracked),
        succeeded_uids=[uid for uid in was_good if uid in tracked],
        failed_uids=[uid for uid in was_bad if uid in tracked],
        done=indexes(status.get("completedIndexes") or "", completions),
        indexed=is_indexed,
        lost=indexes(status.get("failedIndexes") or "", completions),
    )
    limit = job["spec"].get("backoffLimitPerIndex")
    if limit is not None:
        _judge_indexes(found, job, here, limit)
    for uid, pod in tracked.items():
        if uid in was_good or uid in was_bad or (limit is not None and not failing and _is_needed(found, pod, here)):
            continue
        _count(found, job, uid, pod, failing=failing)
    return found


def _judge_indexes(found: Tally, job: Object, pods: Iterable[Object], limit: int) -> None:
    for pod in pods:
        if phase(pod) == "Succeeded" or not has_failed(job, pod):
            continue
        index = index_of(pod)
        action, _ = judge_failure(job["spec"].get("podFailurePolicy") or {}, pod)
        count = failures_before(pod) + (action != "Ignore")
        found.failures[index] = max(found.failures.get(index, (0, 0.0)), (count, ended_at(pod) or 0.0))
        if count > limit or action == "FailIndex":
            found.lost.add(index)


def _is_needed(found: Tally, pod: Object, pods: Iterable[Object]) -> bool:
    """Whether nobody but this pod knows how often its index has failed: then it is counted later."""
    index = index_of(pod)
    if phase(pod) == "Succeeded" or index not in found.failures or index in found.lost | found.done:
        return False
    others = [one for one in pods if one is not pod and index_of(one) == index]
    return (
        is_tracked(pod) and not is_active(pod) and all(failures_before(one) <= failures_before(pod) for one in others)
    )


def _count(found: Tally, job: Object, uid: str, pod: Object, *, failing: bool) -> None:
    if phase(pod) == "Succeeded":
        found.new_successes.append(pod)
        if not found.indexed:
            found.succeeded_uids.append(uid)
        elif 0 <= (index := index_of(pod)) < job["spec"]["completions"]:
            found.done.add(index)
    elif failing or has_failed(job, pod):
        action, why = judge_failure(job["spec"].get("podFailurePolicy") or {}, pod)
        if action == "Ignore":
            found.ignored.append(pod)
            return
        found.verdict = found.verdict or (why if action == "FailJob" else "")
        found.new_failures.append(pod)
        found.failed_uids.append(uid)


def has_failed(job: Object, pod: Object) -> bool:
    """A pod on its way out will not do its work any more, unless the job is told to wait for how it ends."""
    if job["spec"].get("podReplacementPolicy") == "Failed":
        return phase(pod) == "Failed"
    return phase(pod) == "Failed" or bool(pod["metadata"].get("deletionTimestamp"))


def judge_failure(policy: Mapping[str, Any], pod: Object) -> tuple[str, str]:
    """What the first rule that matches wants done ("Count" when none does), and what it was that matched."""
    if phase(pod) != "Failed":
        return "Count", ""
    meta = pod["metadata"]
    name = f"{meta['namespace']}/{meta['name']}"
    for place, rule in enumerate(policy.get("rules") or ()):
        tail = f"matching {rule['action']} rule at index {place}"
        if codes := rule.get("onExitCodes"):
            for container in _ended_containers(pod):
                if _has_code(codes, container):
                    code = container["state"]["terminated"]["exitCode"]
                    why = f"Container {container['name']} for pod {name} failed with exit code {code} {tail}"
                    return rule["action"], why
        for pattern in rule.get("onPodConditions") or ():
            for condition in (pod.get("status") or {}).get("conditions") or ():
                if condition["type"] == pattern["type"] and condition["status"] == (pattern.get("status") or "True"):
                    return rule["action"], f"Pod {name} has condition {condition['type']} {tail}"
    return "Count", ""


def _ended_containers(pod: Object) -> list[Object]:
    status = pod.get("status") or {}
    both = (*(status.get("initContainerStatuses") or ()), *(status.get("containerStatuses") or ()))
    return [one for one in both if (one.get("state") or {}).get("terminated")]


def _has_code(codes: Mapping[str, Any], container: Object) -> bool:
    code = container["state"]["terminated"].get("exitCode") or 0
    if code == 0 or codes.get("containerName") not in (None, container["name"]):
        return False
    return bool((code in codes["values"]) == (codes["operator"] == "In"))


def restarts(pods: Iterable[Object]) -> int:
    """How often containers of pods that still work were started again."""
    counts = 0
    for pod in pods:
        status = pod.get("status") or {}
        both = (*(status.get("initContainerStatuses") or ()), *(status.get("containerStatuses") or ()))
        counts += sum(int(one.get("restartCount") or 0) for one in both)
    return counts


def new_pods(job: Object, count: int, free: Sequence[int], failures: Mapping[int, tuple[int, float]]) -> list[Object]:
    """So many pods of the job; those of an indexed one are for the first ``free`` indexes, and know of ``failures``."""
    template = job["spec"]["template"]
    wanted = template.get("metadata") or {}
    finalizers = [*(wanted.get("finalizers") or ()), TRACKED]
    tracked = {**template, "metadata": {**wanted, "finalizers": finalizers}}
    if job["spec"].get("completionMode") != "Indexed":
        return [pod_of(tracked, job) for _ in range(count)]
    return [_with_index(pod_of(tracked, job), job, index, failures.get(index, (0, 0.0))[0]) for index in free[:count]]


def _with_index(pod: Object, job: Object, index: int, failures: int) -> Object:
    meta, name = pod["metadata"], job["metadata"]["name"]
    marks = {field: {**(meta.get(field) or {}), COMPLETION_INDEX: str(index)} for field in ("labels", "annotations")}
    if job["spec"].get("backoffLimitPerIndex") is not None:
        marks["annotations"][INDEX_FAILURES] = str(failures)
    field_path = f"metadata.labels['{COMPLETION_INDEX}']"
    variable = {"name": "JOB_COMPLETION_INDEX", "valueFrom": {"fieldRef": {"fieldPath": field_path}}}
    spec = {**pod["spec"], "hostname": pod["spec"].get("hostname") or f"{name}-{index}"}
    for kind in ("containers", "initContainers"):
        if pod["spec"].get(kind):
            spec[kind] = [_with_variable(one, variable) for one in pod["spec"][kind]]
    return {**pod, "metadata": {**meta, **marks, "generateName": f"{name}-{index}-"}, "spec": spec}


def _with_variable(container: Object, variable: Object) -> Object:
    own = container.get("env") or []
    if any(one["name"] == variable["name"] for one in own):
        return container
    return {**container, "env": [*own, variable]}


def has_ended(pod: Object) -> bool:
    return phase(pod) in ("Succeeded", "Failed")


def is_tracked(pod: Object) -> bool:
    return TRACKED in (pod["metadata"].get("finalizers") or ())


def ended_at(pod: Object) -> float | None:
    """When the last of its containers ended (seconds since the epoch), None when it does not say."""
    ends = [
        (one.get("state") or {}).get("terminated", {}).get("finishedAt")
        for one in (pod.get("status") or {}).get("containerStatuses") or ()
    ]
    known = [clock.parse(end).timestamp() for end in ends if end]
    return max(known) if known and has_ended(pod) else None
