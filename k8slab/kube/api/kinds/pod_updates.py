"""What of a pod may change once it exists, with the original's sentences."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from k8slab.kube.api import validation
from k8slab.kube.api.errors import FieldProblem

UPDATE_RULE: Final = (
    "pod updates may not change fields other than `spec.containers[*].image`,`spec.initContainers[*].image`,"
    "`spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to existing tolerations),"
    "`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)"
)
_HELD_BACK: Final = ("schedulingGates", "nodeSelector")


def update_problems(spec: Mapping[str, Any], was: Mapping[str, Any]) -> list[FieldProblem]:
    for field in ("containers", "initContainers"):
        if len(spec.get(field) or ()) != len(was.get(field) or ()):
            return [validation.forbidden(f"spec.{field}", "pod updates may not add or remove containers")]
    found = [*_deadline(spec.get("activeDeadlineSeconds"), was.get("activeDeadlineSeconds"))]
    before = [one.get("name") for one in was.get("schedulingGates") or ()]
    for index, gate in enumerate(spec.get("schedulingGates") or ()):
        if gate.get("name") not in before:
            why = f"only deletion is allowed, but found new scheduling gate '{gate.get('name') or ''}'"
            found.append(validation.forbidden(f"spec.schedulingGates[{index}].name", why))
    if before and any((spec.get("nodeSelector") or {}).get(k) != v for k, v in (was.get("nodeSelector") or {}).items()):
        found.append(
            validation.invalid(
                "spec.nodeSelector",
                validation.go_map(spec.get("nodeSelector")),
                "only additions are allowed to spec.nodeSelector (no mutations or deletions)",
            )
        )
    if found:
        return found
    if _frozen(spec, was) != _frozen(was, was):
        return [validation.forbidden("spec", UPDATE_RULE)]
    return []


def _deadline(now: int | None, was: int | None) -> Iterator[FieldProblem]:
    """It may be set and brought forward, never put off."""
    if was is None:
        return
    path = "spec.activeDeadlineSeconds"
    if now is None:
        yield validation.invalid(path, None, "must not update from a positive integer to nil value")
    elif now > was:
        yield validation.invalid(path, now, "must be less than or equal to previous value")


def _without_seconds(toleration: Mapping[str, Any]) -> dict[str, Any]:
    """How long it holds may change."""
    return {key: value for key, value in toleration.items() if key != "tolerationSeconds"}


def _frozen(spec: Mapping[str, Any], old: Mapping[str, Any]) -> dict[str, Any]:
    """The spec with what an update may change set back to what it was."""
    shown = dict(spec)
    for field in ("containers", "initContainers"):
        if field in shown:
            shown[field] = [{key: value for key, value in one.items() if key != "image"} for one in shown[field]]
    shown.pop("activeDeadlineSeconds", None)
    was = old.get("tolerations") or []
    now = [_without_seconds(one) for one in shown.get("tolerations") or ()]
    shown["tolerations"] = [one for one in was if _without_seconds(one) in now]
    if old.get("terminationGracePeriodSeconds", 0) < 0 and shown.get("terminationGracePeriodSeconds") == 1:
        shown["terminationGracePeriodSeconds"] = old["terminationGracePeriodSeconds"]
    # What keeps a pod from being scheduled may go, and where it is scheduled may be narrowed until then.
    for field in _HELD_BACK if old.get("schedulingGates") else _HELD_BACK[:1]:
        shown.pop(field, None)
    return shown
