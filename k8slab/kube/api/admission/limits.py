"""LimitRanger: what a container or pod does not say is filled in, what is out of bounds is refused."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from decimal import Decimal
from typing import Any, Final

from k8slab.kube.api import errors
from k8slab.kube.api.admission.amounts import written
from k8slab.kube.api.meta import Object, dig, parse_quantity

ANNOTATION: Final = "kubernetes.io/limit-ranger"
Amounts = Mapping[str, Any]


def fill_in(pod: Object, ranges: Iterable[Object]) -> None:
    """The default requests and limits of the namespace, noted in an annotation."""
    notes = []
    for limit in _of_type(ranges, "Container"):
        for field in ("containers", "initContainers"):
            for container in pod["spec"].get(field) or ():
                notes += _fill_container(
                    container, limit, "init container" if field == "initContainers" else "container"
                )
    if notes:
        meta = pod["metadata"]
        meta["annotations"] = {
            **(meta.get("annotations") or {}),
            ANNOTATION: "LimitRanger plugin set: " + "; ".join(notes),
        }


def _fill_container(container: dict[str, Any], limit: Mapping[str, Any], word: str) -> list[str]:
    resources = container.setdefault("resources", {})
    notes = []
    for field, source, what in (("requests", "defaultRequest", "request"), ("limits", "default", "limit")):
        given = resources.get(field) or {}
        missing = {name: value for name, value in (limit.get(source) or {}).items() if name not in given}
        if missing:
            resources[field] = {**given, **missing}
            notes.append(f"{', '.join(sorted(missing))} {what} for {word} {container.get('name') or ''}")
    return notes


def judge_pod(pod: Object, ranges: Iterable[Object]) -> None:
    """Raises Forbidden."""
    ranges = list(ranges)
    found: list[str] = []
    spec = pod["spec"]
    for limit in _of_type(ranges, "Container"):
        for container in (*(spec.get("containers") or ()), *(spec.get("initContainers") or ())):
            resources = container.get("resources") or {}
            found += _problems(limit, "Container", resources.get("requests") or {}, resources.get("limits") or {})
    for limit in _of_type(ranges, "Pod"):
        found += _problems(limit, "Pod", pod_amounts(spec, "requests"), pod_amounts(spec, "limits"))
    _refuse("pods", pod, found)


def judge_claim(claim: Object, ranges: Iterable[Object]) -> None:
    """Raises Forbidden for a volume claim that asks for too little or too much."""
    asked = dig(claim, "spec", "resources", "requests") or {}
    found: list[str] = []
    for limit in _of_type(ranges, "PersistentVolumeClaim"):
        for bound, word, wrong in (("min", "minimum", -1), ("max", "maximum", 1)):
            for name, value in (limit.get(bound) or {}).items():
                have, limited = parse_quantity(asked.get(name)), parse_quantity(value)
                if have is not None and limited is not None and (have - limited) * wrong > 0:
                    shown = f"is {value}, but request is {asked[name]}"
                    found.append(f"{word} {name} usage per PersistentVolumeClaim {shown}")
    _refuse("persistentvolumeclaims", claim, found)


def _refuse(plural: str, obj: Object, found: list[str]) -> None:
    if found:
        why = found[0] if len(found) == 1 else f"[{', '.join(found)}]"
        raise errors.forbidden("", plural, obj["metadata"].get("name") or "", why)


def pod_amounts(spec: Mapping[str, Any], field: str) -> dict[str, str]:
    """What a pod asks for as a whole: its containers' sum, or what its largest init container needs; both beside the
    sidecars that run then."""
    total: dict[str, Decimal] = {}
    highest: dict[str, Decimal] = {}
    like: dict[str, str] = {}
    for container in spec.get("initContainers") or ():
        for name, value in (dig(container, "resources", field) or {}).items():
            with_it = total.get(name, Decimal(0)) + (parse_quantity(value) or 0)
            highest[name] = max(highest.get(name, Decimal(0)), with_it)
            if container.get("restartPolicy") == "Always":
                total[name] = with_it
            like.setdefault(name, str(value))
    for container in spec.get("containers") or ():
        for name, value in (dig(container, "resources", field) or {}).items():
            total[name] = total.get(name, Decimal(0)) + (parse_quantity(value) or 0)
            like.setdefault(name, str(value))
    return {name: written(max(total.get(name, Decimal(0)), highest.get(name, Decimal(0))), like[name]) for name in like}


def _of_type(ranges: Iterable[Object], kind: str) -> list[Mapping[str, Any]]:
    return [limit for one in ranges for limit in dig(one, "spec", "limits") or () if limit.get("type") == kind]


def _problems(limit: Mapping[str, Any], kind: str, requests: Amounts, limits: Amounts) -> list[str]:
    found = []
    for name, bound in (limit.get("min") or {}).items():
        told = f"minimum {name} usage per {kind} is {bound}"
        if name not in requests:
            found.append(f"{told}.  No request is specified")
        elif _less(requests[name], bound):
            found.append(f"{told}, but request is {requests[name]}")
        elif name in limits and _less(limits[name], bound):
            found.append(f"{told}, but limit is {limits[name]}")
    for name, bound in (limit.get("max") or {}).items():
        told = f"maximum {name} usage per {kind} is {bound}"
        if name not in limits:
            found.append(f"{told}.  No limit is specified")
        elif _less(bound, limits[name]):
            found.append(f"{told}, but limit is {limits[name]}")
        elif name in requests and _less(bound, requests[name]):
            found.append(f"{told}, but request is {requests[name]}")
    for name, bound in (limit.get("maxLimitRequestRatio") or {}).items():
        request, most = parse_quantity(requests.get(name)), parse_quantity(limits.get(name))
        told = f"{name} max limit to request ratio per {kind} is {bound}"
        if not request:
            found.append(f"{told}, but no request is specified or request is 0")
        elif not most:
            found.append(f"{told}, but no limit is specified or limit is 0")
        elif most / request > (parse_quantity(bound) or 0):
            found.append(f"{told}, but provided ratio is {most / request:f}")
    return found


def _less(one: Any, other: Any) -> bool:
    first, second = parse_quantity(one), parse_quantity(other)
    return first is not None and second is not None and first < second
