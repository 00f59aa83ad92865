"""A pod's status, computed from the pod, what the engine shows and why containers wait."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from k8slab.kube import quantity
from k8slab.kube.clock import rfc3339
from k8slab.kube.kubelet.decision import (
    begun,
    has_failed_to_initialize,
    is_over,
    wants_restart,
)
from k8slab.kube.kubelet.observation import Observed, Seen
from k8slab.kube.kubelet.spec import (
    Container,
    all_containers,
    init_containers,
    is_sidecar,
    main_containers,
    restart_policy,
    told_status,
)

PENDING: Final = "Pending"
RUNNING: Final = "Running"
SUCCEEDED: Final = "Succeeded"
FAILED: Final = "Failed"
ENDED: Final = (SUCCEEDED, FAILED)

OWN_CONDITIONS: Final = ("PodReadyToStartContainers", "Initialized", "Ready", "ContainersReady", "PodScheduled")

_Verdict = tuple[bool, str, str]
"""Whether a condition holds, and a reason and a message for that."""


@dataclass(frozen=True)
class Waiting:
    """Why a container does not run."""

    reason: str
    message: str = ""


@dataclass(frozen=True)
class Doom:
    """Why the node has ended a pod that would have gone on; ``warns``: whether that is somebody's fault."""

    reason: str
    message: str
    warns: bool = False


CREATING: Final = Waiting("ContainerCreating")
INITIALIZING: Final = Waiting("PodInitializing")


def pod_status(
    pod: Mapping[str, Any],
    observed: Observed,
    *,
    waiting: Mapping[str, Waiting],
    host_ip: str,
    pod_ip: str,
    now: datetime,
    doom: Doom | None = None,
    ending: bool = False,
) -> dict[str, Any]:
    """The whole status, built upon the pod's present one so that times of unchanged things stay.

    ``ending``: its containers are ended for good, whatever its restart policy says.
    """
    before = pod.get("status") or {}
    default = INITIALIZING if init_containers(pod) else CREATING
    of_all = {
        container["name"]: _container_status(pod, container, observed, waiting.get(container["name"]), default)
        for container in all_containers(pod)
    }
    mains = [of_all[container["name"]] for container in main_containers(pod)]
    initials = [of_all[container["name"]] for container in init_containers(pod)]
    phase = FAILED if doom else _phase(pod, observed, ending=ending)
    done = phase in ENDED
    standing = observed.sandbox is not None and observed.sandbox.running
    containers_ready = _containers_ready(pod, of_all, phase)
    conditions = {
        "PodReadyToStartContainers": (standing and bool(pod_ip) and not done, "", ""),
        "Initialized": _initialized(pod, observed, of_all, phase),
        "Ready": _ready(pod, containers_ready),
        "ContainersReady": containers_ready,
        "PodScheduled": (True, "", ""),
    }
    foreign = [one for one in before.get("conditions") or () if one["type"] not in OWN_CONDITIONS]
    status: dict[str, Any] = {
        "phase": phase,
        "conditions": [*(_condition(kind, *conditions[kind], before, now) for kind in OWN_CONDITIONS), *foreign],
        "hostIP": host_ip,
        "hostIPs": [{"ip": host_ip}],
        "startTime": before.get("startTime") or rfc3339(now),
        "containerStatuses": mains,
        "qosClass": qos_class(pod),
    }
    if initials:
        status["initContainerStatuses"] = initials
    if pod_ip:
        status |= {"podIP": pod_ip, "podIPs": [{"ip": pod_ip}]}
    if doom:
        status |= {"reason": doom.reason, "message": doom.message}
    return status


def with_foreign_conditions(own: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
    """``own`` with those conditions of ``given`` that a kubelet does not compute."""
    conditions = [one for one in own.get("conditions") or () if one["type"] in OWN_CONDITIONS]
    foreign = [one for one in given.get("conditions") or () if one["type"] not in OWN_CONDITIONS]
    return {**own, "conditions": [*conditions, *foreign]}


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


def _phase(pod: Mapping[str, Any], observed: Observed, *, ending: bool) -> str:
    latest = [next(iter(begun(observed, container["name"])), None) for container in main_containers(pod)]
    # An end is told once all have ended, the sidecars too: nothing is looked at after that.
    alive = any(seen.running for attempts in observed.containers.values() for seen in attempts)
    if not alive and (ending or is_over(pod, observed)):
        failed = has_failed_to_initialize(pod, observed) or any(last is None or last.exit_code for last in latest)
        return FAILED if failed else SUCCEEDED
    return PENDING if None in latest else RUNNING


def _containers_ready(pod: Mapping[str, Any], of_all: Mapping[str, Mapping[str, Any]], phase: str) -> _Verdict:
    if phase == SUCCEEDED:
        return False, "PodCompleted", ""
    if phase == FAILED:
        return False, "PodFailed", ""
    sidecars = [one for one in init_containers(pod) if is_sidecar(one)]
    names = [one["name"] for one in (*sidecars, *main_containers(pod))]
    if unready := [name for name in names if not of_all[name]["ready"]]:
        return False, "ContainersNotReady", f"containers with unready status: [{' '.join(unready)}]"
    return True, "", ""


def _ready(pod: Mapping[str, Any], containers_ready: _Verdict) -> _Verdict:
    """Of the pod as a whole: its containers are, and the conditions that others set hold."""
    if not containers_ready[0]:
        return containers_ready
    given = {one["type"]: one["status"] for one in (pod.get("status") or {}).get("conditions") or ()}
    problems = []
    for gate in pod["spec"].get("readinessGates") or ():
        kind = gate["conditionType"]
        if kind not in given:
            problems.append(f'corresponding condition of pod readiness gate "{kind}" does not exist.')
        elif given[kind] != "True":
            problems.append(f'the status of pod readiness gate "{kind}" is not "True", but {given[kind]}')
    return (False, "ReadinessGatesNotReady", ", ".join(problems)) if problems else (True, "", "")


def _initialized(
    pod: Mapping[str, Any], observed: Observed, of_all: Mapping[str, Mapping[str, Any]], phase: str
) -> _Verdict:
    if phase == SUCCEEDED:
        return True, "PodCompleted", ""
    if any(begun(observed, container["name"]) for container in main_containers(pod)):
        return True, "", ""
    incomplete = [
        one["name"]
        for one in init_containers(pod)
        if not of_all[one["name"]]["started" if is_sidecar(one) else "ready"]
    ]
    if incomplete:
        return False, "ContainersNotInitialized", f"containers with incomplete status: [{' '.join(incomplete)}]"
    return True, "", ""


def _container_status(
    pod: Mapping[str, Any], container: Container, observed: Observed, waiting: Waiting | None, default: Waiting
) -> dict[str, Any]:
    initial = any(one is container for one in init_containers(pod))
    policy = _policy_for(pod, container, initial=initial)
    attempts = begun(observed, container["name"])
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
        told = told_status(pod, container["name"])
        kept = {field: told[field] for field in ("restartCount", "lastState", "containerID") if told.get(field)}
        return {**status, **kept, "state": {"waiting": _plain(waiting or default)}}
    status["containerID"] = f"docker://{last.id}"
    previous: Sequence[Seen] = attempts[1:]
    if last.running:
        started = last.health.started
        status |= {
            "state": {"running": {"startedAt": _time(last.started)}},
            "ready": started and last.health.ready and (not initial or is_sidecar(container)),
            "started": started,
        }
    elif waiting is not None and wants_restart(policy, last):
        status["state"] = {"waiting": _plain(waiting)}
        previous = attempts
    else:
        status["state"] = {"terminated": _terminated(last)}
        status["ready"] = initial and not is_sidecar(container) and last.exit_code == 0
    if previous:
        status["lastState"] = {"terminated": _terminated(previous[0])}
    return status


def _policy_for(pod: Mapping[str, Any], container: Container, *, initial: bool) -> str:
    """The restart policy that applies to it: an init container that has succeeded does not run again for that."""
    if initial and is_sidecar(container):
        return "Always"
    policy = restart_policy(pod)
    return "OnFailure" if initial and policy == "Always" else policy


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
    for container in all_containers(pod):
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
