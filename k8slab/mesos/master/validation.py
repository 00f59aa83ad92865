"""What a master refuses, and in which words. Every function returns the reason, None when there is none."""

from __future__ import annotations

import base64
from collections.abc import Collection, Mapping
from typing import Any

from k8slab.mesos.master.model import Agent, Framework
from k8slab.mesos.resources import NONE, Resources

LONGEST_ID = 255
UUID_BYTES = 16
LONGEST_FAILOVER_SECONDS = 2**63 / 1e9
SUBSTANCELESS = frozenset(("TEARDOWN", "REVIVE", "SUPPRESS"))


def call_error(call: Mapping[str, Any]) -> str | None:
    """The ladder's row on validation; the text follows "Failed to validate scheduler::Call: "."""
    kind = call.get("type")
    if kind is None:
        return "Expecting 'type' to be present"
    payload = call.get(kind.lower())
    if payload is None and kind not in SUBSTANCELESS:
        return f"Expecting '{kind.lower()}' to be present"
    if kind == "SUBSCRIBE":
        assert payload is not None
        if call.get("framework_id") != payload["framework_info"].get("id"):
            return "'framework_id' differs from 'subscribe.framework_info.id'"
        return None
    if "framework_id" not in call:
        return "Expecting 'framework_id' to be present"
    if kind in ("ACKNOWLEDGE", "ACKNOWLEDGE_OPERATION_STATUS"):
        assert payload is not None
        if len(base64.b64decode(payload["uuid"])) != UUID_BYTES:
            return "Not a valid UUID"
        if "agent_id" not in payload:
            return "Expecting 'agent_id' to be present"
    return None


def framework_error(
    info: Mapping[str, Any],
    *,
    suppressed: Collection[str],
    whitelist: Collection[str] | None,
    root_submissions: bool,
) -> str | None:
    """Why a FrameworkInfo cannot subscribe; told in an ERROR event, not in the status."""
    roles = info.get("roles", ())
    multi_role = any(known.get("type") == "MULTI_ROLE" for known in info.get("capabilities", ()))
    if multi_role and "role" in info:
        return "'FrameworkInfo.role' must not be set when the framework is MULTI_ROLE capable"
    if not multi_role and roles:
        return "'FrameworkInfo.roles' must not be set when the framework is not MULTI_ROLE capable"
    if len(set(roles)) != len(roles):
        return "'FrameworkInfo.roles' contains duplicate items"
    wanted = roles if multi_role else [info.get("role", "*")]
    for role in wanted:
        if error := role_error(role):
            return error
        if whitelist is not None and role not in whitelist:
            return f"Role '{role}' is not present in the master's --roles"
    if not set(suppressed) <= set(wanted):
        return "Suppressed roles are not all among the framework's roles"
    if info["user"] == "root" and not root_submissions:
        return "User 'root' is not allowed to run frameworks without --root_submissions set"
    framework_id = (info.get("id") or {}).get("value")
    if framework_id is not None and (error := id_error(framework_id)):
        return f"Framework ID '{framework_id}' is invalid: {error}"
    timeout = info.get("failover_timeout", 0.0)
    if not 0 <= timeout < LONGEST_FAILOVER_SECONDS:
        return f"The framework failover_timeout ({timeout}) is invalid"
    return None


def role_error(role: str) -> str | None:
    if role == "*":
        return None
    for part in role.split("/"):
        if part in ("", ".", "..", "*"):
            return f"Role '{role}' is invalid: it has a part '{part}'"
        if part.startswith("-"):
            return f"Role '{role}' is invalid: a part starts with '-'"
        if any(character.isspace() or ord(character) < 32 or character == "\x7f" for character in part):
            return f"Role '{role}' is invalid: it has whitespace or control characters"
    return None


def id_error(identifier: str) -> str | None:
    if not identifier:
        return "ID must not be empty"
    if len(identifier) > LONGEST_ID:
        return f"ID must not be greater than {LONGEST_ID} characters"
    if identifier in (".", ".."):
        return f"'{identifier}' is disallowed"
    if any(ord(character) < 32 or character in "/\\\x7f" for character in identifier):
        return f"'{identifier}' contains invalid characters"
    return None


def task_error(task: Mapping[str, Any], *, framework: Framework, agent: Agent, available: Resources) -> str | None:
    """Why a task cannot be launched with what is left of the offer."""
    task_id = task["task_id"]["value"]
    if error := id_error(task_id):
        return f"Task ID '{task_id}' is invalid: {error}"
    if task_id in framework.tasks:
        return f"Task has duplicate ID: {task_id}"
    if task["agent_id"]["value"] != agent.agent_id:
        return f"Task uses invalid agent {task['agent_id']['value']} while agent {agent.agent_id} is expected"
    has_executor, has_command = "executor" in task, "command" in task
    if has_executor == has_command:
        return "Task should have at least one (but not both) of CommandInfo or ExecutorInfo present"
    if grace_error := _grace_error(task):
        return grace_error
    try:
        wanted = Resources.from_json(task.get("resources", ()))
        executor_resources = Resources.from_json((task.get("executor") or {}).get("resources", ()))
    except ValueError as invalid:
        return f"Task uses invalid resources: {invalid}"
    if not wanted:
        return "Task uses no resources"
    if has_executor:
        known = agent.executors.get((framework.framework_id, task["executor"]["executor_id"]["value"]))
        if error := _executor_error(task["executor"], framework=framework, known=known.info if known else None):
            return error
        if known is not None:
            executor_resources = NONE
    if not available.contains(wanted + executor_resources):
        return f"Task uses more resources {wanted + executor_resources} than available {available}"
    return None


def _grace_error(task: Mapping[str, Any]) -> str | None:
    grace = (task.get("kill_policy") or {}).get("grace_period", {}).get("nanoseconds", 0)
    return "Task's 'kill_policy.grace_period' must be non-negative" if grace < 0 else None


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
