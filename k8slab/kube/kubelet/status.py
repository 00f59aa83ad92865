"""A pod's status, computed from the pod, what the engine shows and why containers wait."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from k8slab.kube import quantity
from k8slab.kube.clock import rfc3339
from k8slab.kube.kubelet.decision import wants_restart
from k8slab.kube.kubelet.observation import CREATED, Observed, Seen

PENDING: Final = "Pending"
RUNNING: Final = "Running"
SUCCEEDED: Final = "Succeeded"
FAILED: Final = "Failed"


@dataclass(frozen=True)
class Waiting:
    """Why a container does not run."""

    reason: str
    message: str = ""


CREATING: Final = Waiting("ContainerCreating")


def pod_status(
    pod: Mapping[str, Any],
    observed: Observed,
    *,
    waiting: Mapping[str, Waiting],
    host_ip: str,
    pod_ip: str,
    now: datetime,
) -> dict[str, Any]:
    """The whole status, built upon the pod's present one so that times of unchanged things stay."""
    before = pod.get("status") or {}
    containers = [
        _container_status(pod, container, observed, waiting.get(container["name"], CREATING))
        for container in pod["spec"]["containers"]
    ]
    phase = _phase(pod, observed)
    done = phase in (SUCCEEDED, FAILED)
    unready = [one["name"] for one in containers if not one["ready"]]
    if phase == SUCCEEDED:
        verdict = (False, "PodCompleted", "")
    elif phase == FAILED:
        verdict = (False, "PodFailed", "")
    elif unready:
        verdict = (False, "ContainersNotReady", f"containers with unready status: [{' '.join(unready)}]")
    else:
        verdict = (True, "", "")
    conditions = [
        _condition("PodReadyToStartContainers", bool(pod_ip) and not done, "", "", before, now),
        _condition("Initialized", True, "PodCompleted" if phase == SUCCEEDED else "", "", before, now),
        _condition("Ready", *verdict, before, now),
        _condition("ContainersReady", *verdict, before, now),
        _condition("PodScheduled", True, "", "", before, now),
    ]
    status: dict[str, Any] = {
        "phase": phase,
        "conditions": conditions,
        "hostIP": host_ip,
        "hostIPs": [{"ip": host_ip}],
        "startTime": before.get("startTime") or rfc3339(now),
        "containerStatuses": containers,
        "qosClass": qos_class(pod),
    }
    if pod_ip:
        status |= {"podIP": pod_ip, "podIPs": [{"ip": pod_ip}]}
    return status


def refused_status(pod: Mapping[str, Any], *, reason: str, message: str, host_ip: str, now: datetime) -> dict[str, Any]:
    """Of a pod that this node will not run."""
    before = pod.get("status") or {}
    return {
        "phase": FAILED,
        "reason": reason,
        "message": message,
        "conditions": [
            _condition("Ready", False, "PodFailed", "", before, now),
            _condition("PodScheduled", True, "", "", before, now),
        ],
        "hostIP": host_ip,
        "startTime": before.get("startTime") or rfc3339(now),
        "qosClass": qos_class(pod),
    }


def _phase(pod: Mapping[str, Any], observed: Observed) -> str:
    policy = pod["spec"].get("restartPolicy") or "Always"
    running = started = over = failed = 0
    for container in pod["spec"]["containers"]:
        last = _latest_started(observed, container["name"])
        if last is None:
            continue
        started += 1
        if last.running:
            running += 1
        elif not wants_restart(policy, last):
            over += 1
            failed += last.exit_code != 0
    total = len(pod["spec"]["containers"])
    if over == total:
        return FAILED if failed else SUCCEEDED
    return RUNNING if started == total or running else PENDING


def _latest_started(observed: Observed, name: str) -> Seen | None:
    return next((one for one in observed.containers.get(name, ()) if one.state != CREATED), None)


def _container_status(
    pod: Mapping[str, Any], container: Mapping[str, Any], observed: Observed, waiting: Waiting
) -> dict[str, Any]:
    policy = pod["spec"].get("restartPolicy") or "Always"
    attempts = [one for one in observed.containers.get(container["name"], ()) if one.state != CREATED]
    last = attempts[0] if attempts else None
    status: dict[str, Any] = {
        "name": container["name"],
        "image": container["image"],
        "imageID": f"docker://{last.image_id}" if last else "",
        "restartCount": last.attempt if last else 0,
        "ready": False,
        "started": False,
        "lastState": {},
    }
    if last is None:
        status["state"] = {"waiting": _plain(waiting)}
        return status
    status["containerID"] = f"docker://{last.id}"
    previous: Sequence[Seen] = attempts[1:]
    if last.running:
        status |= {"state": {"running": {"startedAt": _time(last.started)}}, "ready": True, "started": True}
    elif wants_restart(policy, last) and waiting != CREATING:
        status["state"] = {"waiting": _plain(waiting)}
        previous = attempts
    else:
        status["state"] = {"terminated": _terminated(last)}
    if previous:
        status["lastState"] = {"terminated": _terminated(previous[0])}
    return status


def _terminated(dead: Seen) -> dict[str, Any]:
    if dead.started is None:
        reason = "ContainerCannotRun"
    elif dead.oom_killed:
        reason = "OOMKilled"
    else:
        reason = "Completed" if dead.exit_code == 0 else "Error"
    result = {
        "exitCode": dead.exit_code,
        "reason": reason,
        "startedAt": _time(dead.started),
        "finishedAt": _time(dead.finished),
        "containerID": f"docker://{dead.id}",
    }
    if message := dead.message or dead.error:
        result["message"] = message
    return result


def _plain(waiting: Waiting) -> dict[str, str]:
    return {"reason": waiting.reason} | ({"message": waiting.message} if waiting.message else {})


def _time(moment: datetime | None) -> str | None:
    return rfc3339(moment) if moment else None


def _condition(
    kind: str, holds: bool, reason: str, message: str, before: Mapping[str, Any], now: datetime
) -> dict[str, Any]:
    status = "True" if holds else "False"
    old = next((one for one in before.get("conditions") or () if one["type"] == kind), None)
    same = old is not None and old.get("status") == status
    condition: dict[str, Any] = {
        "type": kind,
        "status": status,
        "lastProbeTime": None,
        "lastTransitionTime": old["lastTransitionTime"] if old and same else rfc3339(now),
    }
    if reason:
        condition["reason"] = reason
    if message:
        condition["message"] = message
    return condition


def qos_class(pod: Mapping[str, Any]) -> str:
    """Guaranteed, Burstable or BestEffort."""
    guaranteed, anything = True, False
    for container in pod["spec"]["containers"]:
        resources = container.get("resources") or {}
        limits = resources.get("limits") or {}
        requests = {**limits, **(resources.get("requests") or {})}
        for name in ("cpu", "memory"):
            limit, request = quantity.parse(limits.get(name, 0)), quantity.parse(requests.get(name, 0))
            anything = anything or limit > 0 or request > 0
            guaranteed = guaranteed and limit > 0 and limit == request
    if guaranteed and anything:
        return "Guaranteed"
    return "Burstable" if anything else "BestEffort"
