"""The tasks that this framework has launched and that have not ended, as far as it knows."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

from k8slab.k8sm import mapping

LAUNCHING: Final = "LAUNCHING"
RECOVERED: Final = "RECOVERED"

_REMEMBERED: Final = 10_000

TERMINAL: Final = frozenset(
    {"TASK_FINISHED", "TASK_FAILED", "TASK_KILLED", "TASK_ERROR", "TASK_LOST", "TASK_DROPPED", "TASK_GONE"}
    | {"TASK_GONE_BY_OPERATOR"}
)


@dataclass(frozen=True)
class Task:
    """``state``: Mesos' last word, or LAUNCHING before any, or RECOVERED when only the pod's annotations are known.
    ``changed``, ``killed_at``: seconds of the loop's clock."""

    id: str
    uid: str
    pod: str
    agent: str
    host: str
    executor: str
    state: str
    changed: float
    killed_at: float | None = None

    @property
    def confirmed(self) -> bool:
        return self.state not in (LAUNCHING, RECOVERED)


class TaskRegistry:
    def __init__(self) -> None:
        self._tasks: dict[str, Task] = {}
        self._by_pod: dict[str, str] = {}
        self._ended: OrderedDict[str, None] = OrderedDict()

    def __len__(self) -> int:
        return len(self._tasks)

    def __iter__(self) -> Iterator[Task]:
        return iter(list(self._tasks.values()))

    def get(self, task: str) -> Task | None:
        return self._tasks.get(task)

    def of_pod(self, uid: str) -> Task | None:
        return self._tasks.get(self._by_pod.get(uid, ""))

    def add(self, task: Task) -> None:
        self._tasks[task.id] = task
        self._by_pod[task.uid] = task.id

    def change(self, task: str, state: str, now: float) -> None:
        self._tasks[task] = replace(self._tasks[task], state=state, changed=now)

    def killing(self, task: str, now: float) -> None:
        self._tasks[task] = replace(self._tasks[task], killed_at=now)

    def has_ended(self, task: str) -> bool:
        """Whether this task is known to be over, though a pod's annotations may still speak of it."""
        return task in self._ended

    def remove(self, task: str) -> Task | None:
        gone = self._tasks.pop(task, None)
        self._ended[task] = None
        if len(self._ended) > _REMEMBERED:
            self._ended.popitem(last=False)
        if gone is not None and self._by_pod.get(gone.uid) == task:
            del self._by_pod[gone.uid]
        return gone


def recovered(pod: Mapping[str, Any], now: float) -> Task | None:
    """The task that a bound pod's annotations speak of, or None when it has none."""
    task = mapping.annotation(pod, mapping.TASK_ID)
    host = pod["spec"].get("nodeName") or ""
    if not task or not host:
        return None
    meta = pod["metadata"]
    return Task(
        id=task,
        uid=meta["uid"],
        pod=f"{meta['namespace']}/{meta['name']}",
        agent=mapping.annotation(pod, mapping.SLAVE_ID),
        host=host,
        executor=mapping.annotation(pod, mapping.EXECUTOR_ID),
        state=RECOVERED,
        changed=now,
    )


def is_finished(pod: Mapping[str, Any]) -> bool:
    return (pod.get("status") or {}).get("phase") in ("Succeeded", "Failed")


def is_deleted(pod: Mapping[str, Any]) -> bool:
    return bool(pod["metadata"].get("deletionTimestamp"))
