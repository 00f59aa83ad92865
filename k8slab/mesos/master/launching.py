"""Launching tasks, alone or in groups: what is refused, what is written into the books, what the agent is told."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

from k8slab.mesos.master.master import Master
from k8slab.mesos.master.model import Agent, Executor, Framework, Task, task_status
from k8slab.mesos.master.task_validation import group_error, task_error
from k8slab.mesos.resources import NONE, Resources

SHOWN = ("labels", "discovery", "container", "health_check", "limits")


class Launching:
    """``launch`` and ``launch_group`` return the resources they took; what is refused takes none."""

    def __init__(self, master: Master) -> None:
        self._master = master

    def launch(
        self, framework: Framework, agent: Agent, role: str, task: dict[str, Any], available: Resources
    ) -> Resources:
        """Launch one task, and its executor where that is new."""
        if not agent.connected:
            self._drop_disconnected(framework, agent, [task])
            return NONE
        if error := task_error(task, framework=framework, agent=agent, available=available):
            self.refuse(framework, task, "TASK_INVALID", error)
            return NONE
        taken = self._book(framework, agent, role, [task], task.get("executor"))
        agent.send({"type": "RUN_TASK", "framework_info": framework.info, "task": task, "role": role})
        self._master.counters["messages_launch_tasks"] += 1
        return taken

    def launch_group(
        self, framework: Framework, agent: Agent, role: str, group: Mapping[str, Any], available: Resources
    ) -> Resources:
        """Launch all tasks of a ``LaunchGroup`` under its executor, or none of them."""
        executor = group["executor"]
        tasks = [{"executor": executor, **task} for task in group["task_group"].get("tasks", ())]
        if not agent.connected:
            self._drop_disconnected(framework, agent, tasks)
            return NONE
        if error := group_error(tasks, executor, framework=framework, agent=agent, available=available):
            for task in tasks:
                self.refuse(framework, task, "TASK_GROUP_INVALID", error)
            return NONE
        taken = self._book(framework, agent, role, tasks, executor)
        agent.send(
            {
                "type": "RUN_TASK_GROUP",
                "framework_info": framework.info,
                "executor": executor,
                "task_group": {"tasks": tasks},
                "role": role,
            }
        )
        self._master.counters["messages_launch_tasks"] += 1
        return taken

    def _book(
        self,
        framework: Framework,
        agent: Agent,
        role: str,
        tasks: Sequence[Mapping[str, Any]],
        executor: Mapping[str, Any] | None,
    ) -> Resources:
        taken = NONE
        executor_id = executor["executor_id"]["value"] if executor else ""
        for task in tasks:
            record = Task(
                task_id=task["task_id"]["value"],
                name=task["name"],
                framework_id=framework.framework_id,
                agent_id=agent.agent_id,
                executor_id=executor_id,
                role=role,
                resources=Resources.from_json(task.get("resources", ())),
                info={key: task[key] for key in SHOWN if key in task},
            )
            self._master.add_task(record)
            taken += record.resources
        if executor is not None and (framework.framework_id, executor_id) not in agent.executors:
            new = Executor(
                executor_id=executor_id,
                framework_id=framework.framework_id,
                agent_id=agent.agent_id,
                role=role,
                info=dict(executor),
                resources=Resources.from_json(executor.get("resources", ())),
            )
            self._master.add_executor(new)
            taken += new.resources
        return taken

    def refuse(self, framework: Framework, task: Mapping[str, Any], reason: str, message: str) -> None:
        """The task can never be: TASK_ERROR."""
        self._tell(framework, task, "TASK_ERROR", reason, message)

    def drop(self, framework: Framework, task: Mapping[str, Any], reason: str, message: str) -> None:
        """The task cannot be now: TASK_DROPPED, for those who know the word."""
        state = "TASK_DROPPED" if framework.capable("PARTITION_AWARE") else "TASK_LOST"
        self._tell(framework, task, state, reason, message)

    def _drop_disconnected(self, framework: Framework, agent: Agent, tasks: Sequence[Mapping[str, Any]]) -> None:
        for task in tasks:
            self.drop(framework, task, "AGENT_DISCONNECTED", f"Agent {agent.hostname} disconnected")

    def _tell(self, framework: Framework, task: Mapping[str, Any], state: str, reason: str, message: str) -> None:
        status = task_status(
            None,
            state,
            task_id=task["task_id"]["value"],
            agent_id=task["agent_id"]["value"],
            reason=reason,
            message=message,
            timestamp=time.time(),
        )
        if executor := task.get("executor"):
            status["executor_id"] = executor["executor_id"]
        self._master.send_update(framework, status)
