"""What becomes of a pod whose Mesos task has ended. Pure.

A task is how a pod runs, not what it is: when Mesos loses the task (its executor died, its agent came back without it)
the pod, still bound, gets a new task on its own node, where a new executor takes its containers over as they are. The
pod object goes only when it was asked to go, or when its node is gone for good.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum, auto
from typing import Any, Final

from k8slab.k8sm.resources import MINIMUM_CPUS, MINIMUM_MEM
from k8slab.k8sm.scheduler.tasks import is_deleted, is_finished

_NODE_GONE: Final = frozenset({"REASON_AGENT_REMOVED_BY_OPERATOR", "REASON_AGENT_DRAINING"})

_SWEEPER: Final = "sweeper/"
_EXECUTOR_GONE: Final = frozenset(
    {"REASON_EXECUTOR_TERMINATED", "REASON_EXECUTOR_UNREGISTERED", "REASON_EXECUTOR_REREGISTRATION_TIMEOUT"}
)


class Fate(Enum):
    FORGET = auto()
    """Nothing is left to do for it."""
    LAUNCH = auto()
    """It needs a task again; a bound pod on its own node."""
    SWEEP = auto()
    """The pod is gone, and nobody has said that its containers are: an executor has to come and look."""
    DELETE = auto()
    """Its object goes, at once: nothing of it runs any more."""


def fate(pod: Mapping[str, Any] | None, status: Mapping[str, Any]) -> Fate:
    """``pod``: as the API has it, None when it is gone; ``status``: the terminal TaskStatus."""
    if pod is None:
        return Fate.SWEEP if may_leave_containers(status) else Fate.FORGET
    bound = bool(pod["spec"].get("nodeName"))
    if is_finished(pod):
        return Fate.DELETE if is_deleted(pod) else Fate.FORGET
    if bound and (status["state"] == "TASK_GONE_BY_OPERATOR" or status.get("reason") in _NODE_GONE):
        return Fate.DELETE
    if is_deleted(pod) and status["state"] == "TASK_KILLED" and status.get("source") == "SOURCE_EXECUTOR":
        return Fate.DELETE
    # One that is to be deleted is launched again too when its executor died, whatever the agent calls that: somebody
    # must end its containers.
    return Fate.LAUNCH


def may_leave_containers(status: Mapping[str, Any]) -> bool:
    """Whether a task ended with its executor instead of by it."""
    return status.get("reason") in _EXECUTOR_GONE


def sweeper(host: str) -> dict[str, Any]:
    """A pod that the API does not have: the executor that is started for it on its node refuses it, and removes the
    containers of all pods that are gone."""
    needs = {"cpu": str(MINIMUM_CPUS), "memory": f"{MINIMUM_MEM:g}Mi"}
    return {
        "kind": "Pod",
        "apiVersion": "v1",
        "metadata": {"name": "sweeper", "namespace": "default", "uid": f"{_SWEEPER}{host}"},
        "spec": {"nodeName": host, "containers": [{"name": "none", "resources": {"limits": needs}}]},
    }


def is_sweeper(uid: str) -> bool:
    return uid.startswith(_SWEEPER)
