"""Frameworks, agents, tasks and executors as the operator API shows them: v1 messages, agents instead of slaves."""

from __future__ import annotations

from typing import Any

from k8slab.mesos.master.model import Agent, Executor, Framework, Task
from k8slab.mesos.resources import Resources

NANOSECONDS = 1_000_000_000


def time_point(seconds: float) -> dict[str, int]:
    return {"nanoseconds": int(seconds * NANOSECONDS)}


def agent_json(agent: Agent) -> dict[str, Any]:
    shown: dict[str, Any] = {
        "agent_info": agent.info,
        "active": agent.connected,
        "deactivated": False,
        "version": agent.version,
        "pid": agent.pid,
        "registered_time": time_point(agent.registered_time),
        **_amounts("total_resources", agent.resources),
        **_amounts("allocated_resources", agent.used),
        **_amounts("offered_resources", agent.offered),
    }
    if agent.reregistered_time is not None:
        shown["reregistered_time"] = time_point(agent.reregistered_time)
    if capabilities := agent.info.get("capabilities"):
        shown["capabilities"] = capabilities
    return shown


def framework_json(framework: Framework) -> dict[str, Any]:
    shown: dict[str, Any] = {
        "framework_info": framework.info,
        "active": framework.active,
        "connected": framework.connected,
        "recovered": framework.recovered,
        "registered_time": time_point(framework.registered_time),
        **_amounts("allocated_resources", framework.used),
        **_amounts("offered_resources", framework.offered),
    }
    if framework.reregistered_time is not None:
        shown["reregistered_time"] = time_point(framework.reregistered_time)
    if framework.unregistered_time:
        shown["unregistered_time"] = time_point(framework.unregistered_time)
    if framework.offers:
        shown["offers"] = [
            {
                "id": {"value": offer.offer_id},
                "framework_id": {"value": offer.framework_id},
                "agent_id": {"value": offer.agent_id},
                "allocation_info": {"role": offer.role},
                **_amounts("resources", offer.resources, role=offer.role),
            }
            for offer in framework.offers.values()
        ]
    return shown


def task_json(task: Task) -> dict[str, Any]:
    shown: dict[str, Any] = {
        "name": task.name,
        "task_id": {"value": task.task_id},
        "framework_id": {"value": task.framework_id},
        "agent_id": {"value": task.agent_id},
        "state": task.state,
        **_amounts("resources", task.resources, role=task.role),
        **task.info,
    }
    if task.executor_id:
        shown["executor_id"] = {"value": task.executor_id}
    if task.statuses:
        shown["statuses"] = task.statuses
        shown["status_update_state"] = task.statuses[-1]["state"]
        if "uuid" in task.statuses[-1]:
            shown["status_update_uuid"] = task.statuses[-1]["uuid"]
    return shown


def executor_json(executor: Executor) -> dict[str, Any]:
    info = {**executor.info, "framework_id": {"value": executor.framework_id}}
    return {"executor_info": info, "agent_id": {"value": executor.agent_id}}


def _amounts(name: str, resources: Resources, *, role: str | None = None) -> dict[str, Any]:
    shown = resources.to_json(refined=True, allocation_role=role)
    return {name: shown} if shown else {}
