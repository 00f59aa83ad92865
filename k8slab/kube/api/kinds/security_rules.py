"""Whom a pod's processes may run as, and what they may do, with the original's sentences."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from k8slab.kube.api import validation
from k8slab.kube.api.errors import FieldProblem
from k8slab.kube.api.meta import dig

_HIGHEST: Final = 2**31 - 1
_RANGE: Final = f"must be between 0 and {_HIGHEST}, inclusive"
_SEGMENT: Final = "[a-z0-9]([-_a-z0-9]*[a-z0-9])?"
_SYSCTL: Final = rf"^({_SEGMENT}[\./])*{_SEGMENT}$"
_LONGEST_SYSCTL: Final = 253


def pod_security_problems(context: Mapping[str, Any], path: str) -> Iterator[FieldProblem]:
    for field in ("runAsUser", "runAsGroup", "fsGroup"):
        yield from _id(context.get(field), f"{path}.{field}")
    for index, group in enumerate(context.get("supplementalGroups") or ()):
        yield from _id(group, f"{path}.supplementalGroups[{index}]")
    yield from _sysctls(context.get("sysctls") or (), f"{path}.sysctls")


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


def _sysctls(listed: Sequence[Mapping[str, Any]], path: str) -> Iterator[FieldProblem]:
    names: set[str] = set()
    for index, one in enumerate(listed):
        name, where = one.get("name") or "", f"{path}[{index}].name"
        if not name:
            yield validation.required(where)
        elif len(name) > _LONGEST_SYSCTL or name.endswith("\n") or not re.match(_SYSCTL, name):
            why = f"must have at most {_LONGEST_SYSCTL} characters and match regex {_SYSCTL}"
            yield validation.invalid(where, name, why)
        elif name in names:
            yield validation.duplicate(where, name)
        names.add(name)


def _id(value: int | None, path: str) -> Iterator[FieldProblem]:
    if value is not None and not 0 <= value <= _HIGHEST:
        yield validation.invalid(path, value, _RANGE)
