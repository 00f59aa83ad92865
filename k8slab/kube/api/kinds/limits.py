"""LimitRange and ResourceQuota: what a namespace's pods may be like, and how much there may be."""

from __future__ import annotations

from typing import Any, Final

from k8slab.kube.api import validation
from k8slab.kube.api.errors import FieldProblem
from k8slab.kube.api.kind import AGE, NAME, Column, Kind
from k8slab.kube.api.kinds.template import starts_with_status
from k8slab.kube.api.meta import Object, dig, parse_quantity

CREATED: Final = Column("Created At", lambda obj: obj["metadata"].get("creationTimestamp") or "", type="date")
SCOPES: Final = (
    *("BestEffort", "CrossNamespacePodAffinity", "NotBestEffort", "NotTerminating", "PriorityClass", "Terminating"),
    "VolumeAttributesClass",
)
# Of each pair the first may not be more than the second.
PAIRS: Final = (
    *(("min", "max"), ("defaultRequest", "max"), ("default", "max")),
    *(("defaultRequest", "default"), ("min", "default"), ("min", "defaultRequest")),
)
NAMES: Final = {
    "min": "min value",
    "max": "max value",
    "default": "default limit value",
    "defaultRequest": "default request value",
}
AMOUNTS: Final = ("max", "min", "default", "defaultRequest", "maxLimitRequestRatio")


def _range_defaults(obj: Object) -> None:
    for limit in obj.setdefault("spec", {}).get("limits") or ():
        if limit.get("type") != "Container":
            continue
        default = {**(limit.get("max") or {}), **(limit.get("default") or {})}
        request = {**(limit.get("min") or {}), **default, **(limit.get("defaultRequest") or {})}
        if default:
            limit["default"] = default
        if request:
            limit["defaultRequest"] = request


def _range_problems(new: Object, old: Object | None) -> list[FieldProblem]:
    found: list[FieldProblem] = []
    seen: set[str] = set()
    for index, limit in enumerate(dig(new, "spec", "limits") or ()):
        path = f"spec.limits[{index}]"
        kind = limit.get("type") or ""
        found += validation.checked(f"{path}.type", kind, validation.qualified_name)
        if kind in seen:
            found.append(validation.duplicate(f"{path}.type", kind))
        seen.add(kind)
        if kind == "Pod":
            for field in ("default", "defaultRequest"):
                if limit.get(field):
                    found.append(validation.forbidden(f"{path}.{field}", "may not be specified when `type` is 'Pod'"))
        wrong = [
            one
            for field in AMOUNTS
            for name, value in (limit.get(field) or {}).items()
            for one in validation.quantity(f"{path}.{field}[{name}]", value)
        ]
        found += wrong or _order_problems(limit, path)
    return found


def _order_problems(limit: dict[str, Any], path: str) -> list[FieldProblem]:
    found: list[FieldProblem] = []
    for low, high in PAIRS:
        for name, value in (limit.get(low) or {}).items():
            other = (limit.get(high) or {}).get(name)
            less, more = parse_quantity(value), parse_quantity(other)
            if less is not None and more is not None and less > more:
                why = f"{NAMES[low]} {value} is greater than {NAMES[high]} {other}"
                found.append(validation.invalid(f"{path}.{low}[{name}]", value, why))
    return found


def _quota_problems(new: Object, old: Object | None) -> list[FieldProblem]:
    spec = new.get("spec") or {}
    found: list[FieldProblem] = []
    for name, value in (spec.get("hard") or {}).items():
        path = f"spec.hard[{name}]"
        found += validation.checked(path, name, validation.qualified_name)
        found += validation.quantity(path, value)
    for scope in spec.get("scopes") or ():
        found += validation.one_of("spec.scopes", scope, SCOPES)
    if old is not None and (spec.get("scopes") or []) != (dig(old, "spec", "scopes") or []):
        shown = validation.go_strings(spec.get("scopes"))
        found.append(validation.immutable("spec.scopes", shown))
    return found


def _usage(*, limits: bool) -> Column:
    def read(obj: Object) -> str:
        hard, used = dig(obj, "status", "hard") or {}, dig(obj, "status", "used") or {}
        names = sorted(name for name in hard if name.startswith("limits") is limits)
        return ", ".join(f"{name}: {used.get(name, 0)}/{hard[name]}" for name in names)

    return Column("Limit" if limits else "Request", read)


LIMIT_RANGE: Final = Kind(
    kind="LimitRange",
    plural="limitranges",
    singular="limitrange",
    short_names=("limits",),
    columns=(NAME, CREATED),
    default=_range_defaults,
    validate=_range_problems,
    creates_on_update=True,
)

RESOURCE_QUOTA: Final = Kind(
    kind="ResourceQuota",
    plural="resourcequotas",
    singular="resourcequota",
    short_names=("quota",),
    columns=(NAME, _usage(limits=False), _usage(limits=True), AGE),
    prepare=starts_with_status(),
    validate=_quota_problems,
    status=True,
    returns_deleted=True,
)
