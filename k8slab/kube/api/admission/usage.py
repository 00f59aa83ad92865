"""How much of a quota's resources an object uses, and what a namespace's objects use together."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from decimal import Decimal
from typing import Any, Final

from k8slab.kube.api.admission.limits import pod_amounts
from k8slab.kube.api.errors import qualified
from k8slab.kube.api.kind import Kind
from k8slab.kube.api.kinds.pod import qos_class
from k8slab.kube.api.kinds.service import WITH_NODE_PORTS
from k8slab.kube.api.meta import Object, dig, parse_quantity

ENDED: Final = ("Succeeded", "Failed")
# Kinds of the core group whose number has a name of its own.
COUNTED: Final = frozenset(
    {"configmaps", "persistentvolumeclaims", "pods", "replicationcontrollers", "resourcequotas", "secrets", "services"}
)
COMPUTE: Final = ("cpu", "memory", "ephemeral-storage")
Usage = dict[str, Decimal]


def usage_of(kind: Kind, obj: Object) -> Usage:
    """Resource → amount, under every name that a quota may have for it; nothing for a pod that has ended."""
    if kind.plural == "pods" and not kind.group and dig(obj, "status", "phase") in ENDED:
        return {f"count/{kind.plural}": Decimal(1)}
    used: Usage = {f"count/{qualified(kind.plural, kind.group)}": Decimal(1)}
    if kind.group:
        return used
    if kind.plural in COUNTED:
        used[kind.plural] = Decimal(1)
    more = _MORE.get(kind.plural)
    return {**used, **(more(obj) if more else {})}


def _of_pod(pod: Object) -> Usage:
    used: Usage = {}
    for field in ("requests", "limits"):
        for name, value in pod_amounts(pod["spec"], field).items():
            amount = parse_quantity(value) or Decimal(0)
            used[f"{field}.{name}"] = amount
            if field == "requests" and name in COMPUTE:
                used[name] = amount
    return used


def _of_service(service: Object) -> Usage:
    spec = service["spec"]
    ports = Decimal(len(spec.get("ports") or ()))
    with_ports = spec["type"] in WITH_NODE_PORTS and spec.get("allocateLoadBalancerNodePorts", True)
    return {
        "services.nodeports": ports if with_ports else Decimal(0),
        "services.loadbalancers": Decimal(spec["type"] == "LoadBalancer"),
    }


def _of_claim(claim: Object) -> Usage:
    asked = parse_quantity(dig(claim, "spec", "resources", "requests", "storage")) or Decimal(0)
    used = {"requests.storage": asked}
    name = dig(claim, "spec", "storageClassName")
    if name:
        used[f"{name}.storageclass.storage.k8s.io/requests.storage"] = asked
        used[f"{name}.storageclass.storage.k8s.io/persistentvolumeclaims"] = Decimal(1)
    return used


_MORE: Final[Mapping[str, Callable[[Object], Usage]]] = {
    "persistentvolumeclaims": _of_claim,
    "pods": _of_pod,
    "services": _of_service,
}


def in_scope(quota: Object, kind: Kind, obj: Object) -> bool:
    """Whether the quota is about this object; quotas with scopes are about pods alone."""
    spec = quota.get("spec") or {}
    terms = [{"scopeName": one, "operator": "Exists"} for one in spec.get("scopes") or ()]
    terms += dig(spec, "scopeSelector", "matchExpressions") or ()
    if terms and kind.plural != "pods":
        return False
    return all(_matches(term, obj) for term in terms)


def _matches(term: Mapping[str, Any], pod: Object) -> bool:
    spec = pod["spec"]
    match term.get("scopeName"):
        case "Terminating":
            return (spec.get("activeDeadlineSeconds") or -1) >= 0
        case "NotTerminating":
            return (spec.get("activeDeadlineSeconds") or -1) < 0
        case "BestEffort":
            return qos_class(spec) == "BestEffort"
        case "NotBestEffort":
            return qos_class(spec) != "BestEffort"
        case "PriorityClass":
            return _named(term, spec.get("priorityClassName") or "")
    return False


def _named(term: Mapping[str, Any], name: str) -> bool:
    match term.get("operator"):
        case "In":
            return name in (term.get("values") or ())
        case "NotIn":
            return name not in (term.get("values") or ())
        case "DoesNotExist":
            return not name
    return bool(name)


def total(quota: Object, objects: Iterable[tuple[Kind, Object]]) -> Usage:
    """What the objects use of each resource that the quota bounds."""
    hard = dig(quota, "spec", "hard") or {}
    used: Usage = dict.fromkeys(hard, Decimal(0))
    for kind, obj in objects:
        if in_scope(quota, kind, obj):
            for name, amount in usage_of(kind, obj).items():
                if name in used:
                    used[name] += amount
    return used
