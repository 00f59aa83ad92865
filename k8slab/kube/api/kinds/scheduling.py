"""PriorityClass: what a pod's importance is called."""

from __future__ import annotations

from typing import Final

from k8slab.kube.api import validation
from k8slab.kube.api.errors import FieldProblem
from k8slab.kube.api.kind import AGE, NAME, Column, Kind
from k8slab.kube.api.meta import Object

HIGHEST: Final = 1_000_000_000
SYSTEM: Final = "system-"
POLICIES: Final = ("Never", "PreemptLowerPriority")
# What every cluster has from its first moment.
BUILT_IN: Final = {"system-cluster-critical": 2_000_000_000, "system-node-critical": 2_000_001_000}


def _defaults(obj: Object) -> None:
    obj.setdefault("value", 0)
    obj.setdefault("preemptionPolicy", "PreemptLowerPriority")


def _problems(new: Object, old: Object | None) -> list[FieldProblem]:
    name, value = new["metadata"].get("name") or "", new["value"]
    found: list[FieldProblem] = []
    if name.startswith(SYSTEM):
        if BUILT_IN.get(name) != value:
            why = "priority class names with 'system-' prefix are reserved for system use only"
            found.append(validation.forbidden("metadata.name", why))
    elif value > HIGHEST:
        why = f"maximum allowed value of a user defined priority is {HIGHEST}"
        found.append(validation.forbidden("value", why))
    found += validation.one_of("preemptionPolicy", new["preemptionPolicy"], POLICIES)
    if old is not None:
        if value != old.get("value", 0):
            found.append(validation.forbidden("value", "may not be changed in an update."))
        if new["preemptionPolicy"] != old.get("preemptionPolicy"):
            found.append(validation.immutable("preemptionPolicy", new["preemptionPolicy"]))
    return found


PRIORITY_CLASS: Final = Kind(
    kind="PriorityClass",
    plural="priorityclasses",
    singular="priorityclass",
    group="scheduling.k8s.io",
    namespaced=False,
    short_names=("pc",),
    columns=(
        NAME,
        Column("Value", lambda obj: obj.get("value") or 0, type="integer"),
        Column("Global-Default", lambda obj: bool(obj.get("globalDefault")), type="boolean"),
        AGE,
        Column("PreemptionPolicy", lambda obj: obj.get("preemptionPolicy") or "<unset>"),
    ),
    default=_defaults,
    validate=_problems,
    generation=True,
)
