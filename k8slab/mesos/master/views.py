"""The master's books as its HTTP routes show them. Names are the older API's: slaves, not agents."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from k8slab.mesos import attributes
from k8slab.mesos.log_file import LOG_FLAGS
from k8slab.mesos.master.master import Master
from k8slab.mesos.master.model import Agent, Executor, Framework, Offer, Task
from k8slab.mesos.version import VERSION

BUILD = {"build_date": "2020-11-20 00:00:00", "build_time": 1605830400.0, "build_user": "k8slab"}


def version() -> dict[str, Any]:
    return {**BUILD, "version": VERSION}


def state(master: Master) -> dict[str, Any]:
    """``/state``: everything, as the leader knows it."""
    options = master.options
    leader = master.info if master.elected else dict(master.leader or {})
    agents = master.agents.values()
    shown: dict[str, Any] = {
        **version(),
        "start_time": master.start_time,
        "id": master.master_id,
        "pid": master.pid,
        "hostname": options.hostname,
        "capabilities": [known["type"] for known in master.info["capabilities"]],
        "activated_slaves": sum(agent.connected for agent in agents),
        "deactivated_slaves": sum(not agent.connected for agent in agents),
        "unreachable_slaves": len(master.unreachable_agents),
        "flags": dict(options.flags),
        **slaves(master),
        **frameworks(master),
        "orphan_tasks": [],
    }
    if master.elected_time is not None:
        shown["elected_time"] = master.elected_time
    if leader:
        shown["leader"] = leader["pid"]
        shown["leader_info"] = {key: leader[key] for key in ("id", "pid", "port", "hostname")}
    if options.cluster:
        shown["cluster"] = options.cluster
    shown |= {key: options.flags[key] for key in LOG_FLAGS if options.flags.get(key)}
    return shown


def slaves(master: Master, *, slave_id: str | None = None, full: bool = False) -> dict[str, Any]:
    chosen = [agent for agent in master.agents.values() if slave_id in (None, agent.agent_id)]
    expected = master.membership.expected.items()
    recovered = [_recovered_slave(agent_id, info) for agent_id, info in expected if slave_id in (None, agent_id)]
    return {"slaves": [slave(agent, full=full) for agent in chosen], "recovered_slaves": recovered}


def _recovered_slave(agent_id: str, info: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "id": agent_id,
        "hostname": info.get("hostname", ""),
        "port": info.get("port", 5051),
        "attributes": attributes.summary(info.get("attributes", ())),
    }


def slave(agent: Agent, *, full: bool = False) -> dict[str, Any]:
    shown: dict[str, Any] = {
        "id": agent.agent_id,
        "hostname": agent.hostname,
        "port": agent.info.get("port", 5051),
        "attributes": attributes.summary(agent.info.get("attributes", ())),
        "pid": agent.pid,
        "registered_time": agent.registered_time,
        "resources": agent.resources.summary(),
        "used_resources": agent.used.summary(),
        "offered_resources": agent.offered.summary(),
        "reserved_resources": {role: part.summary() for role, part in agent.resources.reserved().items()},
        "unreserved_resources": agent.resources.unreserved().summary(),
        "active": agent.connected,
        "deactivated": False,
        "version": agent.version,
        "capabilities": [known["type"] for known in agent.info.get("capabilities", ())],
    }
    if agent.reregistered_time is not None:
        shown["reregistered_time"] = agent.reregistered_time
    if full:
        shown["reserved_resources_full"] = {role: part.to_json() for role, part in agent.resources.reserved().items()}
        shown["unreserved_resources_full"] = agent.resources.unreserved().to_json()
        shown["used_resources_full"] = agent.used.to_json()
        shown["offered_resources_full"] = agent.offered.to_json()
    return shown


def frameworks(master: Master, *, framework_id: str | None = None) -> dict[str, Any]:
    def chosen(known: Iterable[Framework]) -> list[dict[str, Any]]:
        return [framework_json(framework) for framework in known if framework_id in (None, framework.framework_id)]

    return {
        "frameworks": chosen(master.frameworks.values()),
        "completed_frameworks": chosen(master.completed_frameworks),
        "unregistered_frameworks": [],
    }


def framework_json(framework: Framework, *, tasks: bool = True) -> dict[str, Any]:
    info = framework.info
    used, offered = framework.used, framework.offered
    shown: dict[str, Any] = {
        "id": framework.framework_id,
        "name": info["name"],
        "user": info["user"],
        "hostname": info.get("hostname", ""),
        "webui_url": info.get("webui_url", ""),
        "failover_timeout": info.get("failover_timeout", 0.0),
        "checkpoint": info.get("checkpoint", False),
        "capabilities": [known["type"] for known in info.get("capabilities", ()) if "type" in known],
        "active": framework.active,
        "connected": framework.connected,
        "recovered": framework.recovered,
        "registered_time": framework.registered_time,
        "unregistered_time": framework.unregistered_time,
        "used_resources": used.summary(),
        "offered_resources": offered.summary(),
        "resources": (used + offered).summary(),
    }
    if tasks:
        shown["tasks"] = [task_json(task) for task in framework.tasks.values()]
        shown["unreachable_tasks"] = [task_json(task) for task in framework.unreachable_tasks]
        shown["completed_tasks"] = [task.fragment("v0", task_json) for task in framework.completed_tasks]
        shown["offers"] = [_offer(offer) for offer in framework.offers.values()]
        shown["executors"] = [_executor(executor) for executor in framework.executors.values()]
    if framework.capable("MULTI_ROLE"):
        shown["roles"] = list(framework.roles)
    else:
        shown["role"] = framework.roles[0]
    if framework.reregistered_time is not None:
        shown["reregistered_time"] = framework.reregistered_time
    for key in ("principal", "labels"):
        if key in info:
            shown[key] = info[key]["labels"] if key == "labels" else info[key]
    return shown


def task_json(task: Task) -> dict[str, Any]:
    info = {key: value["labels"] if key == "labels" else value for key, value in task.info.items()}
    kept = ("state", "timestamp", "labels", "container_status", "healthy")
    return {
        "id": task.task_id,
        "name": task.name,
        "framework_id": task.framework_id,
        "executor_id": task.executor_id,
        "slave_id": task.agent_id,
        "state": task.state,
        "resources": task.resources.summary(),
        "role": task.role,
        "statuses": [{key: status[key] for key in kept if key in status} for status in task.statuses],
        **info,
    }


def _offer(offer: Offer) -> dict[str, Any]:
    return {
        "id": offer.offer_id,
        "framework_id": offer.framework_id,
        "slave_id": offer.agent_id,
        "allocation_info": {"role": offer.role},
        "resources": offer.resources.summary(),
    }


def _executor(executor: Executor) -> dict[str, Any]:
    info = executor.info
    return {
        "executor_id": executor.executor_id,
        "name": info.get("name", ""),
        "framework_id": executor.framework_id,
        "slave_id": executor.agent_id,
        "source": info.get("source", ""),
        "role": executor.role,
        "resources": executor.resources.summary(),
        "command": {key: value for key, value in (info.get("command") or {}).items() if key != "environment"},
    }


def tasks(
    master: Master, *, limit: int, offset: int, newest_first: bool, framework_id: str | None, task_id: str | None
) -> dict[str, Any]:
    found = [
        task
        for framework in [*master.frameworks.values(), *master.completed_frameworks]
        if framework_id in (None, framework.framework_id)
        for task in [*framework.tasks.values(), *framework.unreachable_tasks, *framework.completed_tasks]
        if task_id in (None, task.task_id)
    ]
    found.sort(key=_first_seen, reverse=newest_first)
    return {"tasks": [task_json(task) for task in found[offset : offset + limit]]}


def _first_seen(task: Task) -> float:
    return float(task.statuses[0].get("timestamp", 0.0)) if task.statuses else 0.0
