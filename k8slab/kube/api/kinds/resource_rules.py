"""What containers may ask for and be given at the most, with the original's sentences."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from k8slab.kube.api import validation
from k8slab.kube.api.errors import FieldProblem
from k8slab.kube.api.meta import parse_quantity

_OF_CONTAINERS: Final = ("cpu", "memory", "ephemeral-storage")
_HUGE_PAGES: Final = "hugepages-"
_NATIVE: Final = "kubernetes.io/"


def resource_problems(resources: Mapping[str, Any], path: str) -> Iterator[FieldProblem]:
    limits, requests = resources.get("limits") or {}, resources.get("requests") or {}
    for field, amounts in (("limits", limits), ("requests", requests)):
        for name, value in amounts.items():
            where = f"{path}.{field}[{name}]"
            yield from _name_problems(name, where)
            yield from _amount_problems(name, value, where)
    for name, value in requests.items():
        if name not in limits:
            if not _may_be_shared(name):
                yield validation.required(f"{path}.limits", "Limit must be set for non overcommitable resources")
            continue
        request, limit = parse_quantity(value), parse_quantity(limits[name])
        if request is None or limit is None or request == limit:
            continue
        if not _may_be_shared(name):
            why = f"must be equal to {name} limit of {limits[name]}"
            yield validation.invalid(f"{path}.requests", value, why)
        elif request > limit:
            why = f"must be less than or equal to {name} limit of {limits[name]}"
            yield validation.invalid(f"{path}.requests", value, why)


def _name_problems(name: str, where: str) -> Iterator[FieldProblem]:
    yield from validation.checked(where, name, validation.qualified_name)
    if "/" not in name and name not in _OF_CONTAINERS and not name.startswith(_HUGE_PAGES):
        if name != "storage":
            yield validation.invalid(where, name, "must be a standard resource type or fully qualified")
        yield validation.invalid(where, name, "must be a standard resource for containers")
    elif not _is_native(name) and name.startswith("requests."):
        yield validation.invalid(where, name, "doesn't follow extended resource name standard")


def _amount_problems(name: str, value: Any, where: str) -> Iterator[FieldProblem]:
    yield from validation.quantity(where, value)
    amount = parse_quantity(value)
    if amount is not None and not _is_native(name) and amount != amount.to_integral_value():
        yield validation.invalid(where, value, "must be an integer")


def _is_native(name: str) -> bool:
    return "/" not in name or _NATIVE in name


def _may_be_shared(name: str) -> bool:
    """Whether more of it may be promised than there is."""
    return _is_native(name) and not name.startswith(_HUGE_PAGES)
