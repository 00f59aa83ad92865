"""What an agent tells a master when it comes: who it is, and after the first time, everything that lives here."""

from __future__ import annotations

from typing import Any

from k8slab.mesos.agent.agent import Agent, Call
from k8slab.mesos.agent.model import Executor, Task
from k8slab.mesos.version import VERSION

SHOWN = ("labels", "discovery", "container", "health_check", "limits")


def registration(agent: Agent) -> Call:
    """REGISTER without an id, REREGISTER with one."""
    call: Call = {"agent_info": agent.info, "pid": agent.pid, "version": VERSION}
    if agent.checkpointed_resources is not None:
        call["checkpointed_resources"] = agent.checkpointed_resources
    if not agent.agent_id:
        return {"type": "REGISTER", **call}
    executors = [executor for framework in agent.frameworks.values() for executor in framework.executors.values()]
    return {
        "type": "REREGISTER",
        **call,
        "frameworks": [framework.info for framework in agent.frameworks.values() if not framework.terminating],
        "executors": [
            {"framework_id": {"value": executor.framework_id}, "role": executor.role, "executor_info": executor.info}
            for executor in executors
            if not executor.is_command and executor.state != "terminated"
        ],
        "tasks": [
            _task(executor, task)
            for executor in executors
            for task in [*executor.queued.values(), *executor.tasks.values()]
        ],
    }


def _task(executor: Executor, task: Task) -> dict[str, Any]:
    return {
        "framework_id": {"value": executor.framework_id},
        "task_id": {"value": task.task_id},
        "name": task.info.get("name", ""),
        "executor_id": "" if executor.is_command else executor.executor_id,
        "role": task.role,
        "state": task.state,
        "statuses": task.statuses[-1:],
        "resources": task.info.get("resources", []),
        "info": {key: task.info[key] for key in SHOWN if key in task.info},
    }
