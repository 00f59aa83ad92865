"""Who is offered what: hierarchical DRF over roles and the frameworks in them. Pure: no I/O, no clock of its own.

Amounts offered count as allocated until they are given back with ``recover``; what tasks take simply stays allocated.
Times are seconds on any monotonic clock the caller chooses.
"""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from k8slab.mesos.master.role_tree import RoleTree, add_amounts
from k8slab.mesos.resources import MILLI, NONE, Resources

DEFAULT_REFUSE_SECONDS = 5.0
LONGEST_REFUSE_SECONDS = 365 * 86400.0

# Any of these amounts, in thousandths, makes resources worth an offer.
Minimums = Sequence[Mapping[str, int]]
MIN_ALLOCATABLE: Minimums = ({"cpus": 10}, {"mem": 32 * MILLI})


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
    free: Resources | None = None


@dataclass
class _Framework:
    """``capabilities`` are the FrameworkInfo's; ``allocated`` has thousandths by role and resource name."""

    roles: tuple[str, ...]
    active: bool
    suppressed: set[str]
    capabilities: frozenset[str]
    allocated: dict[str, dict[str, int]] = field(default_factory=dict)
    filters: dict[tuple[str, str], list[Filter]] = field(default_factory=dict)


class Allocator:
    """The books of one master. Unknown ids in ``recover`` and ``remove_*`` are nothing: their owner is gone already.

    The same calls with the same ``seed`` give the same grants.
    """

    def __init__(
        self,
        *,
        seed: int | None = None,
        allocation_interval: float = 1.0,
        min_allocatable: Minimums = MIN_ALLOCATABLE,
    ) -> None:
        self._random = random.Random(seed)
        self._interval = allocation_interval
        self._minimums = min_allocatable
        self._agents: dict[str, _Agent] = {}
        self._frameworks: dict[str, _Framework] = {}
        self._totals: dict[str, int] = {}
        self._tree = RoleTree(self._totals)
        # The frameworks of a cycle in each role, the least served first, for as long as nothing changes them.
        self._orders: dict[str, list[str]] = {}

    def add_agent(self, agent_id: str, total: Resources, *, active: bool = True) -> None:
        self._agents[agent_id] = _Agent(total=total, active=active)
        self._add_to_totals(total, 1)

    def remove_agent(self, agent_id: str) -> None:
        """Its allocations must have been recovered before, or they would weigh on their framework for ever."""
        agent = self._agents.pop(agent_id, None)
        if agent is not None:
            self._add_to_totals(agent.total, -1)
            self._forget_filters(agent_id)

    def _forget_filters(self, agent_id: str) -> None:
        for framework in self._frameworks.values():
            for key in [key for key in framework.filters if key[1] == agent_id]:
                del framework.filters[key]

    def set_agent_total(self, agent_id: str, whole: Resources) -> None:
        """The agent came back with other resources; what is allocated on it stays so."""
        agent = self._agents[agent_id]
        self._add_to_totals(agent.total, -1)
        self._add_to_totals(whole, 1)
        agent.total, agent.free = whole, None

    def set_agent_active(self, agent_id: str, active: bool) -> None:
        self._agents[agent_id].active = active

    def convert(self, agent_id: str, before: Resources, after: Resources, *, allocated: bool) -> None:
        """Resources of an agent are reserved or unreserved: the same amounts under another name.

        ``allocated``: they are part of what somebody holds, and stay so; otherwise they are free.
        """
        agent = self._agents[agent_id]
        agent.total = agent.total - before + after
        if allocated:
            agent.allocated = agent.allocated - before + after
        agent.free = None

    def add_framework(
        self,
        framework_id: str,
        roles: Iterable[str],
        *,
        active: bool = True,
        suppressed: Iterable[str] = (),
        capabilities: Iterable[str] = (),
    ) -> None:
        self._frameworks[framework_id] = framework = _Framework(
            roles=tuple(roles), active=active, suppressed=set(suppressed), capabilities=frozenset(capabilities)
        )
        for role in framework.roles:
            self._tree.enter(role)

    def update_framework(
        self,
        framework_id: str,
        roles: Iterable[str],
        *,
        capabilities: Iterable[str],
        suppressed: Iterable[str] = (),
    ) -> None:
        framework = self._frameworks[framework_id]
        before, framework.roles = framework.roles, tuple(roles)
        framework.suppressed = set(suppressed)
        framework.capabilities = frozenset(capabilities)
        for role in framework.roles:
            self._tree.enter(role)
        for role in before:
            self._tree.leave(role)

    def remove_framework(self, framework_id: str) -> None:
        framework = self._frameworks.pop(framework_id, None)
        if framework is None:
            return
        for role, amounts in framework.allocated.items():
            self._tree.add(role, amounts, -1)
        for role in framework.roles:
            self._tree.leave(role)

    def set_framework_active(self, framework_id: str, active: bool) -> None:
        """A framework that comes back is offered everything anew: its filters belonged to the one that left."""
        framework = self._frameworks[framework_id]
        framework.active = active
        framework.filters.clear()

    def set_weight(self, role: str, weight: float) -> None:
        self._tree.set_weight(role, weight)

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
            agent.free = None
        framework = self._frameworks.get(framework_id)
        if framework is None:
            return
        amounts = resources.totals()
        self._orders.pop(role, None)
        add_amounts(framework.allocated.setdefault(role, {}), amounts, -1)
        self._tree.add(role, amounts, -1)
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
        hungry: dict[str, list[str]] = defaultdict(list)
        for framework_id, framework in self._frameworks.items():
            for role in framework.roles if framework.active else ():
                if role not in framework.suppressed:
                    hungry[role].append(framework_id)
        if not hungry:
            return []
        self._orders.clear()
        grants: list[Grant] = []
        for agent_id in candidates:
            if self._worth_offering(self.free(agent_id)):
                grants += self._allocate_on(agent_id, hungry, now)
        return grants

    def _allocate_on(self, agent_id: str, hungry: Mapping[str, list[str]], now: float) -> list[Grant]:
        free = self.free(agent_id)
        has_gpus = "gpus" in self._agents[agent_id].total.totals()
        grants = []
        for role in self._tree.in_turn(hungry):
            usable = free.for_role(role)
            if usable is not free and not self._worth_offering(usable):
                continue
            for framework_id in self._in_turn(role, hungry[role]):
                framework = self._frameworks[framework_id]
                wanted = usable if "RESERVATION_REFINEMENT" in framework.capabilities else usable.without_refined()
                if (
                    self._filtered(framework, role, agent_id, wanted, now)
                    or (has_gpus and "GPU_RESOURCES" not in framework.capabilities)
                    or (wanted is not usable and not self._worth_offering(wanted))
                ):
                    continue
                self._book(framework_id, role, agent_id, wanted)
                grants.append(Grant(framework_id=framework_id, role=role, agent_id=agent_id, resources=wanted))
                free = self.free(agent_id)
                if not self._worth_offering(free):
                    return grants
                usable = free.for_role(role)
                if not self._worth_offering(usable):
                    break
        return grants

    def _in_turn(self, role: str, hungry: Iterable[str]) -> list[str]:
        """The frameworks of a role, the least served first."""
        order = self._orders.get(role)
        if order is None:
            shares = [
                (self._tree.dominant_share(self._frameworks[framework_id].allocated.get(role, {})), framework_id)
                for framework_id in hungry
            ]
            order = self._orders[role] = [framework_id for _, framework_id in sorted(shares)]
        return order

    def _add_to_totals(self, resources: Resources, sign: int) -> None:
        add_amounts(self._totals, resources.totals(), sign)
        self._tree.forget_orders()

    def _filtered(self, framework: _Framework, role: str, agent_id: str, offered: Resources, now: float) -> bool:
        filters = framework.filters.get((role, agent_id))
        if not filters:
            return False
        for known in filters:
            if known.expires > now and (known.refused == offered or known.refused.contains(offered)):
                return True
        # What lets something pass is rare: here expired filters are forgotten.
        framework.filters[(role, agent_id)] = [known for known in filters if known.expires > now]
        return False

    def _book(self, framework_id: str, role: str, agent_id: str, resources: Resources) -> None:
        agent = self._agents[agent_id]
        agent.allocated += resources
        agent.free = None
        amounts = resources.totals()
        self._orders.pop(role, None)
        add_amounts(self._frameworks[framework_id].allocated.setdefault(role, {}), amounts, 1)
        self._tree.add(role, amounts, 1)

    def free(self, agent_id: str) -> Resources:
        agent = self._agents[agent_id]
        if agent.free is None:
            agent.free = agent.total - agent.allocated
        return agent.free

    def _worth_offering(self, resources: Resources) -> bool:
        if not resources:
            return False
        totals = resources.totals()
        return any(all(totals.get(name, 0) >= amount for name, amount in minimum.items()) for minimum in self._minimums)


def minimums(text: str) -> Minimums:
    """``cpus:0.01|mem:32;disk:10``: alternatives, each of which may need several amounts. Raises ValueError."""
    return [Resources.parse(alternative).totals() for alternative in text.split("|")]


def refuse_seconds(asked: float | None) -> float:
    """How long a filter lasts: 5 s when nothing sensible was asked, a year at most."""
    if asked is None or not asked >= 0:
        return DEFAULT_REFUSE_SECONDS
    return min(asked, LONGEST_REFUSE_SECONDS)
