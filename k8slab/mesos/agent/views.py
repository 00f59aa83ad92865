"""The agent's books as its HTTP routes show them, in the older API's names."""

from __future__ import annotations

import os
import time
from typing import Any

from k8slab.mesos import attributes
from k8slab.mesos.agent.agent import Agent
from k8slab.mesos.agent.model import Executor, Framework, Task
from k8slab.mesos.agent.processes import ProcessTable
from k8slab.mesos.log_file import LOG_FLAGS
from k8slab.mesos.version import VERSION

CAPABILITIES = ("MULTI_ROLE", "HIERARCHICAL_ROLE", "RESERVATION_REFINEMENT")


def version() -> dict[str, Any]:
    return {"build_date": "", "build_time": 0.0, "build_user": "k8slab", "version": VERSION}


def state(agent: Agent, *, master: str | None) -> dict[str, Any]:
    resources, used = agent.resources, agent.used()
    listed = agent.checkpointed_resources or agent.info.get("resources", [])
    shown: dict[str, Any] = {
        **version(),
        "start_time": agent.start_time,
        "id": agent.agent_id,
        "pid": agent.pid,
        "hostname": agent.info["hostname"],
        "capabilities": list(CAPABILITIES),
        "resources": resources.summary(),
        "reserved_resources": {role: part.summary() for role, part in resources.reserved().items()},
        "unreserved_resources": resources.unreserved().summary(),
        "reserved_resources_full": {role: part.to_json(refined=True) for role, part in resources.reserved().items()},
        "unreserved_resources_full": resources.unreserved().to_json(refined=True),
        "used_resources": used.summary(),
        "reserved_resources_allocated": {role: part.summary() for role, part in used.reserved().items()},
        "unreserved_resources_allocated": used.unreserved().summary(),
        "resources_full": listed,
        "attributes": attributes.summary(agent.info.get("attributes", ())),
        "flags": dict(agent.options.flags),
        "frameworks": [_framework(framework) for framework in agent.frameworks.values()],
        "completed_frameworks": [_framework(framework) for framework in agent.completed_frameworks],
    }
    shown |= {key: agent.options.flags[key] for key in LOG_FLAGS if agent.options.flags.get(key)}
    if master is not None:
        shown["master_hostname"] = master.rpartition(":")[0]
    return shown


def _framework(framework: Framework) -> dict[str, Any]:
    info = framework.info
    return {
        "id": framework.framework_id,
        "name": info["name"],
        "user": info["user"],
        "failover_timeout": info.get("failover_timeout", 0.0),
        "checkpoint": framework.checkpoint,
        "hostname": info.get("hostname", ""),
        **({"principal": info["principal"]} if "principal" in info else {}),
        "executors": [_executor(executor) for executor in framework.executors.values()],
        "completed_executors": [_executor(executor) for executor in framework.completed_executors],
        **({"roles": info["roles"]} if "roles" in info else {"role": info.get("role", "*")}),
    }


def _executor(executor: Executor) -> dict[str, Any]:
    info = executor.info
    return {
        "id": executor.executor_id,
        "name": info.get("name", ""),
        "source": info.get("source", ""),
        "container": executor.container_id,
        "directory": str(executor.directory),
        "resources": executor.allocated.summary(),
        "role": executor.role,
        "type": info.get("type", "COMMAND" if executor.is_command else "CUSTOM"),
        **({"labels": info["labels"].get("labels", [])} if "labels" in info else {}),
        "tasks": [_task(executor, task) for task in executor.tasks.values()],
        "queued_tasks": [_task(executor, task) for task in executor.queued.values()],
        "completed_tasks": [_task(executor, task) for task in executor.completed_tasks],
    }


def _task(executor: Executor, task: Task) -> dict[str, Any]:
    kept = ("state", "timestamp", "labels", "container_status", "healthy")
    return {
        "id": task.task_id,
        "name": task.info.get("name", ""),
        "framework_id": executor.framework_id,
        "executor_id": "" if executor.is_command else executor.executor_id,
        "slave_id": task.info["agent_id"]["value"],
        "state": task.state,
        "resources": task.resources.summary(),
        "role": task.role,
        "statuses": [{key: status[key] for key in kept if key in status} for status in task.statuses],
    }


def statistics(agent: Agent) -> list[dict[str, Any]]:
    """What every running container uses and may use."""
    table = ProcessTable()
    shown = agent.isolation.statistics
    return [{**_names(executor), "statistics": shown(executor, table)} for executor in _running(agent)]


def containers(agent: Agent) -> list[dict[str, Any]]:
    table = ProcessTable()
    return [
        {
            **_names(executor),
            "container_id": executor.container_id,
            "statistics": agent.isolation.statistics(executor, table),
            "status": {
                "container_id": {"value": executor.container_id},
                "executor_pid": executor.process.pid if executor.process else 0,
            },
        }
        for executor in _running(agent)
    ]


def _running(agent: Agent) -> list[Executor]:
    found = [executor for framework in agent.frameworks.values() for executor in framework.executors.values()]
    return [executor for executor in found if executor.process is not None and executor.state != "terminated"]


def _names(executor: Executor) -> dict[str, Any]:
    return {
        "executor_id": executor.executor_id,
        "executor_name": executor.info.get("name", ""),
        "framework_id": executor.framework_id,
        "source": executor.info.get("source", ""),
    }


def metrics(agent: Agent, *, registered: bool) -> dict[str, float]:
    executors = [executor for framework in agent.frameworks.values() for executor in framework.executors.values()]
    tasks = [task for executor in executors for task in [*executor.queued.values(), *executor.tasks.values()]]
    load = os.getloadavg()
    shown: dict[str, float] = {
        "slave/registered": float(registered),
        "slave/uptime_secs": time.time() - agent.start_time,
        "slave/frameworks_active": len(agent.frameworks),
        "system/cpus_total": os.cpu_count() or 1,
        "system/load_1min": load[0],
        "system/load_5min": load[1],
        "system/load_15min": load[2],
    }
    for name in ("registering", "running", "terminating"):
        shown[f"slave/executors_{name}"] = sum(executor.state == name for executor in executors)
    for name in ("staging", "starting", "running", "killing", "finished", "failed", "killed", "lost"):
        shown[f"slave/tasks_{name}"] = sum(task.state == f"TASK_{name.upper()}" for task in tasks)
    capacity, used = agent.resources, agent.used()
    for name in ("cpus", "gpus", "mem", "disk"):
        whole, taken = capacity.scalar(name), used.scalar(name)
        shown[f"slave/{name}_total"], shown[f"slave/{name}_used"] = whole, taken
        shown[f"slave/{name}_percent"] = taken / whole if whole else 0.0
    return shown
