"""Why a task, or a group of them, cannot be launched. Every function returns the reason, None when there is none."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from k8slab.mesos.master.model import Agent, Framework
from k8slab.mesos.master.validation import id_error
from k8slab.mesos.resources import NONE, Resources, total

SMALLEST_CPUS = 0.01
SMALLEST_MEM = 32.0
PORTS = range(1, 2**16)


def task_error(task: Mapping[str, Any], *, framework: Framework, agent: Agent, available: Resources) -> str | None:
    """Why a task cannot be launched with what is left of the offer."""
    if error := _common_error(task, framework=framework, agent=agent):
        return error
    has_executor, has_command = "executor" in task, "command" in task
    if has_executor == has_command:
        return "Task should have at least one (but not both) of CommandInfo or ExecutorInfo present"
    wanted, executor_resources = Resources.from_json(task["resources"]), NONE
    if has_executor:
        if task["executor"].get("type") == "DEFAULT":
            return "'ExecutorInfo.type' must be 'CUSTOM'"
        known = agent.executors.get((framework.framework_id, task["executor"]["executor_id"]["value"]))
        if error := _executor_error(task["executor"], framework=framework, known=known.info if known else None):
            return error
        if known is None:
            executor_resources = Resources.from_json(task["executor"].get("resources", ()))
    if not available.contains(wanted + executor_resources):
        return f"Task uses more resources {wanted + executor_resources} than available {available}"
    return None


def group_error(
    tasks: Sequence[Mapping[str, Any]],
    executor: Mapping[str, Any],
    *,
    framework: Framework,
    agent: Agent,
    available: Resources,
) -> str | None:
    """Why a group cannot be launched with what is left of the offer; each of ``tasks`` names its executor."""
    if not tasks:
        return "Task group cannot be empty"
    if len({task["task_id"]["value"] for task in tasks}) < len(tasks):
        return "Task group has tasks with duplicate IDs"
    executor_id = executor["executor_id"]["value"]
    for task in tasks:
        task_id = task["task_id"]["value"]
        if error := _common_error(task, framework=framework, agent=agent) or _nested_error(task):
            return f"Task '{task_id}' is invalid: {error}"
    known = agent.executors.get((framework.framework_id, executor_id))
    if error := _executor_error(executor, framework=framework, known=known.info if known else None):
        return error
    if "type" not in executor:
        return "'ExecutorInfo.type' must be set"
    if (executor.get("container") or {}).get("type") == "DOCKER":
        return "Docker ContainerInfo is not supported on the executor"
    for task in tasks:
        if task["executor"] != executor:
            task_id = task["task_id"]["value"]
            return f"The `ExecutorInfo` of task '{task_id}' is different from executor '{executor_id}'"
    own = Resources.from_json(executor.get("resources", ()))
    if error := _smallness_error(executor):
        return f"Executor '{executor_id}' {error}"
    wanted = total([*(Resources.from_json(task["resources"]) for task in tasks), NONE if known else own])
    if not available.contains(wanted):
        return f"Total resources {wanted} required by task group and its executor are more than available {available}"
    return None


def _common_error(task: Mapping[str, Any], *, framework: Framework, agent: Agent) -> str | None:
    task_id = task["task_id"]["value"]
    if error := id_error(task_id):
        return f"Task ID '{task_id}' is invalid: {error}"
    if task_id in framework.tasks:
        return f"Task has duplicate ID: {task_id}"
    if task["agent_id"]["value"] != agent.agent_id:
        return f"Task uses invalid agent {task['agent_id']['value']} while agent {agent.agent_id} is expected"
    if (task.get("kill_policy") or {}).get("grace_period", {}).get("nanoseconds", 0) < 0:
        return "Task's 'kill_policy.grace_period' must be non-negative"
    if task.get("max_completion_time", {"nanoseconds": 0})["nanoseconds"] < 0:
        return "Task's 'max_completion_time' must be non-negative"
    if "health_check" in task and (error := _check_error(task["health_check"], "health check", task["health_check"])):
        return f"Task uses invalid health check: {error}"
    if "check" in task and (error := _check_error(task["check"], "check", task["check"].get("command"))):
        return f"Task uses invalid check: {error}"
    try:
        wanted = Resources.from_json(task.get("resources", ()))
    except ValueError as invalid:
        return f"Task uses invalid resources: {invalid}"
    return None if wanted else "Task uses no resources"


def _nested_error(task: Mapping[str, Any]) -> str | None:
    if (task.get("container") or {}).get("type") == "DOCKER":
        return "Docker ContainerInfo is not supported on the task"
    if "limits" in task:
        return "Resource limits may only be set for tasks within a task group when 'share_cgroups' is set to 'false'"
    return None


def _check_error(check: Mapping[str, Any], kind: str, command_holder: Any) -> str | None:
    """A check or health check; ``command_holder`` is the object whose ``command`` it would run."""
    match check.get("type"):
        case None:
            return f"The {kind} must specify 'type'"
        case "COMMAND":
            command = command_holder.get("command") if isinstance(command_holder, Mapping) else None
            if not isinstance(command, Mapping):
                return f"Expecting 'command' to be set for COMMAND {kind}"
            if command.get("shell", True) and not command.get("value"):
                return "Shell command is not specified"
        case "HTTP" | "TCP" as name:
            target = check.get(name.lower())
            if not isinstance(target, Mapping):
                return f"Expecting '{name.lower()}' to be set for {name} {kind}"
            if target.get("port") not in PORTS:
                return f"'{name.lower()}.port' must be set to a port for {name} {kind}"
            if name == "HTTP" and not str(target.get("path", "/")).startswith("/"):
                return f"The path '{target['path']}' of HTTP {kind} must start with '/'"
        case other:
            return f"'{other}' is not a valid {kind} type"
    for key in ("delay_seconds", "interval_seconds", "timeout_seconds", "grace_period_seconds"):
        seconds = check.get(key, 0)
        if not isinstance(seconds, int | float) or not seconds >= 0:
            return f"Expecting '{key}' to be non-negative"
    return None


def _smallness_error(executor: Mapping[str, Any]) -> str | None:
    amounts = dict.fromkeys(("cpus", "mem", "disk"), 0.0)
    for resource in executor.get("resources", ()):
        if resource["name"] in amounts and "scalar" in resource:
            amounts[resource["name"]] += resource["scalar"]["value"]
    if amounts["cpus"] < SMALLEST_CPUS:
        return f"uses less CPUs ({amounts['cpus']:g}) than the minimum required ({SMALLEST_CPUS:g})"
    if amounts["mem"] < SMALLEST_MEM:
        return f"uses less memory ({amounts['mem']:g}MB) than the minimum required ({SMALLEST_MEM:g}MB)"
    return None if amounts["disk"] else "uses no disk"


def _executor_error(
    executor: Mapping[str, Any], *, framework: Framework, known: Mapping[str, Any] | None
) -> str | None:
    executor_id = executor["executor_id"]["value"]
    if error := id_error(executor_id):
        return f"Executor ID '{executor_id}' is invalid: {error}"
    if executor.get("framework_id", {"value": framework.framework_id})["value"] != framework.framework_id:
        return "ExecutorInfo has an invalid FrameworkID"
    if executor.get("type") == "DEFAULT":
        if "command" in executor:
            return "'ExecutorInfo.command' must not be set for 'DEFAULT' executor"
    elif "command" not in executor:
        return "'ExecutorInfo.command' must be set for 'CUSTOM' executor"
    if executor.get("shutdown_grace_period", {"nanoseconds": 0})["nanoseconds"] < 0:
        return "ExecutorInfo's 'shutdown_grace_period' must be non-negative"
    try:
        Resources.from_json(executor.get("resources", ()))
    except ValueError as invalid:
        return f"Executor uses invalid resources: {invalid}"
    if known is not None and comparable_executor(known) != comparable_executor(executor):
        return (
            "ExecutorInfo is not compatible with existing ExecutorInfo with same ExecutorID "
            f"'{executor_id}' on agent: existing {dict(known)}, task's {dict(executor)}"
        )
    return None


def comparable_executor(info: Mapping[str, Any]) -> dict[str, Any]:
    """An ExecutorInfo without what the master itself adds; resources in a form in which order means nothing."""
    plain = {key: value for key, value in info.items() if key not in ("framework_id", "resources")}
    plain.setdefault("type", "CUSTOM")
    plain["resources"] = Resources.from_json(info.get("resources", ()))
    return plain
