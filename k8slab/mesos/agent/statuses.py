"""TaskStatus messages of the agent's own making, and what it adds to those of executors."""

from __future__ import annotations

import base64
import time
import uuid
from collections.abc import Mapping
from typing import Any

from k8slab.mesos.agent.model import TERMINAL, Executor, Framework

Status = dict[str, Any]


def own_status(agent_id: str, task_id: str, state: str, reason: str, message: str) -> Status:
    return {
        "task_id": {"value": task_id},
        "state": state,
        "source": "SOURCE_AGENT",
        "reason": f"REASON_{reason}",
        "message": message,
        "agent_id": {"value": agent_id},
        "timestamp": time.time(),
        "uuid": base64.b64encode(uuid.uuid4().bytes).decode("ascii"),
    }


def completed(status: Status, executor: Executor, *, agent_id: str, ip: str) -> Status:
    """With where it runs filled in."""
    container: dict[str, Any] = {
        "container_id": {"value": executor.container_id},
        "network_infos": [{"ip_addresses": [{"protocol": "IPv4", "ip_address": ip}]}],
    }
    if executor.process is not None:
        container["executor_pid"] = executor.process.pid
    container |= status.get("container_status", {})
    return {
        "timestamp": time.time(),
        **status,
        "agent_id": {"value": agent_id},
        "executor_id": {"value": executor.executor_id},
        "container_status": container,
    }


def ends(status: Mapping[str, Any]) -> bool:
    return status["state"] in TERMINAL


def lost_state(framework: Framework | None) -> str:
    """How a task that never ran is called to this framework."""
    return "TASK_DROPPED" if framework is not None and framework.capable("PARTITION_AWARE") else "TASK_LOST"


def unknown_state(*, partition_aware: bool) -> str:
    """How a task that is not here any more is called."""
    return "TASK_GONE" if partition_aware else "TASK_LOST"
