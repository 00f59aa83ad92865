"""Whom a pod's processes may run as, and what they may do, with the original's sentences."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from k8slab.kube.api import validation
from k8slab.kube.api.errors import FieldProblem
from k8slab.kube.api.meta import dig

_HIGHEST: Final = 2**31 - 1
_RANGE: Final = f"must be between 0 and {_HIGHEST}, inclusive"


def pod_security_problems(context: Mapping[str, Any], path: str) -> Iterator[FieldProblem]:
    for field in ("runAsUser", "runAsGroup", "fsGroup"):
        yield from _id(context.get(field), f"{path}.{field}")
    for index, group in enumerate(context.get("supplementalGroups") or ()):
        yield from _id(group, f"{path}.supplementalGroups[{index}]")


def container_security_problems(context: Mapping[str, Any], path: str) -> Iterator[FieldProblem]:
    for field in ("runAsUser", "runAsGroup"):
        yield from _id(context.get(field), f"{path}.{field}")
    if context.get("allowPrivilegeEscalation") is not False:
        return
    shown = validation.Literal("core.SecurityContext{…}")
    if context.get("privileged"):
        why = "cannot set `allowPrivilegeEscalation` to false and `privileged` to true"
        yield validation.invalid(path, shown, why)
    if "CAP_SYS_ADMIN" in (dig(context, "capabilities", "add") or ()):
        why = "cannot set `allowPrivilegeEscalation` to false and `capabilities.Add` CAP_SYS_ADMIN"
        yield validation.invalid(path, shown, why)


def _id(value: int | None, path: str) -> Iterator[FieldProblem]:
    if value is not None and not 0 <= value <= _HIGHEST:
        yield validation.invalid(path, value, _RANGE)
