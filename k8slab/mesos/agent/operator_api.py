"""``POST /api/v1`` of an agent: what operators ask it. Calls that are not served answer 501, as unknown ones do."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from aiohttp import web

from k8slab.mesos.agent import views
from k8slab.mesos.agent.agent import Agent
from k8slab.mesos.agent.model import Executor, Framework, Task
from k8slab.mesos.files import Files
from k8slab.mesos.http import refuse
from k8slab.mesos.log_level import LogLevel
from k8slab.mesos.operator_calls import (
    FILES,
    answer,
    filled,
    look_into_files,
    pairs,
    read_operator_call,
    set_logging_level,
)

NEEDS = FILES | {"SET_LOGGING_LEVEL"}


class OperatorApi:
    def __init__(self, agent: Agent, files: Files, log_level: LogLevel, *, registered: Callable[[], bool]) -> None:
        self._agent = agent
        self._files = files
        self._log_level = log_level
        self._registered = registered
        self._answers: dict[str, Callable[[], dict[str, Any]]] = {
            "GET_HEALTH": lambda: {"healthy": True},
            "GET_FLAGS": self._flags,
            "GET_VERSION": lambda: {"version_info": views.version()},
            "GET_METRICS": self._metrics,
            "GET_LOGGING_LEVEL": lambda: {"level": log_level.level},
            "GET_STATE": self._state,
            "GET_CONTAINERS": self._containers,
            "GET_FRAMEWORKS": self._frameworks,
            "GET_EXECUTORS": self._executors,
            "GET_TASKS": self._tasks,
            "GET_OPERATIONS": dict,
            "GET_RESOURCE_PROVIDERS": dict,
            "GET_AGENT": lambda: {"agent_info": agent.info},
        }

    async def __call__(self, request: web.Request) -> web.StreamResponse:
        asked = await read_operator_call(request, "AgentOperatorCall", package="agent", needs=NEEDS)
        if isinstance(asked, web.Response):
            return asked
        if asked.kind == "SET_LOGGING_LEVEL":
            return set_logging_level(self._log_level, asked)
        if asked.kind in FILES:
            return await look_into_files(request, self._files, asked)
        if asked.kind not in self._answers:
            return refuse(501, f"Call {asked.kind} is not supported by this agent")
        return answer(request, asked.kind, self._answers[asked.kind]())

    def _flags(self) -> dict[str, Any]:
        return {"flags": pairs(self._agent.options.flags)}

    def _metrics(self) -> dict[str, Any]:
        return {"metrics": pairs(views.metrics(self._agent, registered=self._registered()))}

    def _state(self) -> dict[str, Any]:
        return {
            "get_tasks": self._tasks(),
            "get_executors": self._executors(),
            "get_frameworks": self._frameworks(),
        }

    def _containers(self) -> dict[str, Any]:
        shown = []
        for container in views.containers(self._agent):
            ids = {key: {"value": container[key]} for key in ("framework_id", "executor_id", "container_id")}
            kept = {"executor_name": container["executor_name"], "container_status": container["status"]}
            shown.append({**ids, **kept, "resource_statistics": container["statistics"]})
        return {"containers": shown}

    def _frameworks(self) -> dict[str, Any]:
        frameworks = self._agent.frameworks.values()
        return filled(frameworks=[{"framework_info": framework.info} for framework in frameworks])

    def _executors(self) -> dict[str, Any]:
        live: list[dict[str, Any]] = []
        ended: list[dict[str, Any]] = []
        for framework in self._agent.frameworks.values():
            for executor in framework.executors.values():
                (ended if executor.state == "terminated" else live).append({"executor_info": executor.info})
            ended += [{"executor_info": executor.info} for executor in framework.completed_executors]
        return filled(executors=live, completed_executors=ended)

    def _tasks(self) -> dict[str, Any]:
        queued: list[dict[str, Any]] = []
        launched: list[dict[str, Any]] = []
        terminated: list[dict[str, Any]] = []
        completed: list[dict[str, Any]] = []
        for framework in self._agent.frameworks.values():
            for executor in [*framework.executors.values(), *framework.completed_executors]:
                queued += [_task(framework, executor, task) for task in executor.queued.values()]
                for task in executor.tasks.values():
                    (terminated if task.terminal else launched).append(_task(framework, executor, task))
                completed += [_task(framework, executor, task) for task in executor.completed_tasks]
        return filled(
            queued_tasks=queued, launched_tasks=launched, terminated_tasks=terminated, completed_tasks=completed
        )


def _task(framework: Framework, executor: Executor, task: Task) -> dict[str, Any]:
    shown = ("labels", "discovery", "container", "health_check", "limits")
    last = task.statuses[-1] if task.statuses else None
    return {
        "name": task.info.get("name", ""),
        "task_id": {"value": task.task_id},
        "framework_id": {"value": framework.framework_id},
        "agent_id": task.info["agent_id"],
        "state": task.state,
        "resources": task.info.get("resources", []),
        **({} if executor.is_command else {"executor_id": {"value": executor.executor_id}}),
        **{key: task.info[key] for key in shown if key in task.info},
        **({"statuses": task.statuses} if task.statuses else {}),
        **({"status_update_state": last["state"], "status_update_uuid": last["uuid"]} if last else {}),
    }
