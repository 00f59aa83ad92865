"""Which nodes a daemon set's pods belong on, and how such a pod is bound to its node before anybody places it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from k8slab.kube.client import Object
from k8slab.kube.controllers.owned_pods import is_available, phase, pod_of
from k8slab.kube.scheduler.node_rules import REQUIRED, NodeRules, node_rules, tolerated

HASH: Final = "controller-revision-hash"
NAME: Final = "metadata.name"
PREFIX: Final = "node.kubernetes.io/"
# A daemon stays where nobody else would.
TOLERATED: Final = (
    ("not-ready", "NoExecute"),
    ("unreachable", "NoExecute"),
    ("disk-pressure", "NoSchedule"),
    ("memory-pressure", "NoSchedule"),
    ("pid-pressure", "NoSchedule"),
    ("unschedulable", "NoSchedule"),
)
TOLERATED_ON_HOST_NETWORK: Final = ("network-unavailable", "NoSchedule")


def tolerations(spec: Mapping[str, Any]) -> list[Object]:
    """Those of the template, and those that every daemon has."""
    own: list[Object] = list(spec.get("tolerations") or ())
    pairs = (*TOLERATED, *([TOLERATED_ON_HOST_NETWORK] if spec.get("hostNetwork") else ()))
    every = [{"key": f"{PREFIX}{key}", "operator": "Exists", "effect": effect} for key, effect in pairs]
    return own + [one for one in every if one not in own]


def rules(template: Mapping[str, Any]) -> NodeRules:
    """What the template's pods wish of a node."""
    spec = template.get("spec") or {}
    return node_rules({"spec": {**spec, "tolerations": tolerations(spec)}})


def runs_on(wanted: NodeRules, node: Mapping[str, Any]) -> tuple[bool, bool]:
    """Whether a pod is to be started on the node, and whether one that is there may stay."""
    fits = wanted.node_name in ("", node["metadata"]["name"]) and wanted.selects(node)
    taints = (node.get("spec") or {}).get("taints") or ()
    minded = {one["effect"] for one in taints if not tolerated(one, wanted.tolerations)}
    return fits and not minded & {"NoSchedule", "NoExecute"}, fits and "NoExecute" not in minded


def daemon_pod(owner: Object, node: str, mark: str) -> Object:
    """A pod for this node, of the template whose revision has this mark."""
    pod = pod_of(owner["spec"]["template"], owner)
    meta, spec = pod["metadata"], pod["spec"]
    metadata = {**meta, "labels": {**(meta.get("labels") or {}), HASH: mark}}
    return {
        **pod,
        "metadata": metadata,
        "spec": {**spec, "affinity": _bound(spec.get("affinity") or {}, node), "tolerations": tolerations(spec)},
    }


def _bound(affinity: Mapping[str, Any], node: str) -> Object:
    """The affinity narrowed to one node."""
    here = [{"key": NAME, "operator": "In", "values": [node]}]
    own = affinity.get("nodeAffinity") or {}
    terms = (own.get(REQUIRED) or {}).get("nodeSelectorTerms") or [{}]
    bound = {"nodeSelectorTerms": [{**term, "matchFields": here} for term in terms]}
    return {**affinity, "nodeAffinity": {**own, REQUIRED: bound}}


def node_of(pod: Mapping[str, Any]) -> str:
    """Where the pod is, or is to be."""
    spec = pod["spec"]
    if spec.get("nodeName"):
        return str(spec["nodeName"])
    required = ((spec.get("affinity") or {}).get("nodeAffinity") or {}).get(REQUIRED) or {}
    for term in required.get("nodeSelectorTerms") or ():
        for field in term.get("matchFields") or ():
            if field["key"] == NAME and field["operator"] == "In" and len(field["values"]) == 1:
                return str(field["values"][0])
    return ""


def is_of(pod: Mapping[str, Any], mark: str) -> bool:
    return (pod["metadata"].get("labels") or {}).get(HASH) == mark


def is_well(owner: Object, pod: Mapping[str, Any]) -> bool:
    """Available, and not on its way out."""
    least = int(owner["spec"].get("minReadySeconds") or 0)
    return not pod["metadata"].get("deletionTimestamp") and is_available(pod, least)


def has_ended(pod: Mapping[str, Any]) -> bool:
    return phase(pod) in ("Succeeded", "Failed")
