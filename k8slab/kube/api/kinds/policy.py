"""PodDisruptionBudget: how many pods may be away by somebody's will."""

from __future__ import annotations

from typing import Final

from k8slab.kube.api import validation
from k8slab.kube.api.errors import FieldProblem
from k8slab.kube.api.kind import AGE, NAME, Column, Kind
from k8slab.kube.api.kinds.template import number, share, starts_with_status
from k8slab.kube.api.meta import Object, dig


def _problems(new: Object, old: Object | None) -> list[FieldProblem]:
    spec = new.get("spec") or {}
    least, most = spec.get("minAvailable"), spec.get("maxUnavailable")
    found: list[FieldProblem] = []
    if least is not None and most is not None:
        shown = validation.Literal("policy.PodDisruptionBudgetSpec{…}")
        found.append(validation.invalid("spec", shown, "minAvailable and maxUnavailable cannot be both set"))
    found += share("spec.minAvailable", least) + share("spec.maxUnavailable", most)
    found += validation.selector("spec.selector", spec.get("selector") or {})
    policy = spec.get("unhealthyPodEvictionPolicy")
    if policy is not None:
        known = ("AlwaysAllow", "IfHealthyBudget")
        found += validation.one_of("spec.unhealthyPodEvictionPolicy", policy, known)
    return found


def _amount(field: str) -> Column:
    def read(obj: Object) -> str:
        value = dig(obj, "spec", field)
        return "N/A" if value is None else str(value)

    return Column("Min Available" if field == "minAvailable" else "Max Unavailable", read)


PDB: Final = Kind(
    kind="PodDisruptionBudget",
    plural="poddisruptionbudgets",
    singular="poddisruptionbudget",
    group="policy",
    short_names=("pdb",),
    columns=(
        NAME,
        _amount("minAvailable"),
        _amount("maxUnavailable"),
        number("Allowed Disruptions", "status", "disruptionsAllowed"),
        AGE,
    ),
    prepare=starts_with_status(disruptionsAllowed=0, currentHealthy=0, desiredHealthy=0, expectedPods=0),
    validate=_problems,
    status=True,
    generation=True,
)
