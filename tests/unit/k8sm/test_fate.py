from __future__ import annotations

from typing import Any

import pytest

from k8slab.k8sm import mapping
from k8slab.k8sm.scheduler.fate import Fate, fate
from k8slab.k8sm.scheduler.tasks import RECOVERED, TaskRegistry, recovered
from tests.unit.k8sm.samples import a_pod


def pod(*, bound: bool = True, deleted: bool = False, phase: str = "Running") -> dict[str, Any]:
    made = a_pod(nodeName="minion-0") if bound else a_pod()
    made["status"]["phase"] = phase
    if deleted:
        made["metadata"]["deletionTimestamp"] = "2016-01-02T15:04:05Z"
    return made


@pytest.mark.parametrize(
    ("what", "status", "expected"),
    [
        (None, {"state": "TASK_KILLED"}, Fate.FORGET),
        (None, {"state": "TASK_FAILED", "source": "SOURCE_EXECUTOR"}, Fate.FORGET),
        (None, {"state": "TASK_FAILED", "reason": "REASON_EXECUTOR_TERMINATED"}, Fate.SWEEP),
        (pod(phase="Succeeded"), {"state": "TASK_FINISHED"}, Fate.FORGET),
        (pod(phase="Failed"), {"state": "TASK_FAILED"}, Fate.FORGET),
        (pod(phase="Failed", deleted=True), {"state": "TASK_FAILED"}, Fate.DELETE),
        (pod(deleted=True), {"state": "TASK_KILLED", "source": "SOURCE_EXECUTOR"}, Fate.DELETE),
        (pod(deleted=True), {"state": "TASK_KILLED", "source": "SOURCE_AGENT"}, Fate.LAUNCH),
        (pod(), {"state": "TASK_FAILED", "reason": "REASON_EXECUTOR_TERMINATED"}, Fate.LAUNCH),
        (pod(deleted=True), {"state": "TASK_FAILED", "reason": "REASON_EXECUTOR_TERMINATED"}, Fate.LAUNCH),
        (pod(), {"state": "TASK_GONE"}, Fate.LAUNCH),
        (pod(bound=False, phase="Pending"), {"state": "TASK_DROPPED"}, Fate.LAUNCH),
        (pod(bound=False, phase="Pending"), {"state": "TASK_ERROR"}, Fate.LAUNCH),
        (pod(), {"state": "TASK_GONE_BY_OPERATOR"}, Fate.DELETE),
        (pod(), {"state": "TASK_KILLED", "reason": "REASON_AGENT_DRAINING"}, Fate.DELETE),
        (pod(bound=False), {"state": "TASK_DROPPED", "reason": "REASON_AGENT_DRAINING"}, Fate.LAUNCH),
    ],
)
def test_what_becomes_of_a_pod_whose_task_ended(what: Any, status: dict[str, str], expected: Fate) -> None:
    assert fate(what, status) is expected


def test_a_bound_pods_task_is_recovered_from_its_annotations() -> None:
    bound = pod()
    assert recovered(bound, 0) is None
    bound["metadata"]["annotations"] = mapping.binding_annotations(
        task_id="pod.1", host="minion-0", agent="S0", offer="O0", executor="E"
    )
    task = recovered(bound, 7.0)
    assert task is not None
    assert (task.id, task.agent, task.executor, task.state, task.confirmed) == ("pod.1", "S0", "E", RECOVERED, False)


def test_the_registry_finds_tasks_by_pod_and_remembers_the_dead() -> None:
    bound = pod()
    bound["metadata"]["annotations"] = {mapping.TASK_ID: "pod.1"}
    task = recovered(bound, 0)
    assert task is not None
    registry = TaskRegistry()
    registry.add(task)
    assert registry.of_pod("uid-nginx") == task
    registry.change("pod.1", "TASK_RUNNING", 1)
    changed = registry.get("pod.1")
    assert changed is not None
    assert changed.confirmed
    registry.remove("pod.1")
    assert registry.of_pod("uid-nginx") is None
    assert registry.has_ended("pod.1")
