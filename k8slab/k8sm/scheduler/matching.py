"""First come, first served: each waiting pod goes to the first agent that has what it needs. Pure.

Whatever keeps a pod from an agent is kept as a short reason; the reasons of all agents together are what the pod's
FailedScheduling event says.
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from k8slab.k8sm.mapping import Executor
from k8slab.k8sm.resources import Defaults, PodResources, Pool, pod_resources
from k8slab.k8sm.scheduler.offers import Slot

Pod = Mapping[str, Any]


@dataclass(frozen=True)
class Placement:
    """``resources``: the pieces of the slot's offers that the task takes."""

    pod: Pod
    slot: Slot
    resources: tuple[Mapping[str, Any], ...]


@dataclass(frozen=True)
class Round:
    """``reasons``: for each pod that found no place (by uid), the sentence that says why."""

    placements: tuple[Placement, ...]
    reasons: Mapping[str, str]


def match(
    pods: Iterable[Pod],
    slots: Sequence[Slot],
    nodes: Mapping[str, Mapping[str, Any]],
    executor: Executor,
    defaults: Defaults,
) -> Round:
    """``nodes``: the API's nodes by name; an agent without one takes no pods."""
    free = {slot.agent: slot for slot in slots}
    placements: list[Placement] = []
    reasons: dict[str, str] = {}
    for pod in pods:
        try:
            placement, rest, reason = _place(pod, free.values(), nodes, executor, defaults)
        except (ArithmeticError, AttributeError, KeyError, TypeError, ValueError) as error:
            # One pod that cannot be read must not keep all the others from their places.
            placement, reason = None, f"the pod cannot be read: {error or type(error).__name__}"
        if placement is None:
            reasons[pod["metadata"]["uid"]] = reason
            continue
        placements.append(placement)
        slot = placement.slot
        executors = slot.executors or (executor.id,)
        free[slot.agent] = dataclasses.replace(slot, pool=rest, executors=executors)
    return Round(tuple(placements), reasons)


def _place(
    pod: Pod,
    slots: Iterable[Slot],
    nodes: Mapping[str, Mapping[str, Any]],
    executor: Executor,
    defaults: Defaults,
) -> tuple[Placement | None, Pool, str]:
    """Where the pod goes and what stays there, or why it goes nowhere."""
    wanted = pod_resources(pod, defaults)
    misfits: dict[str, str] = {}
    for slot in slots:
        fitted = _fit(pod, wanted, slot, nodes.get(slot.host), executor)
        if not isinstance(fitted, str):
            resources, rest = fitted
            return Placement(pod, slot, resources), rest, ""
        misfits[slot.host] = fitted
    return None, Pool(), summary(pod, misfits, nodes)


def summary(pod: Pod, misfits: Mapping[str, str], nodes: Mapping[str, Mapping[str, Any]]) -> str:
    """ "0/4 nodes are available: 3 …, 1 …" """
    reasons = dict(misfits)
    for name, node in nodes.items():
        if name not in reasons:
            reasons[name] = _why_not(pod, node) or _silence(node)
    if not reasons:
        return "no suitable offers for pod/task: no Mesos agent has registered"
    parts = [f"{count} {text}" for text, count in sorted(Counter(reasons.values()).items())]
    return f"0/{len(reasons)} nodes are available: {', '.join(parts)}"


def _fit(
    pod: Pod, wanted: PodResources, slot: Slot, node: Mapping[str, Any] | None, executor: Executor
) -> tuple[tuple[Mapping[str, Any], ...], Pool] | str:
    """The pieces taken and what stays, or the reason why it does not fit."""
    if node is None:
        return "has no node object yet"
    if reason := _why_not(pod, node):
        return reason
    pool = slot.pool
    needs = ""
    if not slot.executors:
        taken = pool.take(executor.cpus, executor.mem, unreserved=True)
        if taken is None:
            return f"has no room for its executor (needs {executor.cpus:g} cpus, {executor.mem:g} MB)"
        pool, needs = taken.rest, " beside its executor"
    if pool.scalar("cpus") < wanted.cpus:
        return f"insufficient cpus (needs {wanted.cpus:g}{needs}, {pool.scalar('cpus'):g} offered)"
    if pool.scalar("mem") < wanted.mem:
        return f"insufficient memory (needs {wanted.mem:g} MB{needs}, {pool.scalar('mem'):g} MB offered)"
    for index, port in enumerate(wanted.ports):
        if port in wanted.ports[:index] or not pool.has_port(port):
            return f"does not offer host port {port}"
    taken = pool.take(wanted.cpus, wanted.mem, wanted.ports)
    if taken is None:
        return "insufficient resources"
    return taken.resources, taken.rest


def _why_not(pod: Pod, node: Mapping[str, Any]) -> str:
    spec, node_spec = pod["spec"], node.get("spec") or {}
    meta = node["metadata"]
    if spec.get("nodeName"):
        return "" if spec["nodeName"] == meta["name"] else "not the node the pod is bound to"
    labels = meta.get("labels") or {}
    for key, value in (spec.get("nodeSelector") or {}).items():
        if labels.get(key) != value:
            return f"without label {key}={value}"
    if node_spec.get("unschedulable"):
        return "cordoned"
    for taint in node_spec.get("taints") or ():
        if taint["effect"] in ("NoSchedule", "NoExecute") and not _tolerated(taint, spec.get("tolerations") or ()):
            return f"with untolerated taint {taint['key']}={taint.get('value') or ''}:{taint['effect']}"
    return ""


def _silence(node: Mapping[str, Any]) -> str:
    conditions = (node.get("status") or {}).get("conditions") or ()
    if any(one["type"] == "Ready" and one["status"] != "True" for one in conditions):
        return "not ready"
    return "offering nothing: all its resources are taken"


def _tolerated(taint: Mapping[str, Any], tolerations: Iterable[Mapping[str, Any]]) -> bool:
    for toleration in tolerations:
        if (toleration.get("effect") or taint["effect"]) != taint["effect"]:
            continue
        exists = toleration.get("operator") == "Exists"
        if exists and toleration.get("key") in (None, "", taint["key"]):
            return True
        if toleration.get("key") == taint["key"] and (toleration.get("value") or "") == (taint.get("value") or ""):
            return True
    return False


def unsupported(pod: Pod) -> str:
    """What the pod asks of its place that this scheduler cannot judge; empty when there is nothing."""
    affinity = pod["spec"].get("affinity") or {}
    required = "requiredDuringSchedulingIgnoredDuringExecution"
    for kind in ("nodeAffinity", "podAffinity", "podAntiAffinity"):
        if (affinity.get(kind) or {}).get(required):
            return f"this scheduler does not support spec.affinity.{kind}.{required}"
    for constraint in pod["spec"].get("topologySpreadConstraints") or ():
        if constraint.get("whenUnsatisfiable") != "ScheduleAnyway":
            return "this scheduler does not support spec.topologySpreadConstraints with DoNotSchedule"
    if pod["spec"].get("schedulingGates"):
        return "the pod has scheduling gates"
    return ""
