"""``/state-summary``, ``/roles`` and ``/weights``: the books counted up, by agent, by framework and by role."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable
from typing import Any

from k8slab.mesos.master import views
from k8slab.mesos.master.master import Master
from k8slab.mesos.master.model import Framework, Task
from k8slab.mesos.reservations import UNRESERVED
from k8slab.mesos.resources import MILLI, NONE, Resources

DEFAULT_WEIGHT = 1.0
STATES = (
    "TASK_STAGING",
    "TASK_STARTING",
    "TASK_RUNNING",
    "TASK_KILLING",
    "TASK_FINISHED",
    "TASK_KILLED",
    "TASK_FAILED",
    "TASK_LOST",
    "TASK_ERROR",
    "TASK_DROPPED",
    "TASK_GONE",
    "TASK_GONE_BY_OPERATOR",
    "TASK_UNREACHABLE",
)
SUMMED = (
    "id",
    "name",
    "hostname",
    "webui_url",
    "active",
    "connected",
    "recovered",
    "capabilities",
    "used_resources",
    "offered_resources",
    "resources",
)


def summary(master: Master) -> dict[str, Any]:
    """``/state-summary``: agents and frameworks with how many tasks they have in each state."""
    by_agent: dict[str, Counter[str]] = defaultdict(Counter)
    frameworks_of: dict[str, set[str]] = defaultdict(set)
    frameworks = []
    for framework in master.frameworks.values():
        counts: Counter[str] = Counter()
        agents: set[str] = set()
        for task in _all_tasks(framework):
            counts[task.state] += 1
            by_agent[task.agent_id][task.state] += 1
            agents.add(task.agent_id)
        for executor in framework.executors.values():
            agents.add(executor.agent_id)
        for agent_id in agents:
            frameworks_of[agent_id].add(framework.framework_id)
        shown = views.framework_json(framework, tasks=False)
        kept = {key: shown[key] for key in SUMMED}
        frameworks.append({**kept, **_counts(counts), "slave_ids": sorted(agents)})
    slaves = [
        {
            **views.slave(agent),
            **_counts(by_agent[agent.agent_id]),
            "framework_ids": sorted(frameworks_of[agent.agent_id]),
        }
        for agent in master.agents.values()
    ]
    shown_summary: dict[str, Any] = {
        "hostname": master.options.hostname,
        "slaves": slaves,
        "frameworks": frameworks,
    }
    if master.options.cluster:
        shown_summary["cluster"] = master.options.cluster
    return shown_summary


def _counts(counts: Counter[str]) -> dict[str, int]:
    return {state: counts[state] for state in STATES}


def _all_tasks(framework: Framework) -> Iterable[Task]:
    yield from framework.tasks.values()
    yield from framework.unreachable_tasks
    yield from framework.completed_tasks


class RoleBook:
    """Per role, what its frameworks hold and what is reserved for it, added up in one walk over the books."""

    def __init__(self, master: Master) -> None:
        self.master = master
        self.frameworks: dict[str, list[str]] = defaultdict(list)
        self.allocated: dict[str, Resources] = defaultdict(lambda: NONE)
        self.offered: dict[str, Resources] = defaultdict(lambda: NONE)
        self.reserved: dict[str, Resources] = defaultdict(lambda: NONE)
        for framework in master.frameworks.values():
            for role in framework.roles:
                self.frameworks[role].append(framework.framework_id)
            for task in framework.tasks.values():
                if not task.released:
                    self.allocated[task.role] += task.resources
            for executor in framework.executors.values():
                self.allocated[executor.role] += executor.resources
            for offer in framework.offers.values():
                self.offered[offer.role] += offer.resources
        for agent in master.agents.values():
            for role, part in agent.resources.reserved().items():
                self.reserved[role] += part

    @property
    def names(self) -> list[str]:
        """Roles that somebody uses, that something is reserved for or that weigh something; ``*`` always."""
        known = {UNRESERVED, *self.frameworks, *self.allocated, *self.reserved, *self.master.weights}
        return sorted(known)

    def weight(self, role: str) -> float:
        return self.master.weights.get(role, DEFAULT_WEIGHT)


def roles(master: Master) -> dict[str, Any]:
    """``/roles``. Nothing has a quota: guarantees and limits are empty, what would count against one is shown."""
    book = RoleBook(master)
    shown = []
    for role in book.names:
        allocated, offered, reserved = book.allocated[role], book.offered[role], book.reserved[role]
        consumed = {name: amount / MILLI for name, amount in (reserved + allocated.unreserved()).totals().items()}
        shown.append(
            {
                "name": role,
                "weight": book.weight(role),
                "frameworks": book.frameworks[role],
                "resources": (allocated + offered).summary(),
                "allocated": allocated.summary(),
                "offered": offered.summary(),
                "reserved": reserved.summary(),
                "quota": {"role": role, "guarantee": {}, "limit": {}, "consumed": consumed},
            }
        )
    return {"roles": shown}


def roles_v1(master: Master) -> list[dict[str, Any]]:
    book = RoleBook(master)
    shown = []
    for role in book.names:
        item: dict[str, Any] = {"name": role, "weight": book.weight(role)}
        if frameworks := book.frameworks[role]:
            item["frameworks"] = [{"value": framework_id} for framework_id in frameworks]
        if held := (book.allocated[role] + book.offered[role]).to_json(refined=True):
            item["resources"] = held
        shown.append(item)
    return shown


def weights(master: Master) -> list[dict[str, Any]]:
    """Those that were set; every other role weighs 1."""
    return [{"role": role, "weight": weight} for role, weight in sorted(master.weights.items())]


def weights_error(infos: Iterable[dict[str, Any]]) -> str | None:
    """Why these WeightInfos cannot be taken, all or nothing."""
    for info in infos:
        role, weight = info.get("role", ""), info["weight"]
        if not role.strip() or any(letter.isspace() for letter in role) or role.startswith("-") or role in (".", ".."):
            return f"Invalid role '{role}'"
        if not 0 < weight < float("inf"):
            return f"Invalid weight '{weight:g}' for role '{role}': Weights must be positive"
    return None
