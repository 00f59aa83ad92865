"""Terms of pod affinity and anti-affinity, and topology spread constraints: what they select, and in which domains."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from k8slab.kube.api.selectors import Requirement, requirements_of
from k8slab.kube.scheduler.node_rules import PREFERRED, REQUIRED

Object = Mapping[str, Any]
# The labels of namespaces by name.
Namespaces = Mapping[str, Mapping[str, str]]


@dataclass(frozen=True)
class PodTerm:
    """``selector`` None matches no pod; ``namespace_selector`` None adds no namespace to ``namespaces``."""

    topology_key: str
    selector: tuple[Requirement, ...] | None
    namespaces: frozenset[str]
    namespace_selector: tuple[Requirement, ...] | None = None

    def matches(self, namespace: str, labels: Mapping[str, str], namespaces: Namespaces) -> bool:
        if self.selector is None or not self._covers(namespace, namespaces):
            return False
        return all(one.holds(labels) for one in self.selector)

    def _covers(self, namespace: str, namespaces: Namespaces) -> bool:
        if namespace in self.namespaces:
            return True
        if self.namespace_selector is None:
            return False
        return all(one.holds(namespaces.get(namespace) or {}) for one in self.namespace_selector)


@dataclass(frozen=True)
class Spread:
    """One topology spread constraint; ``required`` is DoNotSchedule.

    ``heeds_affinity``, ``heeds_taints``: whether nodes are left out to which its affinity, or a taint, lets no pod.
    """

    term: PodTerm
    max_skew: int
    min_domains: int
    required: bool
    heeds_affinity: bool = True
    heeds_taints: bool = False


def required_affinity(pod: Object) -> tuple[PodTerm, ...]:
    return _required(pod, "podAffinity")


def required_anti_affinity(pod: Object) -> tuple[PodTerm, ...]:
    return _required(pod, "podAntiAffinity")


def preferred(pod: Object) -> tuple[tuple[int, PodTerm], ...]:
    """Weights and terms; those of anti-affinity with a negative weight."""
    affinity = pod["spec"].get("affinity") or {}
    return tuple(
        (sign * int(one["weight"]), _affinity_term(pod, one["podAffinityTerm"]))
        for kind, sign in (("podAffinity", 1), ("podAntiAffinity", -1))
        for one in (affinity.get(kind) or {}).get(PREFERRED) or ()
    )


def spreads(pod: Object) -> tuple[Spread, ...]:
    return tuple(
        Spread(
            term=_term(pod, one, alike=_alike(pod, one)),
            max_skew=int(one["maxSkew"]),
            min_domains=int(one.get("minDomains") or 1),
            required=one["whenUnsatisfiable"] == "DoNotSchedule",
            heeds_affinity=one.get("nodeAffinityPolicy") != "Ignore",
            heeds_taints=one.get("nodeTaintsPolicy") == "Honor",
        )
        for one in pod["spec"].get("topologySpreadConstraints") or ()
    )


def _required(pod: Object, kind: str) -> tuple[PodTerm, ...]:
    affinity = (pod["spec"].get("affinity") or {}).get(kind) or {}
    return tuple(_affinity_term(pod, one) for one in affinity.get(REQUIRED) or ())


def _affinity_term(pod: Object, term: Mapping[str, Any]) -> PodTerm:
    """The API writes the keys of labels out into the selector, when a pod is made; pods that are older than that have
    them as they are."""
    written = {one["key"] for one in (term.get("labelSelector") or {}).get("matchExpressions") or ()}
    return _term(pod, term, alike=[one for one in _alike(pod, term) if one.key not in written])


def _term(pod: Object, term: Mapping[str, Any], alike: Iterable[Requirement]) -> PodTerm:
    selector, namespace_selector = term.get("labelSelector"), term.get("namespaceSelector")
    own = () if namespace_selector is not None else (pod["metadata"]["namespace"],)
    return PodTerm(
        topology_key=term["topologyKey"],
        selector=None if selector is None else (*requirements_of(selector), *alike),
        namespaces=frozenset(term.get("namespaces") or own),
        namespace_selector=None if namespace_selector is None else tuple(requirements_of(namespace_selector)),
    )


def _alike(pod: Object, term: Mapping[str, Any]) -> list[Requirement]:
    """``matchLabelKeys``: the other pods' values must be this pod's own."""
    labels = pod["metadata"].get("labels") or {}
    keys = [key for key in term.get("matchLabelKeys") or () if key in labels]
    return [Requirement(key, "in", frozenset((labels[key],))) for key in keys]
