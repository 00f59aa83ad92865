"""Who is offered what: hierarchical DRF over roles and the frameworks in them. Pure: no I/O, no clock of its own.

Amounts offered count as allocated until they are given back with ``recover``; what tasks take simply stays allocated.
Times are seconds on any monotonic clock the caller chooses.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from k8slab.mesos.resources import MILLI, NONE, Resources

MIN_CPUS = 10
MIN_MEM = 32 * MILLI
DEFAULT_REFUSE_SECONDS = 5.0
LONGEST_REFUSE_SECONDS = 365 * 86400.0


@dataclass(frozen=True)
class Grant:
    """Resources of one agent for one framework in one role: what becomes an offer."""

    framework_id: str
    role: str
    agent_id: str
    resources: Resources


@dataclass(frozen=True)
class Filter:
    """The framework does not want to see these resources, or fewer, before ``expires``."""

    expires: float
    refused: Resources


@dataclass
class _Agent:
    total: Resources
    active: bool
    allocated: Resources = NONE


@dataclass
class _Framework:
    roles: tuple[str, ...]
    active: bool
    suppressed: set[str]
    allocated: dict[str, dict[str, int]] = field(default_factory=dict)
    filters: dict[tuple[str, str], list[Filter]] = field(default_factory=dict)


class Allocator:
    """The books of one master. Unknown ids in ``recover`` and ``remove_*`` are nothing: their owner is gone already."""

    def __init__(self, *, seed: int | None = None, allocation_interval: float = 1.0) -> None:
        self._random = random.Random(seed)
        self._interval = allocation_interval
        self._agents: dict[str, _Agent] = {}
        self._frameworks: dict[str, _Framework] = {}
        self._weights: dict[str, float] = {}
        self._totals: dict[str, int] = {}
        self._role_allocated: dict[str, dict[str, int]] = {}
        # Shares by role (framework id "") and by role and framework, for as long as nothing changes them: each
        # agent of a cycle asks for all of them, and a grant changes two.
        self._shares: dict[tuple[str, str], float] = {}

    def add_agent(self, agent_id: str, total: Resources, *, active: bool = True) -> None:
        self._agents[agent_id] = _Agent(total=total, active=active)
        self._add_to_totals(total, 1)

    def remove_agent(self, agent_id: str) -> None:
        """Its allocations must have been recovered before, or they would weigh on their framework for ever."""
        agent = self._agents.pop(agent_id, None)
        if agent is not None:
            self._add_to_totals(agent.total, -1)

    def set_agent_total(self, agent_id: str, whole: Resources) -> None:
        """The agent came back with other resources; what is allocated on it stays so."""
        agent = self._agents[agent_id]
        self._add_to_totals(agent.total, -1)
        self._add_to_totals(whole, 1)
        agent.total = whole

    def set_agent_active(self, agent_id: str, active: bool) -> None:
        self._agents[agent_id].active = active

    def add_framework(
        self, framework_id: str, roles: Iterable[str], *, active: bool = True, suppressed: Iterable[str] = ()
    ) -> None:
        self._frameworks[framework_id] = _Framework(roles=tuple(roles), active=active, suppressed=set(suppressed))

    def update_framework(self, framework_id: str, roles: Iterable[str], *, suppressed: Iterable[str] = ()) -> None:
        framework = self._frameworks[framework_id]
        framework.roles, framework.suppressed = tuple(roles), set(suppressed)

    def remove_framework(self, framework_id: str) -> None:
        framework = self._frameworks.pop(framework_id, None)
        for role, amounts in framework.allocated.items() if framework else ():
            for name, amount in amounts.items():
                self._role_allocated[role][name] -= amount
        for role in {*framework.roles, *framework.allocated} if framework else ():
            self._forget_shares(role, framework_id)

    def set_framework_active(self, framework_id: str, active: bool) -> None:
        """A framework that comes back is offered everything anew: its filters belonged to the one that left."""
        framework = self._frameworks[framework_id]
        framework.active = active
        framework.filters.clear()

    def set_weight(self, role: str, weight: float) -> None:
        self._weights[role] = weight

    def occupy(self, framework_id: str, role: str, agent_id: str, resources: Resources) -> None:
        """Book what tasks and executors of a returning agent already use."""
        self._book(framework_id, role, agent_id, resources)

    def recover(
        self,
        framework_id: str,
        role: str,
        agent_id: str,
        resources: Resources,
        *,
        now: float = 0.0,
        refuse_seconds: float | None = None,
    ) -> None:
        """Take resources back; with ``refuse_seconds`` the framework is not offered them again before that."""
        agent = self._agents.get(agent_id)
        if agent is not None:
            agent.allocated -= resources
        framework = self._frameworks.get(framework_id)
        if framework is None:
            return
        self._forget_shares(role, framework_id)
        _add(framework.allocated.setdefault(role, {}), resources, -1)
        _add(self._role_allocated.setdefault(role, {}), resources, -1)
        if refuse_seconds and resources:
            lifetime = max(refuse_seconds, self._interval)
            known = framework.filters.setdefault((role, agent_id), [])
            known.append(Filter(expires=now + lifetime, refused=resources))

    def suppress(self, framework_id: str, roles: Iterable[str]) -> None:
        self._frameworks[framework_id].suppressed.update(roles)

    def revive(self, framework_id: str, roles: Iterable[str]) -> None:
        framework = self._frameworks[framework_id]
        revived = set(roles)
        framework.suppressed -= revived
        framework.filters = {key: kept for key, kept in framework.filters.items() if key[0] not in revived}

    def allocate(self, now: float, *, agents: Iterable[str] | None = None) -> list[Grant]:
        """Hand out everything that is free and wanted, on all active agents or only on ``agents``."""
        candidates = [
            agent_id
            for agent_id in (self._agents if agents is None else agents)
            if agent_id in self._agents and self._agents[agent_id].active
        ]
        self._random.shuffle(candidates)
        hungry = {
            framework_id: framework
            for framework_id, framework in self._frameworks.items()
            if framework.active and set(framework.roles) - framework.suppressed
        }
        if not hungry:
            return []
        grants: list[Grant] = []
        for agent_id in candidates:
            grants += self._allocate_on(agent_id, hungry, now)
        return grants

    def _allocate_on(self, agent_id: str, hungry: Mapping[str, _Framework], now: float) -> list[Grant]:
        agent = self._agents[agent_id]
        free = agent.total - agent.allocated
        grants = []
        for role, framework_id in self._in_turn(hungry) if _worth_offering(free) else ():
            usable = free.for_role(role)
            if not _worth_offering(usable) or self._filtered(hungry[framework_id], role, agent_id, usable, now):
                continue
            self._book(framework_id, role, agent_id, usable)
            grants.append(Grant(framework_id=framework_id, role=role, agent_id=agent_id, resources=usable))
            free -= usable
            if not _worth_offering(free):
                break
        return grants

    def _in_turn(self, hungry: Mapping[str, _Framework]) -> list[tuple[str, str]]:
        """(role, framework) pairs, the least served first: roles by share over weight, then frameworks by share."""
        turns = [
            (
                self._share(role, "", self._role_allocated) / self._weights.get(role, 1.0),
                role,
                self._share(role, framework_id, framework.allocated),
                framework_id,
            )
            for framework_id, framework in hungry.items()
            for role in framework.roles
            if role not in framework.suppressed
        ]
        return [(role, framework_id) for _, role, _, framework_id in sorted(turns)]

    def _share(self, role: str, framework_id: str, allocated: Mapping[str, Mapping[str, int]]) -> float:
        """The dominant share: the largest part taken of any one resource."""
        share = self._shares.get((role, framework_id))
        if share is None:
            totals, amounts = self._totals, allocated.get(role, {})
            share = max((amount / totals[name] for name, amount in amounts.items() if totals.get(name)), default=0.0)
            self._shares[(role, framework_id)] = share
        return share

    def _forget_shares(self, role: str, framework_id: str) -> None:
        self._shares.pop((role, ""), None)
        self._shares.pop((role, framework_id), None)

    def _add_to_totals(self, resources: Resources, sign: int) -> None:
        _add(self._totals, resources, sign)
        self._shares.clear()

    def _filtered(self, framework: _Framework, role: str, agent_id: str, offered: Resources, now: float) -> bool:
        filters = framework.filters.get((role, agent_id))
        if not filters:
            return False
        alive = [known for known in filters if known.expires > now]
        framework.filters[(role, agent_id)] = alive
        return any(known.refused.contains(offered) for known in alive)

    def _book(self, framework_id: str, role: str, agent_id: str, resources: Resources) -> None:
        self._agents[agent_id].allocated += resources
        self._forget_shares(role, framework_id)
        _add(self._frameworks[framework_id].allocated.setdefault(role, {}), resources, 1)
        _add(self._role_allocated.setdefault(role, {}), resources, 1)

    def free(self, agent_id: str) -> Resources:
        agent = self._agents[agent_id]
        return agent.total - agent.allocated


def _add(amounts: dict[str, int], resources: Resources, sign: int) -> None:
    for name, amount in resources.totals().items():
        amounts[name] = amounts.get(name, 0) + sign * amount


def _worth_offering(resources: Resources) -> bool:
    totals = resources.totals()
    return totals.get("cpus", 0) >= MIN_CPUS or totals.get("mem", 0) >= MIN_MEM


def refuse_seconds(asked: float | None) -> float:
    """How long a filter lasts: 5 s when nothing sensible was asked, a year at most."""
    if asked is None or not asked >= 0:
        return DEFAULT_REFUSE_SECONDS
    return min(asked, LONGEST_REFUSE_SECONDS)
