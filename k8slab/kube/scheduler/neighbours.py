"""A pod's wishes about other pods: affinity, anti-affinity (both ways) and even spreading over topology domains.

Everything is counted once for a pod; after that each node costs a few look-ups of its labels.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from k8slab.kube.scheduler import pod_terms
from k8slab.kube.scheduler.census import Census
from k8slab.kube.scheduler.node_rules import NodeRules
from k8slab.kube.scheduler.pod_terms import Namespaces, PodTerm, Spread

NO_AFFINITY: Final = "node(s) didn't match pod affinity rules"
ANTI_AFFINITY: Final = "node(s) didn't match pod anti-affinity rules"
REPELLED: Final = "node(s) didn't satisfy existing pods anti-affinity rules"
SKEWED: Final = "node(s) didn't match pod topology spread constraints"
NO_DOMAIN: Final = f"{SKEWED} (missing required label)"

Object = Mapping[str, Any]
Nodes = Mapping[str, Object]
# A topology key and one of its values: the nodes with this label.
Domain = tuple[str, str]


@dataclass(frozen=True)
class Skew:
    """A spread constraint as things are: ``counts`` has the pods of each domain, ``most`` is what one may have."""

    constraint: Spread
    counts: Mapping[str, int]
    most: int


@dataclass(frozen=True)
class Neighbours:
    """What the pods that are there mean to one pod; as old as its making."""

    wanted: tuple[tuple[str, frozenset[str] | None], ...] = ()
    """Per required affinity term: its topology key and the values where it holds, None for any."""
    avoided: frozenset[Domain] = frozenset()
    repelled: frozenset[Domain] = frozenset()
    spread: tuple[Skew, ...] = ()
    pulls: Mapping[Domain, int] = field(default_factory=dict)

    @property
    def has_preferences(self) -> bool:
        return bool(self.pulls) or any(not one.constraint.required for one in self.spread)

    def why_not(self, node: Object) -> str:
        labels = node["metadata"].get("labels") or {}
        for key, values in self.wanted:
            value = labels.get(key)
            if value is None or (values is not None and value not in values):
                return NO_AFFINITY
        if self.avoided and any(labels.get(key) == value for key, value in self.avoided):
            return ANTI_AFFINITY
        if self.repelled and any(labels.get(key) == value for key, value in self.repelled):
            return REPELLED
        for one in self.spread:
            if one.constraint.required:
                value = labels.get(one.constraint.term.topology_key)
                if value is None:
                    return NO_DOMAIN
                if one.counts.get(value, 0) > one.most:
                    return SKEWED
        return ""

    def preference(self, node: Object) -> int:
        """The more, the better: weights of preferred terms, less the pods in its domains to be spread from."""
        labels = node["metadata"].get("labels") or {}
        pulled = sum(weight for (key, value), weight in self.pulls.items() if labels.get(key) == value)
        for one in self.spread:
            if not one.constraint.required:
                value = labels.get(one.constraint.term.topology_key)
                # A node that is in no domain is the last resort, not an empty domain.
                pulled -= one.counts.get(value, 0) if value is not None else max(one.counts.values(), default=0) + 1
        return pulled


INDIFFERENT: Final = Neighbours()


def minds_neighbours(pod: Object) -> bool:
    affinity = pod["spec"].get("affinity") or {}
    return bool(
        affinity.get("podAffinity") or affinity.get("podAntiAffinity") or pod["spec"].get("topologySpreadConstraints")
    )


def neighbours(pod: Object, rules: NodeRules, census: Census, nodes: Nodes, namespaces: Namespaces) -> Neighbours:
    """``nodes``: all of the cluster's, by name."""
    minds = minds_neighbours(pod)
    repelled = _repelled(pod, census, nodes, namespaces)
    if not minds:
        return Neighbours(repelled=repelled) if repelled else INDIFFERENT
    pulls: Counter[Domain] = Counter()
    for weight, term in pod_terms.preferred(pod):
        for value, count in _counted(term, census, nodes, namespaces).items():
            pulls[term.topology_key, value] += weight * count
    return Neighbours(
        wanted=tuple(_wanted(pod, term, census, nodes, namespaces) for term in pod_terms.required_affinity(pod)),
        avoided=frozenset(
            (term.topology_key, value)
            for term in pod_terms.required_anti_affinity(pod)
            for value in _counted(term, census, nodes, namespaces)
        ),
        repelled=repelled,
        spread=_skews(pod, rules, census, nodes, namespaces),
        pulls=pulls,
    )


def _repelled(pod: Object, census: Census, nodes: Nodes, namespaces: Namespaces) -> frozenset[Domain]:
    meta = pod["metadata"]
    namespace, labels = meta["namespace"], meta.get("labels") or {}
    found: set[Domain] = set()
    for resident in census.repelling:
        for term in resident.repels:
            value = _label(nodes, resident.host, term.topology_key)
            if value is not None and term.matches(namespace, labels, namespaces):
                found.add((term.topology_key, value))
    return frozenset(found)


def _wanted(
    pod: Object, term: PodTerm, census: Census, nodes: Nodes, namespaces: Namespaces
) -> tuple[str, frozenset[str] | None]:
    values = frozenset(_counted(term, census, nodes, namespaces))
    meta = pod["metadata"]
    if not values and term.matches(meta["namespace"], meta.get("labels") or {}, namespaces):
        # The first of a flock that wants to be together has to begin somewhere.
        return term.topology_key, None
    return term.topology_key, values


def _skews(pod: Object, rules: NodeRules, census: Census, nodes: Nodes, namespaces: Namespaces) -> tuple[Skew, ...]:
    constraints = pod_terms.spreads(pod)
    # A node counts for what must hold, or for what is wished, when it is in a domain of each such constraint.
    placed: dict[bool, set[str]] = {}
    for required in {one.required for one in constraints}:
        keys = {one.term.topology_key for one in constraints if one.required == required}
        placed[required] = {name for name in nodes if all(_label(nodes, name, key) is not None for key in keys)}
    return tuple(_skew(pod, one, placed[one.required], rules, census, nodes, namespaces) for one in constraints)


def _skew(
    pod: Object,
    one: Spread,
    placed: Collection[str],
    rules: NodeRules,
    census: Census,
    nodes: Nodes,
    namespaces: Namespaces,
) -> Skew:
    key, meta = one.term.topology_key, pod["metadata"]
    eligible = {
        name
        for name, node in nodes.items()
        if name in placed
        and (not one.heeds_affinity or rules.selects(node))
        and not (one.heeds_taints and rules.untolerated(node))
    }
    counts = {str(_label(nodes, name, key)): 0 for name in eligible}
    counts.update(_counted(one.term, census, nodes, namespaces, hosts=eligible))
    least = 0 if len(counts) < one.min_domains else min(counts.values(), default=0)
    own = one.term.matches(meta["namespace"], meta.get("labels") or {}, namespaces)
    return Skew(one, counts, one.max_skew + least - own)


def _counted(
    term: PodTerm, census: Census, nodes: Nodes, namespaces: Namespaces, *, hosts: Iterable[str] | None = None
) -> Counter[str]:
    """How many matching pods there are in each domain that has any; of those on ``hosts``, only pods that stay."""
    found: Counter[str] = Counter()
    among = None if hosts is None else frozenset(hosts)
    for resident in census:
        if among is not None and (resident.leaving or resident.host not in among):
            continue
        if term.matches(resident.namespace, resident.labels, namespaces):
            value = _label(nodes, resident.host, term.topology_key)
            if value is not None:
                found[value] += 1
    return found


def _label(nodes: Nodes, host: str, key: str) -> str | None:
    node = nodes.get(host)
    return None if node is None else (node["metadata"].get("labels") or {}).get(key)
