"""What a master knows: frameworks, agents, executors, tasks, offers. Its books are changed by ``Master`` alone."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import orjson

from k8slab.mesos.http import EventStream
from k8slab.mesos.resources import NONE, Resources, total

ENDED = frozenset(("TASK_FINISHED", "TASK_FAILED", "TASK_KILLED", "TASK_ERROR"))
VANISHED = frozenset(("TASK_LOST", "TASK_DROPPED", "TASK_GONE", "TASK_GONE_BY_OPERATOR"))
TERMINAL = ENDED | VANISHED
PRESUMED = frozenset(("TASK_UNREACHABLE", "TASK_LOST"))
MAX_COMPLETED_TASKS = 1000
MAX_STATUSES = 100


@dataclass
class Task:
    """One task. ``executor_id`` is empty for a command task; ``state`` is the latest the agent reported.

    ``info`` keeps what /state shows beside it: labels, discovery, container, health_check, user.
    """

    task_id: str
    name: str
    framework_id: str
    agent_id: str
    executor_id: str
    role: str
    resources: Resources
    state: str = "TASK_STAGING"
    statuses: list[dict[str, Any]] = field(default_factory=list)
    info: dict[str, Any] = field(default_factory=dict)
    released: bool = False
    # What was shown of it by the name of the form, with the state it was then in: those who look, look again.
    shown: dict[str, tuple[str, orjson.Fragment]] = field(default_factory=dict, repr=False, compare=False)

    @property
    def terminal(self) -> bool:
        return self.state in TERMINAL

    def fragment(self, form: str, make: Callable[[Task], dict[str, Any]]) -> orjson.Fragment:
        """``make(self)`` as JSON, made once: for tasks that have ended, of which there are many and which stay."""
        kept = self.shown.get(form)
        if kept is None or kept[0] != self.state:
            kept = self.shown[form] = (self.state, orjson.Fragment(orjson.dumps(make(self))))
        return kept[1]

    def note(self, status: dict[str, Any]) -> None:
        """Remember a status that went to the scheduler; repeats of one state are kept once."""
        self.shown.clear()
        if not self.statuses or self.statuses[-1]["state"] != status["state"]:
            self.statuses.append(status)
            del self.statuses[:-MAX_STATUSES]
        else:
            self.statuses[-1] = status


@dataclass
class Executor:
    """A custom executor known to live on an agent."""

    executor_id: str
    framework_id: str
    agent_id: str
    role: str
    info: dict[str, Any]
    resources: Resources


@dataclass
class Offer:
    offer_id: str
    framework_id: str
    agent_id: str
    role: str
    resources: Resources
    expiry: asyncio.TimerHandle | None = None


@dataclass
class Framework:
    """``stream`` is None while disconnected; ``recovered`` when only agents have told of it since this master leads."""

    framework_id: str
    info: dict[str, Any]
    registered_time: float
    stream: EventStream | None = None
    stream_id: str = ""
    active: bool = False
    recovered: bool = False
    reregistered_time: float | None = None
    unregistered_time: float = 0.0
    suppressed: set[str] = field(default_factory=set)
    tasks: dict[str, Task] = field(default_factory=dict)
    executors: dict[tuple[str, str], Executor] = field(default_factory=dict)
    offers: dict[str, Offer] = field(default_factory=dict)
    unreachable_tasks: deque[Task] = field(default_factory=lambda: deque(maxlen=MAX_COMPLETED_TASKS))
    completed_tasks: deque[Task] = field(default_factory=lambda: deque(maxlen=MAX_COMPLETED_TASKS))
    failover: asyncio.TimerHandle | None = None

    @property
    def connected(self) -> bool:
        return self.stream is not None

    @property
    def roles(self) -> tuple[str, ...]:
        return framework_roles(self.info)

    @property
    def capabilities(self) -> frozenset[str]:
        return frozenset(known["type"] for known in self.info.get("capabilities", ()) if "type" in known)

    def capable(self, capability: str) -> bool:
        return any(known.get("type") == capability for known in self.info.get("capabilities", ()))

    @property
    def used(self) -> Resources:
        tasks = (task.resources for task in self.tasks.values() if not task.released)
        return total([*tasks, *(executor.resources for executor in self.executors.values())])

    @property
    def offered(self) -> Resources:
        return total(offer.resources for offer in self.offers.values())

    def welcome_back(self, task_id: str, agent_id: str) -> None:
        """Its agent tells of this task again: it is neither unreachable nor lost with that agent any more."""
        for tasks in (self.unreachable_tasks, self.completed_tasks):
            for task in [task for task in tasks if (task.task_id, task.agent_id) == (task_id, agent_id)]:
                if task.state in PRESUMED:
                    tasks.remove(task)

    def send(self, event: dict[str, Any]) -> None:
        if self.stream is not None:
            self.stream.send(event)


@dataclass
class Agent:
    """``link`` carries events to it and is None while disconnected. Keys of tasks are (framework id, task id)."""

    agent_id: str
    info: dict[str, Any]
    resources: Resources
    pid: str
    version: str
    registered_time: float
    reregistered_time: float | None = None
    link: EventStream | None = None
    unanswered_pings: int = 0
    tasks: dict[tuple[str, str], Task] = field(default_factory=dict)
    executors: dict[tuple[str, str], Executor] = field(default_factory=dict)
    offers: dict[str, Offer] = field(default_factory=dict)
    pending_kills: dict[tuple[str, str], dict[str, Any]] = field(default_factory=dict)

    @property
    def connected(self) -> bool:
        return self.link is not None

    @property
    def hostname(self) -> str:
        return str(self.info.get("hostname", ""))

    @property
    def used(self) -> Resources:
        tasks = (task.resources for task in self.tasks.values() if not task.released)
        return total([*tasks, *(executor.resources for executor in self.executors.values())])

    @property
    def offered(self) -> Resources:
        return total(offer.resources for offer in self.offers.values()) if self.offers else NONE

    def send(self, event: dict[str, Any]) -> None:
        if self.link is not None:
            self.link.send(event)


def framework_roles(info: dict[str, Any]) -> tuple[str, ...]:
    """The roles a framework is subscribed to: its list with MULTI_ROLE, its one role (``*`` unless said) without."""
    if any(known.get("type") == "MULTI_ROLE" for known in info.get("capabilities", ())):
        return tuple(info.get("roles", ()))
    return (info.get("role") or "*",)


def task_status(
    task: Task | None,
    state: str,
    *,
    task_id: str = "",
    agent_id: str = "",
    reason: str,
    message: str,
    timestamp: float,
    **extra: Any,
) -> dict[str, Any]:
    """A status of the master's own making: it has no uuid, so nobody acknowledges it."""
    status: dict[str, Any] = {
        "task_id": {"value": task.task_id if task else task_id},
        "state": state,
        "source": "SOURCE_MASTER",
        "reason": f"REASON_{reason}",
        "message": message,
        "timestamp": timestamp,
        **extra,
    }
    if agent := task.agent_id if task else agent_id:
        status["agent_id"] = {"value": agent}
    if task and task.executor_id:
        status["executor_id"] = {"value": task.executor_id}
    return status
