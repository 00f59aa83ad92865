"""A Mesos cluster in tables: masters, agents, frameworks with their shares, tasks, offers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any, get_args

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from k8slab.view.look import BAD, GOOD, LOUD, MILD, PLAIN, QUIET, Look
from k8slab.view.mesos_cluster import Agent, Cluster, Framework, Kind, Offer, Resources, Task
from k8slab.view.table import plain_table
from k8slab.view.words import age, count

KINDS: tuple[Kind, ...] = get_args(Kind)
STATE_STYLES = {
    "TASK_RUNNING": GOOD,
    "TASK_FINISHED": QUIET,
    "TASK_KILLED": QUIET,
    "TASK_STAGING": MILD,
    "TASK_STARTING": MILD,
    "TASK_KILLING": MILD,
}
GOING_WELL = ("TASK_STAGING", "TASK_STARTING", "TASK_RUNNING", "TASK_FINISHED")


def shown(cluster: Cluster, kind: Kind, look: Look = PLAIN, *, now: float) -> RenderableType:
    """One kind of thing as a table, or the sentence that there is none."""
    return TABLES[kind](cluster, look, now) or Text(f"No {kind}.", QUIET)


def overview(cluster: Cluster, look: Look = PLAIN, *, now: float) -> RenderableType:
    """Everything but the single tasks: a line on the whole, then masters, agents and frameworks."""
    blank = Text("")
    parts: list[RenderableType] = [headline(cluster, look)]
    for kind in ("masters", "agents", "frameworks"):
        parts += [blank, shown(cluster, kind, look, now=now)]
    if states := task_states(cluster.tasks):
        parts += [blank, Text(f"tasks: {states}")]
    return Group(*parts)


def headline(cluster: Cluster, look: Look) -> Text:
    used, total = cluster.used, cluster.total
    between = look.symbols.between
    line = Text.assemble((cluster.name or "Mesos", LOUD), "  ")
    line.append(f"{used.cpus:g} of {total.cpus:g} cpus{between}{_memory(used.mem)} of {_memory(total.mem)}")
    return line.append(f"{between}{count(len(cluster.agents), 'agent')}{between}{count(len(cluster.offers), 'offer')}")


def task_states(tasks: Sequence[Task]) -> str:
    """Such as "3 running, 120 finished", the live ones first."""
    counted = Counter(task.state for task in sorted(tasks, key=lambda task: task.ended))
    return ", ".join(f"{number} {_word(state)}" for state, number in counted.items())


def _masters(cluster: Cluster, look: Look, now: float) -> Table | None:
    table = plain_table("MASTER", "ADDRESS", "STATE", "ELECTED", "VERSION")
    signs = {"leading": GOOD, "standby": "", "down": BAD}
    for master in cluster.masters:
        since = f"{age(now - master.elected)} ago" if master.elected else "-"
        state = Text(master.state, signs[master.state])
        table.add_row(master.name, master.address, state, since, master.version or "-")
    return table if cluster.masters else None


def _agents(cluster: Cluster, look: Look, now: float) -> Table | None:
    right, folded = ("CPUS", "MEM", "TASKS"), ("AGENT", "ATTRIBUTES")
    table = plain_table(
        *("AGENT", "ADDRESS", "STATE", "CPUS", "MEM", "TASKS", "ATTRIBUTES"), right=right, folded=folded
    )
    for agent in cluster.agents:
        state = Text("active", GOOD) if agent.active else Text("away", BAD)
        table.add_row(
            agent.host,
            agent.address,
            state,
            f"{agent.used.cpus:g}/{agent.total.cpus:g}",
            f"{_memory(agent.used.mem)}/{_memory(agent.total.mem)}",
            str(agent.tasks),
            _attributes(agent),
        )
    return table if cluster.agents else None


def _frameworks(cluster: Cluster, look: Look, now: float) -> Table | None:
    right, folded = ("CPUS", "MEM", "SHARE", "TASKS", "OFFERS"), ("FRAMEWORK", "ROLE", "ID")
    table = plain_table(
        *("FRAMEWORK", "ROLE", "STATE", "CPUS", "MEM", "SHARE", "OF", "TASKS", "OFFERS", "ID"),
        right=right,
        folded=folded,
    )
    for framework in cluster.frameworks:
        share = framework.share
        weight = "" if framework.weight == 1 else f" ({framework.weight:g})"
        table.add_row(
            framework.name,
            ", ".join(framework.roles) + weight,
            _connection(framework),
            f"{framework.used.cpus:g}",
            _memory(framework.used.mem),
            f"{100 * share.part:.1f}%",
            share.resource or "-",
            str(framework.tasks),
            str(framework.offers),
            Text(framework.id, QUIET),
        )
    return table if cluster.frameworks else None


def _tasks(cluster: Cluster, look: Look, now: float) -> Table | None:
    right, folded = ("CPUS", "MEM", "AGE"), ("TASK", "FRAMEWORK", "AGENT")
    table = plain_table(*("TASK", "FRAMEWORK", "STATE", "AGENT", "CPUS", "MEM", "AGE"), right=right, folded=folded)
    for task in cluster.tasks:
        since = age(now - task.since) if task.since else "-"
        state = Text(_word(task.state), STATE_STYLES.get(task.state, BAD))
        cpus, mem = f"{task.resources.cpus:g}", _memory(task.resources.mem)
        table.add_row(task.id, task.framework, state, task.agent, cpus, mem, since)
    return table if cluster.tasks else None


def _offers(cluster: Cluster, look: Look, now: float) -> Table | None:
    right, folded = ("CPUS", "MEM"), ("OFFER", "FRAMEWORK", "AGENT", "PORTS")
    table = plain_table(*("OFFER", "FRAMEWORK", "AGENT", "CPUS", "MEM", "PORTS"), right=right, folded=folded)
    for offer in cluster.offers:
        cpus, mem = f"{offer.resources.cpus:g}", _memory(offer.resources.mem)
        table.add_row(offer.id, offer.framework, offer.agent, cpus, mem, offer.resources.ports or "-")
    return table if cluster.offers else None


TABLES: Mapping[Kind, Callable[[Cluster, Look, float], Table | None]] = {
    "masters": _masters,
    "agents": _agents,
    "frameworks": _frameworks,
    "tasks": _tasks,
    "offers": _offers,
}


def as_json(cluster: Cluster, kinds: Sequence[Kind]) -> dict[str, Any]:
    """``{"schema": 1, "cluster": …}`` and a list for each of ``kinds``."""
    forms: Mapping[Kind, Callable[[], list[dict[str, Any]]]] = {
        "masters": lambda: [
            {
                "name": one.name,
                "address": one.address,
                "state": one.state,
                "elected": one.elected or None,
                "version": one.version or None,
            }
            for one in cluster.masters
        ],
        "agents": lambda: [_agent_json(agent) for agent in cluster.agents],
        "frameworks": lambda: [_framework_json(framework) for framework in cluster.frameworks],
        "tasks": lambda: [_task_json(task) for task in cluster.tasks],
        "offers": lambda: [_offer_json(offer) for offer in cluster.offers],
    }
    return {"schema": 1, "cluster": cluster.name, **{kind: forms[kind]() for kind in kinds}}


def _agent_json(agent: Agent) -> dict[str, Any]:
    return {
        "id": agent.id,
        "hostname": agent.host,
        "address": agent.address,
        "active": agent.active,
        "resources": _resources_json(agent.total),
        "used": _resources_json(agent.used),
        "offered": _resources_json(agent.offered),
        "tasks": agent.tasks,
        "attributes": dict(agent.attributes),
    }


def _framework_json(framework: Framework) -> dict[str, Any]:
    return {
        "id": framework.id,
        "name": framework.name,
        "roles": list(framework.roles),
        "weight": framework.weight,
        "active": framework.active,
        "connected": framework.connected,
        "used": _resources_json(framework.used),
        "offered": _resources_json(framework.offered),
        "share": round(framework.share.part, 6),
        "dominant": framework.share.resource,
        "allocated_share": round(framework.allocated_share.part, 6),
        "tasks": framework.tasks,
        "offers": framework.offers,
    }


def _task_json(task: Task) -> dict[str, Any]:
    return {
        "id": task.id,
        "name": task.name,
        "framework": task.framework,
        "framework_id": task.framework_id,
        "agent": task.agent,
        "agent_id": task.agent_id,
        "state": task.state,
        "resources": _resources_json(task.resources),
        "since": task.since or None,
    }


def _offer_json(offer: Offer) -> dict[str, Any]:
    return {
        "id": offer.id,
        "framework": offer.framework,
        "agent": offer.agent,
        "resources": _resources_json(offer.resources),
    }


def _resources_json(resources: Resources) -> dict[str, Any]:
    amounts = {"cpus": resources.cpus, "mem": resources.mem, "disk": resources.disk, "gpus": resources.gpus}
    return {**amounts, "ports": resources.ports} if resources.ports else amounts


def progress(task_id: str, status: Mapping[str, Any], look: Look = PLAIN) -> Text:
    """One state of a task that is being watched."""
    state = status["state"]
    line = Text.assemble((f"{task_id} ", QUIET), (_word(state), STATE_STYLES.get(state, BAD)))
    reason = str(status.get("reason", "")).removeprefix("REASON_").lower().replace("_", " ")
    told = ": ".join(part for part in (reason, status.get("message", "")) if part)
    return line.append(f" ({told})", QUIET) if told and state not in GOING_WELL else line


def ended(task_id: str, status: Mapping[str, Any] | None, look: Look = PLAIN) -> Text:
    """The last word on a task."""
    if status is None:
        return Text(f"{look.symbols.failed} {task_id} was not seen to its end", BAD)
    if status["state"] == "TASK_FINISHED":
        return Text(f"{look.symbols.ready} {task_id}: {status['state']}", GOOD)
    message = f": {status['message']}" if status.get("message") else ""
    return Text(f"{look.symbols.failed} {task_id}: {status['state']}{message}", BAD)


def _connection(framework: Framework) -> Text:
    if framework.connected:
        return Text("active", GOOD) if framework.active else Text("inactive", MILD)
    return Text("away", BAD)


def _attributes(agent: Agent) -> str:
    return " ".join(f"{name}={value}" for name, value in sorted(agent.attributes.items())) or "-"


def _memory(megabytes: float) -> str:
    return f"{megabytes / 1024:.1f}G" if megabytes >= 1024 else f"{megabytes:g}M"


def _word(state: str) -> str:
    return state.removeprefix("TASK_").lower()
