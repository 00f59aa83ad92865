"""What an agent knows: frameworks, their executors, the tasks in them."""

from __future__ import annotations

import asyncio
from collections import deque
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from k8slab.mesos.agent.processes import Process
from k8slab.mesos.http import EventStream
from k8slab.mesos.resources import Resources, total

TERMINAL = frozenset(
    ("TASK_FINISHED", "TASK_FAILED", "TASK_KILLED", "TASK_ERROR", "TASK_LOST", "TASK_DROPPED", "TASK_GONE")
)
MAX_COMPLETED_TASKS = 200
MAX_COMPLETED_EXECUTORS = 150
MAX_COMPLETED_FRAMEWORKS = 50

ExecutorState = Literal["registering", "running", "terminating", "terminated"]


@dataclass
class Task:
    """``info`` is the TaskInfo; ``state`` the executor's latest word, acknowledged or not.

    ``group`` is the TaskGroupInfo it came with: those tasks are delivered together.
    """

    task_id: str
    info: dict[str, Any]
    role: str
    resources: Resources
    state: str = "TASK_STAGING"
    statuses: list[dict[str, Any]] = field(default_factory=list)
    group: dict[str, Any] | None = None

    @property
    def terminal(self) -> bool:
        return self.state in TERMINAL

    def take(self, status: dict[str, Any]) -> None:
        """The latest word; of several in the same state one after the other only the last is remembered."""
        if self.statuses and self.statuses[-1]["state"] == status["state"]:
            self.statuses.pop()
        self.statuses.append(status)
        self.state = status["state"]


@dataclass
class Executor:
    """One run of an executor, a container in Mesos' words.

    ``queued``: tasks it has not been given yet. ``tasks``: given, or ended with updates not yet acknowledged.
    ``pending_kills``: KILL events by task id, that came while it was not subscribed.
    """

    framework_id: str
    executor_id: str
    info: dict[str, Any]
    role: str
    container_id: str
    directory: Path
    resources: Resources
    is_command: bool
    state: ExecutorState = "registering"
    stream: EventStream | None = None
    queued: dict[str, Task] = field(default_factory=dict)
    tasks: dict[str, Task] = field(default_factory=dict)
    pending_kills: dict[str, dict[str, Any]] = field(default_factory=dict)
    completed_tasks: deque[Task] = field(default_factory=lambda: deque(maxlen=MAX_COMPLETED_TASKS))
    # While it is being started: what it needs is fetched.
    launch: asyncio.Task[None] | None = None
    process: Process | None = None
    timer: asyncio.TimerHandle | None = None
    # Why its live tasks ended, when the agent itself ended it.
    termination: tuple[str, str] | None = None
    # What it used too much of, when that is why.
    exceeded: list[dict[str, Any]] = field(default_factory=list)

    @property
    def is_builtin(self) -> bool:
        """Whether its program is one of ours."""
        return self.is_command or self.is_default

    @property
    def is_default(self) -> bool:
        return bool(self.info.get("type") == "DEFAULT")

    @property
    def in_docker(self) -> bool:
        return bool(self.info.get("container", {}).get("type") == "DOCKER")

    @property
    def docker_name(self) -> str:
        """What its container is called in the engine."""
        return f"mesos-{self.container_id}"

    @property
    def label(self) -> str:
        return f"executor {self.executor_id} of framework {self.framework_id}"

    def send(self, event: dict[str, Any]) -> None:
        if self.stream is not None:
            self.stream.send(event)

    def disconnect(self) -> None:
        if self.stream is not None:
            self.stream.close()

    def has_told(self, status: dict[str, Any]) -> bool:
        """Whether this is a repetition of what one of its ended tasks was done with."""
        return any(
            known["uuid"] == status["uuid"]
            for task in self.completed_tasks
            if task.task_id == status["task_id"]["value"]
            for known in task.statuses
        )

    def stop_timer(self) -> None:
        if self.timer is not None:
            self.timer.cancel()
            self.timer = None

    @property
    def live(self) -> list[Task]:
        return [task for task in [*self.queued.values(), *self.tasks.values()] if not task.terminal]

    @property
    def allocated(self) -> Resources:
        return total([self.resources, *(task.resources for task in self.live)])


@dataclass
class Framework:
    info: dict[str, Any]
    executors: dict[str, Executor] = field(default_factory=dict)
    completed_executors: deque[Executor] = field(default_factory=lambda: deque(maxlen=MAX_COMPLETED_EXECUTORS))
    terminating: bool = False

    @property
    def framework_id(self) -> str:
        return str(self.info["id"]["value"])

    @property
    def checkpoint(self) -> bool:
        return bool(self.info.get("checkpoint", False))

    def capable(self, capability: str) -> bool:
        return any(known.get("type") == capability for known in self.info.get("capabilities", ()))
