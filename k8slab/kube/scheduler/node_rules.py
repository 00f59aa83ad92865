"""A pod's wishes about nodes alone: name, selector, affinity, taints, cordons.

Reasons are kube-scheduler's, as they stand behind the count in "0/4 nodes are available: 1 …".
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import orjson

from k8slab.kube.api.selectors import Requirement

Object = Mapping[str, Any]

REQUIRED: Final = "requiredDuringSchedulingIgnoredDuringExecution"
PREFERRED: Final = "preferredDuringSchedulingIgnoredDuringExecution"

OTHER_NAME: Final = "node(s) didn't match the requested node name"
NO_MATCH: Final = "node(s) didn't match Pod's node affinity/selector"
CORDONED: Final = "node(s) were unschedulable"

_OPERATORS: Final = {"In": "in", "NotIn": "notin", "Exists": "exists", "DoesNotExist": "!", "Gt": "gt", "Lt": "lt"}
_CORDON_TAINT: Final = {"key": "node.kubernetes.io/unschedulable", "effect": "NoSchedule"}


@dataclass(frozen=True)
class NodeTerm:
    """All of its requirements hold, or it does not match; one without any matches no node."""

    labels: tuple[Requirement, ...]
    names: tuple[Requirement, ...]

    def matches(self, node: Object) -> bool:
        if not self.labels and not self.names:
            return False
        meta = node["metadata"]
        labels = meta.get("labels") or {}
        return all(one.holds(labels) for one in self.labels) and all(
            one.holds({"metadata.name": meta["name"]}) for one in self.names
        )


@dataclass(frozen=True)
class NodeRules:
    """Of one pod, or of all pods that wish the same. ``terms`` None: no required node affinity."""

    node_name: str
    selector: tuple[tuple[str, str], ...]
    terms: tuple[NodeTerm, ...] | None
    preferred: tuple[tuple[int, NodeTerm], ...]
    tolerations: tuple[Mapping[str, Any], ...]

    def only_nodes(self) -> frozenset[str] | None:
        """The names of the only nodes that can be meant, None when it may be any: a daemon set's pod names its one."""
        if self.node_name:
            return frozenset((self.node_name,))
        if self.terms is None:
            return None
        named = [next((one.values for one in term.names if one.operator == "in"), None) for term in self.terms]
        return None if None in named else frozenset().union(*(names for names in named if names))

    def why_not(self, node: Object) -> str:
        """The reason why the node is not for this pod, "" when it is."""
        if self.node_name:
            return "" if self.node_name == node["metadata"]["name"] else OTHER_NAME
        if not self.selects(node):
            return NO_MATCH
        spec = node.get("spec") or {}
        if spec.get("unschedulable") and not tolerated(_CORDON_TAINT, self.tolerations):
            return CORDONED
        if (taint := self.untolerated(node)) is not None:
            return f"node(s) had untolerated taint {{{taint['key']}: {taint.get('value') or ''}}}"
        return ""

    def untolerated(self, node: Object) -> Mapping[str, Any] | None:
        """The first of its taints that keeps the pod away."""
        for taint in (node.get("spec") or {}).get("taints") or ():
            if taint["effect"] in ("NoSchedule", "NoExecute") and not tolerated(taint, self.tolerations):
                return dict(taint)
        return None

    def selects(self, node: Object) -> bool:
        """Whether selector and required affinity hold, whatever its taints are."""
        labels = node["metadata"].get("labels") or {}
        if any(labels.get(key) != value for key, value in self.selector):
            return False
        return self.terms is None or any(term.matches(node) for term in self.terms)

    def preference(self, node: Object) -> int:
        """The weights of the preferred terms that match, together."""
        return sum(weight for weight, term in self.preferred if term.matches(node))

    def dislike(self, node: Object) -> int:
        """How many of the node's PreferNoSchedule taints the pod does not tolerate."""
        taints = (node.get("spec") or {}).get("taints") or ()
        return sum(one["effect"] == "PreferNoSchedule" and not tolerated(one, self.tolerations) for one in taints)


def key_of(pod: Object) -> bytes:
    """The same for pods whose node rules are the same."""
    spec = pod["spec"]
    affinity = (spec.get("affinity") or {}).get("nodeAffinity")
    wishes = [spec.get("nodeName"), spec.get("nodeSelector"), affinity, spec.get("tolerations")]
    return orjson.dumps(wishes, option=orjson.OPT_SORT_KEYS)


def node_rules(pod: Object) -> NodeRules:
    spec = pod["spec"]
    affinity = (spec.get("affinity") or {}).get("nodeAffinity") or {}
    required = affinity.get(REQUIRED)
    return NodeRules(
        node_name=spec.get("nodeName") or "",
        selector=tuple((spec.get("nodeSelector") or {}).items()),
        terms=None if required is None else tuple(map(_term, required.get("nodeSelectorTerms") or ())),
        preferred=tuple(
            (int(one["weight"]), _term(one.get("preference") or {})) for one in affinity.get(PREFERRED) or ()
        ),
        tolerations=tuple(spec.get("tolerations") or ()),
    )


def tolerated(taint: Mapping[str, Any], tolerations: Iterable[Mapping[str, Any]]) -> bool:
    for toleration in tolerations:
        if (toleration.get("effect") or taint["effect"]) != taint["effect"]:
            continue
        if toleration.get("operator") == "Exists":
            if (toleration.get("key") or taint["key"]) == taint["key"]:
                return True
        elif toleration.get("key") == taint["key"] and (toleration.get("value") or "") == (taint.get("value") or ""):
            return True
    return False


def _term(term: Mapping[str, Any]) -> NodeTerm:
    return NodeTerm(
        tuple(map(_requirement, term.get("matchExpressions") or ())),
        tuple(map(_requirement, term.get("matchFields") or ())),
    )


def _requirement(one: Mapping[str, Any]) -> Requirement:
    return Requirement(one["key"], _OPERATORS[one["operator"]], frozenset(one.get("values") or ()))
