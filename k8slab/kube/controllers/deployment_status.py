"""What a deployment's status says: counts, and whether its rollout goes on, is done, or has come to a stop."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from k8slab.kube import clock
from k8slab.kube.client import Object
from k8slab.kube.clock import rfc3339
from k8slab.kube.controllers.deployment_scaling import bounds
from k8slab.kube.controllers.deployment_sets import ReplicaSets, counted, size
from k8slab.kube.controllers.node_lifecycle import condition

AVAILABLE: Final = "Available"
PROGRESSING: Final = "Progressing"
FAILURE: Final = "ReplicaFailure"

IS_PAUSED: Final = "DeploymentPaused"
IS_RESUMED: Final = "DeploymentResumed"
IS_DONE: Final = "NewReplicaSetAvailable"
TOO_LATE: Final = "ProgressDeadlineExceeded"
# A deadline so far away means that there is none.
NEVER: Final = 2**31 - 1


@dataclass(frozen=True)
class Said:
    """A condition as it is to be said; ``status``: "True", "False" or "Unknown"."""

    type: str
    status: str
    reason: str
    message: str


def has_deadline(deployment: Object) -> bool:
    return deployment["spec"].get("progressDeadlineSeconds") not in (None, NEVER)


def with_said(conditions: Iterable[Mapping[str, Any]], said: Said) -> list[Object]:
    """Unchanged when the same was said for the same reason; the transition's time is kept while the status is."""
    present = [dict(one) for one in conditions]
    old = next((one for one in present if one["type"] == said.type), None)
    if old and (old["status"], old["reason"]) == (said.status, said.reason):
        return present
    return [*without(present, said.type), _condition(said, old)]


def without(conditions: Iterable[Mapping[str, Any]], kind: str) -> list[Object]:
    return [dict(one) for one in conditions if one["type"] != kind]


def counts(deployment: Object, sets: ReplicaSets) -> Object:
    """The status with fresh counts, and whether enough pods are available."""
    old: Mapping[str, Any] = deployment.get("status") or {}
    available = _sum(sets.all, "availableReplicas")
    numbers = {
        "observedGeneration": deployment["metadata"].get("generation") or 0,
        "replicas": _sum(sets.all, "replicas"),
        "updatedReplicas": _sum([sets.new] if sets.new else [], "replicas"),
        "readyReplicas": _sum(sets.all, "readyReplicas"),
        "availableReplicas": available,
        "unavailableReplicas": max(0, sum(map(size, sets.all)) - available),
    }
    status: Object = {name: number for name, number in numbers.items() if number}
    if "collisionCount" in old:
        status["collisionCount"] = old["collisionCount"]
    if available >= bounds(deployment).least:
        said = Said(AVAILABLE, "True", "MinimumReplicasAvailable", "Deployment has minimum availability.")
    else:
        why = "Deployment does not have minimum availability."
        said = Said(AVAILABLE, "False", "MinimumReplicasUnavailable", why)
    return {**status, "conditions": with_said(old.get("conditions") or (), said)}


def of_rollout(deployment: Object, sets: ReplicaSets, now: float | None = None) -> Object:
    """The status of a deployment whose rollout is under way or done. ``now``: seconds since the epoch."""
    status = counts(deployment, sets)
    conditions: list[Object] = status["conditions"]
    current = condition(deployment, PROGRESSING)
    if not has_deadline(deployment):
        conditions = without(conditions, PROGRESSING)
    elif not (_number(status, "replicas") == _number(status, "updatedReplicas") and current.get("reason") == IS_DONE):
        conditions = _with_progress(deployment, sets, status, current, time.time() if now is None else now)
    failures = [one for one in ([sets.new] if sets.new else []) if condition(one, FAILURE)] or sets.all
    failure = next((found for one in failures if (found := condition(one, FAILURE))), None)
    if failure:
        said = Said(FAILURE, failure["status"], failure["reason"], failure.get("message") or "")
        conditions = with_said(conditions, said)
    else:
        conditions = without(conditions, FAILURE)
    return {**status, "conditions": conditions}


def _with_progress(
    deployment: Object, sets: ReplicaSets, status: Object, current: Mapping[str, Any], now: float
) -> list[Object]:
    conditions: list[Object] = status["conditions"]
    name = f'ReplicaSet "{sets.new["metadata"]["name"]}"' if sets.new else _named(deployment)
    if is_complete(deployment, status):
        said = Said(PROGRESSING, "True", IS_DONE, f"{name} has successfully progressed.")
        return with_said(conditions, said)
    if _has_moved(deployment.get("status") or {}, status):
        said = Said(PROGRESSING, "True", "ReplicaSetUpdated", f"{name} is progressing.")
        # Said anew each time: the deadline counts from the last step.
        return [*without(conditions, PROGRESSING), _condition(said, current)]
    if _is_late(deployment, current, now):
        return with_said(conditions, Said(PROGRESSING, "False", TOO_LATE, f"{name} has timed out progressing."))
    return conditions


def is_complete(deployment: Object, status: Mapping[str, Any]) -> bool:
    wanted = deployment["spec"]["replicas"]
    fields = ("updatedReplicas", "replicas", "availableReplicas")
    seen = _number(status, "observedGeneration") >= (deployment["metadata"].get("generation") or 0)
    return seen and all(_number(status, field) == wanted for field in fields)


def seconds_to_deadline(deployment: Object, now: float | None = None) -> float | None:
    """Until a rollout that is under way is late; None when it cannot be late any more."""
    current = condition(deployment, PROGRESSING)
    done = is_complete(deployment, deployment.get("status") or {})
    if not has_deadline(deployment) or not current or done or current.get("reason") == TOO_LATE:
        return None
    return _deadline(deployment, current) - (time.time() if now is None else now)


def _has_moved(old: Mapping[str, Any], new: Mapping[str, Any]) -> bool:
    def left(status: Mapping[str, Any]) -> int:
        return _number(status, "replicas") - _number(status, "updatedReplicas")

    more = any(
        _number(new, one) > _number(old, one) for one in ("updatedReplicas", "readyReplicas", "availableReplicas")
    )
    return more or left(new) < left(old)


def _is_late(deployment: Object, current: Mapping[str, Any], now: float) -> bool:
    if not current or current.get("reason") == IS_DONE:
        return False
    return current.get("reason") == TOO_LATE or now > _deadline(deployment, current)


def _deadline(deployment: Object, current: Mapping[str, Any]) -> float:
    since = current.get("lastUpdateTime") or current["lastTransitionTime"]
    return clock.parse(since).timestamp() + int(deployment["spec"]["progressDeadlineSeconds"])


def _condition(said: Said, old: Mapping[str, Any] | None) -> Object:
    moment = rfc3339()
    kept = old and old.get("status") == said.status
    return {
        "type": said.type,
        "status": said.status,
        "lastUpdateTime": moment,
        "lastTransitionTime": old["lastTransitionTime"] if old and kept else moment,
        "reason": said.reason,
        "message": said.message,
    }


def _named(deployment: Object) -> str:
    return f'Deployment "{deployment["metadata"]["name"]}"'


def _sum(sets: Iterable[Object], field: str) -> int:
    return sum(counted(one, field) for one in sets)


def _number(status: Mapping[str, Any], field: str) -> int:
    return int(status.get(field) or 0)
