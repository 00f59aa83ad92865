"""``/metrics/snapshot`` of a master: a flat name → number, every number counted or measured."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from typing import Any

from k8slab.mesos.builtin_routes import system_metrics
from k8slab.mesos.master.master import Master
from k8slab.mesos.resources import MILLI, Resources, total

COUNTED = ("staging", "starting", "running", "killing")
ENDED = ("finished", "failed", "killed", "lost", "error", "dropped", "gone", "gone_by_operator")
COUNTERS = (
    "slave_registrations",
    "slave_reregistrations",
    "slave_removals",
    "recovery_slave_removals",
    "valid_status_updates",
    "invalid_status_updates",
    "dropped_messages",
)


def metrics(master: Master) -> dict[str, float]:
    agents, known = list(master.agents.values()), list(master.frameworks.values())
    capacity = total(agent.resources for agent in agents)
    used = total(agent.used for agent in agents)
    live = [task for framework in known for task in framework.tasks.values()]
    shown: dict[str, float] = {
        "master/uptime_secs": time.time() - master.start_time,
        "master/elected": float(master.elected),
        "master/slaves_active": _count(agents, lambda agent: agent.connected),
        "master/slaves_inactive": _count(agents, lambda agent: not agent.connected),
        "master/slaves_connected": _count(agents, lambda agent: agent.connected),
        "master/slaves_disconnected": _count(agents, lambda agent: not agent.connected),
        "master/slaves_unreachable": len(master.unreachable_agents),
        "master/frameworks_active": _count(known, lambda framework: framework.active),
        "master/frameworks_inactive": _count(known, lambda framework: not framework.active),
        "master/frameworks_connected": _count(known, lambda framework: framework.connected),
        "master/frameworks_disconnected": _count(known, lambda framework: not framework.connected),
        "master/outstanding_offers": len(master.offers),
    }
    for name in COUNTERS:
        shown[f"master/{name}"] = master.counters[name]
    for name in COUNTED:
        shown[f"master/tasks_{name}"] = _count(live, lambda task, name=name: task.state == f"TASK_{name.upper()}")
    for name in ENDED:
        shown[f"master/tasks_{name}"] = master.counters[f"status/TASK_{name.upper()}"]
    shown["master/tasks_unreachable"] = sum(len(framework.unreachable_tasks) for framework in known)
    for name, value in list(master.counters.items()):
        if name.startswith("messages_") or "/source_" in name:
            shown[f"master/{name}"] = value
    _amounts(shown, capacity, used)
    shown["allocator/mesos/allocation_runs"] = master.counters["allocator/mesos/allocation_runs"]
    shown["allocator/mesos/allocation_run_ms"] = master.counters["allocation_us"] / 1000
    offered = total(agent.offered for agent in agents)
    for name, amount in capacity.totals().items():
        shown[f"allocator/mesos/resources/{name}/total"] = amount / MILLI
        shown[f"allocator/mesos/resources/{name}/offered_or_allocated"] = (used + offered).scalar(name)
    return shown | master.membership.metrics() | system_metrics()


def _amounts(shown: dict[str, float], capacity: Resources, used: Resources) -> None:
    for name in ("cpus", "gpus", "mem", "disk"):
        whole, taken = capacity.scalar(name), used.scalar(name)
        shown[f"master/{name}_total"] = whole
        shown[f"master/{name}_used"] = taken
        shown[f"master/{name}_percent"] = taken / whole if whole else 0.0
        # No agent of this cluster can lend what it has promised to somebody else.
        shown |= {f"master/{name}_revocable_{kind}": 0.0 for kind in ("total", "used", "percent")}


def _count(items: Iterable[Any], wanted: Callable[..., bool]) -> int:
    return sum(1 for item in items if wanted(item))
