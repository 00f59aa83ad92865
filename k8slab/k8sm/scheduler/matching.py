"""First come, first served: each waiting pod goes to the agent that suits it best of those that have what it needs.

Pure, but for the census, which is as before when it is done. What keeps a pod from each agent is kept as a reason; the
reasons of all agents together are what the pod's FailedScheduling event says.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, MutableMapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import orjson

from k8slab.k8sm import mapping
from k8slab.k8sm.mapping import Executor
from k8slab.k8sm.resources import Defaults, PodResources, pod_resources
from k8slab.k8sm.scheduler import places
from k8slab.k8sm.scheduler.offers import Slot
from k8slab.k8sm.scheduler.places import Misfit, Place
from k8slab.k8sm.scheduler.reasons import SILENT, summary
from k8slab.kube.scheduler import node_rules
from k8slab.kube.scheduler.census import Census, Group
from k8slab.kube.scheduler.neighbours import INDIFFERENT, Neighbours, minds_neighbours, neighbours
from k8slab.kube.scheduler.node_rules import NodeRules

SPREAD: Final = "spread"
BINPACK: Final = "binpack"
# So many agents that fit are compared; with more of them than that it does not matter which.
COMPARED: Final = 100

# How much each wish counts, once its values are brought to 0–100.
_PREFERENCE: Final = 2
_DISLIKE: Final = 3
_NEIGHBOURS: Final = 2
_SPREADING: Final = 2
_BALANCE: Final = 1

Pod = Mapping[str, Any]
Nodes = Mapping[str, Mapping[str, Any]]


@dataclass(frozen=True)
class Policy:
    """``roles``: those whose resources a pod takes that names none, in this order; () for all, reserved ones first.

    ``wildcard``: whether ports that ask for no host port get one, unless the pod's portMapping says otherwise.
    ``discovery``: whether tasks tell Mesos how they are to be found.
    """

    executor: Executor
    defaults: Defaults
    strategy: str = SPREAD
    roles: tuple[str, ...] = ()
    wildcard: bool = False
    discovery: bool = False


@dataclass(frozen=True)
class Surroundings:
    """``nodes``: the API's nodes by name, an agent without one takes no pods; ``namespaces``: their labels by name.

    ``remembered``: by host, what agents last offered that offer nothing now; only reasons are made of it.
    ``expected``: by host, what is about to be offered again, after a launch or because it was asked for: a pod that
    fits in nowhere else waits for it, and one that finds fewer of its kind there.
    """

    nodes: Nodes
    census: Census = field(default_factory=Census)
    namespaces: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    remembered: Mapping[str, Slot] = field(default_factory=dict)
    expected: Mapping[str, Slot] = field(default_factory=dict)


@dataclass(frozen=True)
class Placement:
    """``resources``: the pieces of the slot's offers that the task takes; ``ports``: host ports in the pod's order."""

    pod: Pod
    slot: Slot
    resources: tuple[Mapping[str, Any], ...]
    ports: tuple[int, ...] = ()


@dataclass(frozen=True)
class Round:
    """``reasons``: for each pod that found no place (by uid), the sentence that says why.

    ``deferred``: how many had better wait a moment for an offer that is on its way; ``left``: what is left, by agent,
    of the slots that pods were placed on.
    """

    placements: tuple[Placement, ...]
    reasons: Mapping[str, str]
    deferred: int = 0
    left: Mapping[str, Slot] = field(default_factory=dict)


@dataclass(frozen=True)
class Asked:
    """What a pod asks, read out of it; ``shape``: the same for pods that ask the same of agents."""

    pod: Pod
    rules: NodeRules
    rules_key: bytes
    wanted: PodResources
    roles: tuple[str, ...]
    shape: bytes


# By uid: what was read out of pods in earlier rounds, for those that wait for long.
Memory = MutableMapping[str, Asked]


@dataclass(frozen=True)
class _Wish:
    asked: Asked
    neighbours: Neighbours

    @property
    def is_bound(self) -> bool:
        """Whether it is one of its node's pods already: it only needs a task again."""
        return bool(self.asked.rules.node_name)

    @property
    def is_plain(self) -> bool:
        """Whether it does not matter who is where: then pods of one shape share one fate in a round."""
        return self.neighbours is INDIFFERENT


def match(
    pods: Iterable[Pod],
    slots: Sequence[Slot],
    around: Surroundings,
    policy: Policy,
    *,
    turn: int = 0,
    memory: Memory | None = None,
) -> Round:
    """``turn``: of many agents, rounds with other numbers look at others first."""
    matching = _Matching(slots, around, policy, turn, {} if memory is None else memory)
    try:
        for pod in pods:
            matching.place(pod)
    finally:
        for placement in matching.placements:
            around.census.remove(placement.pod["metadata"]["uid"])
    return Round(tuple(matching.placements), matching.reasons, matching.deferred, matching.left())


class _Matching:
    """One round."""

    def __init__(self, slots: Sequence[Slot], around: Surroundings, policy: Policy, turn: int, memory: Memory) -> None:
        self._around = around
        self._memory = memory
        self._policy = policy
        census, nodes = around.census, around.nodes
        self._places = [Place(slot, nodes.get(slot.host), census.on(slot.host)) for slot in slots]
        self._by_host = {place.slot.host: place for place in self._places}
        self._start = turn * COMPARED
        self._rules: dict[bytes, NodeRules] = {}
        self._verdicts: dict[bytes, dict[str, str]] = {}
        self._failed: dict[bytes, str] = {}
        self._coming: dict[str, Place] = {}
        self._deferring: set[tuple[bytes, tuple[Group, ...]]] = set()
        self.deferred = 0
        self.placements: list[Placement] = []
        self.reasons: dict[str, str] = {}

    def place(self, pod: Pod) -> None:
        uid = pod["metadata"]["uid"]
        try:
            if pod["spec"].get("schedulingGates"):
                self.reasons[uid] = "Scheduling is blocked due to non-empty scheduling gates"
                return
            wish = self._wish(pod)
            # What found no place a moment ago finds none now: others only take away. Neighbours may be wished for.
            reason = (wish.is_plain and self._failed.get(wish.asked.shape)) or self._try(wish)
        except (ArithmeticError, AttributeError, KeyError, TypeError, ValueError) as error:
            # One pod that cannot be read must not keep all the others from their places.
            reason = f"the pod cannot be read: {error or type(error).__name__}"
        if reason:
            self.reasons[uid] = reason

    def _wish(self, pod: Pod) -> _Wish:
        uid = pod["metadata"]["uid"]
        asked = self._memory.get(uid)
        if asked is None or asked.pod is not pod:
            asked = self._memory[uid] = self._read(pod)
        around, near = self._around, INDIFFERENT
        if not asked.rules.node_name and (minds_neighbours(pod) or around.census.repelling):
            near = neighbours(pod, asked.rules, around.census, around.nodes, around.namespaces)
        return _Wish(asked, near)

    def _read(self, pod: Pod) -> Asked:
        policy = self._policy
        key = node_rules.key_of(pod)
        rules = self._rules.get(key)
        if rules is None:
            rules = self._rules[key] = node_rules.node_rules(pod)
        wanted = pod_resources(pod, policy.defaults, wildcard=policy.wildcard)
        roles = mapping.pod_roles(pod) or policy.roles
        ports = [one.number for one in wanted.ports]
        shape = orjson.dumps([key.decode(), wanted.cpus, wanted.mem, ports, wanted.extended, roles])
        return Asked(pod, rules, key, wanted, roles, shape)

    def _try(self, wish: _Wish) -> str:
        """Place it or have it wait; returns "" or why it has no place."""
        groups = self._around.census.groups(wish.asked.pod) if self._spreads and not wish.is_bound else ()
        if wish.is_plain and (wish.asked.shape, groups) in self._deferring:
            self.deferred += 1
            return ""
        fitting = list(
            itertools.islice(filter(lambda place: self._misfit(place, wish) is None, self._turn(wish)), COMPARED)
        )
        while fitting:
            best = fitting[0] if len(fitting) == 1 else self._best(fitting, wish, groups)
            if groups and self._comes_better(best, wish, groups):
                return self._defer(wish, groups)
            fitted = best.take(wish.asked.wanted, wish.asked.roles, self._policy.executor, counted=wish.is_bound)
            if fitted is not None:
                self.placements.append(Placement(wish.asked.pod, best.slot, fitted.resources, fitted.ports))
                if not wish.is_bound:
                    self._around.census.place(wish.asked.pod, best.slot.host)
                return ""
            fitting.remove(best)
        if any(self._will_fit(host, wish) for host in self._around.expected):
            return self._defer(wish, groups)
        reason = summary(self._misfits(wish), wish.asked.wanted)
        if wish.is_plain:
            self._failed[wish.asked.shape] = reason
        return reason

    def _turn(self, wish: _Wish) -> Iterable[Place]:
        """All places, beginning where the last pod's search did not look, so that all get their turn."""
        if (only := wish.asked.rules.only_nodes()) is not None:
            return [self._by_host[name] for name in only if name in self._by_host]
        if len(self._places) <= COMPARED:
            return self._places
        self._start = (self._start + COMPARED) % len(self._places)
        return itertools.chain(self._places[self._start :], self._places[: self._start])

    def _misfit(self, place: Place, wish: _Wish) -> Misfit | None:
        if place.node is None:
            return Misfit(places.NO_NODE)
        if reason := self._why_not(place.node, wish):
            return Misfit(reason)
        return place.misfit(wish.asked.wanted, wish.asked.roles, self._policy.executor, counted=wish.is_bound)

    def _why_not(self, node: Mapping[str, Any], wish: _Wish) -> str:
        verdicts = self._verdicts.setdefault(wish.asked.rules_key, {})
        name = node["metadata"]["name"]
        verdict = verdicts.get(name)
        if verdict is None:
            verdict = verdicts[name] = wish.asked.rules.why_not(node)
        if verdict or wish.is_plain:
            return verdict
        return wish.neighbours.why_not(node)

    def _misfits(self, wish: _Wish) -> dict[str, Misfit]:
        """For every agent and every node the reason why it is none for this pod."""
        found: dict[str, Misfit] = {}
        for place in self._places:
            found[place.slot.host] = self._misfit(place, wish) or Misfit(SILENT)
        for name, node in self._around.nodes.items():
            if name in found:
                continue
            if reason := self._why_not(node, wish):
                found[name] = Misfit(reason)
            elif (slot := self._around.remembered.get(name)) is not None:
                place = Place(slot, node, self._around.census.on(name))
                found[name] = self._misfit(place, wish) or Misfit(SILENT)
            elif not _is_ready(node):
                found[name] = Misfit("node(s) were not ready")
            else:
                found[name] = places.too_small(node, wish.asked.wanted) or Misfit(SILENT)
        return found

    def left(self) -> dict[str, Slot]:
        used = {placement.slot.agent for placement in self.placements}
        return {place.slot.agent: place.left() for place in self._places if place.slot.agent in used}

    def _defer(self, wish: _Wish, groups: tuple[Group, ...]) -> str:
        if wish.is_plain:
            self._deferring.add((wish.asked.shape, groups))
        self.deferred += 1
        return ""

    def _will_fit(self, host: str, wish: _Wish) -> bool:
        place = self._coming.get(host)
        if place is None:
            slot, census = self._around.expected[host], self._around.census
            place = self._coming[host] = Place(slot, self._around.nodes.get(host), census.on(host))
        return self._misfit(place, wish) is None

    @property
    def _spreads(self) -> bool:
        return self._policy.strategy == SPREAD

    def _comes_better(self, place: Place, wish: _Wish, groups: Sequence[Group]) -> bool:
        """Whether an agent is about to offer again that has fewer pods of a group than this one."""
        for group in groups:
            counts = self._around.census.counts(group)
            here = counts.get(place.slot.host, 0)
            fewer = (host for host in self._around.expected if counts.get(host, 0) < here)
            if here and any(self._will_fit(host, wish) for host in fewer):
                return True
        return False

    def _best(self, fitting: Sequence[Place], wish: _Wish, groups: Sequence[Group]) -> Place:
        scores = [0.0] * len(fitting)

        def add(weight: int, values: Sequence[float]) -> None:
            """The largest value counts 100 times ``weight``, the smallest nothing."""
            low, high = min(values), max(values)
            if high > low:
                for index, value in enumerate(values):
                    scores[index] += weight * 100 * (value - low) / (high - low)

        nodes = [place.node or {} for place in fitting]
        if wish.asked.rules.preferred:
            add(_PREFERENCE, [wish.asked.rules.preference(node) for node in nodes])
        if any(place.is_disliked for place in fitting):
            add(_DISLIKE, [-wish.asked.rules.dislike(node) for node in nodes])
        if wish.neighbours.has_preferences:
            add(_NEIGHBOURS, [wish.neighbours.preference(node) for node in nodes])
        for group in groups:
            counts = self._around.census.counts(group)
            add(_SPREADING, [-counts.get(place.slot.host, 0) for place in fitting])
        for index, place in enumerate(fitting):
            share = place.free_share()
            scores[index] += _BALANCE * 100 * (share if self._spreads else 1 - share)
        return fitting[scores.index(max(scores))]


def _is_ready(node: Mapping[str, Any]) -> bool:
    conditions = (node.get("status") or {}).get("conditions") or ()
    return all(one["status"] == "True" for one in conditions if one["type"] == "Ready")
