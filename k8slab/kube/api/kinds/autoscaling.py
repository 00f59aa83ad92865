"""HorizontalPodAutoscaler: kept in the form of v2, shown in that of v1 as well."""

from __future__ import annotations

from typing import Any, Final

from k8slab.kube.api import validation
from k8slab.kube.api.errors import FieldProblem
from k8slab.kube.api.kind import AGE, NAME, Column, Kind, View
from k8slab.kube.api.kinds.template import number, starts_with_status
from k8slab.kube.api.meta import Object, dig

GROUP: Final = "autoscaling"
DEFAULT_UTILIZATION: Final = 80
SHOWN: Final = 2


def _defaults(obj: Object) -> None:
    spec = obj.setdefault("spec", {})
    if spec.get("minReplicas") is None:
        spec["minReplicas"] = 1
    if not spec.get("metrics"):
        spec["metrics"] = [_cpu(DEFAULT_UTILIZATION)]


def _cpu(percent: int) -> dict[str, Any]:
    return {
        "type": "Resource",
        "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": percent}},
    }


def _problems(new: Object, old: Object | None) -> list[FieldProblem]:
    spec = new["spec"]
    found: list[FieldProblem] = []
    least, most = spec["minReplicas"], spec.get("maxReplicas", 0)
    if least < 1:
        found.append(validation.invalid("spec.minReplicas", least, "must be greater than or equal to 1"))
    if most < 1:
        found.append(validation.invalid("spec.maxReplicas", most, "must be greater than 0"))
    if most < least:
        found.append(validation.invalid("spec.maxReplicas", most, "must be greater than or equal to `minReplicas`"))
    target = spec.get("scaleTargetRef") or {}
    for field in ("kind", "name"):
        path = f"spec.scaleTargetRef.{field}"
        if not target.get(field):
            found.append(validation.required(path))
        else:
            found += validation.checked(path, target[field], validation.path_segment)
    kinds = ("ContainerResource", "External", "Object", "Pods", "Resource")
    for index, metric in enumerate(spec["metrics"]):
        path = f"spec.metrics[{index}]"
        if not metric.get("type"):
            found.append(validation.required(f"{path}.type", "must specify a metric source type"))
            continue
        wrong = validation.one_of(f"{path}.type", metric["type"], kinds)
        found += wrong
        source = metric["type"][:1].lower() + metric["type"][1:]
        if not wrong and metric.get(source) is None:
            found.append(
                validation.required(f"{path}.{source}", "must populate information for the given metric source")
            )
        elif not wrong:
            found += _target_problems(metric[source], f"{path}.{source}", resource=source.lower().endswith("resource"))
    return found


def _target_problems(source: dict[str, Any], path: str, *, resource: bool) -> list[FieldProblem]:
    found: list[FieldProblem] = []
    if resource and not source.get("name"):
        found.append(validation.required(f"{path}.name", "must specify a resource name"))
    target = source.get("target") or {}
    if not target.get("type"):
        found.append(validation.required(f"{path}.target.type", "must specify a metric target type"))
    utilization = target.get("averageUtilization")
    if utilization is not None and utilization < 1:
        found.append(validation.invalid(f"{path}.target.averageUtilization", utilization, "must be greater than 0"))
    if resource and utilization is None and target.get("averageValue") is None:
        why = "must set either a target raw value or a target utilization"
        found.append(validation.required(f"{path}.target.averageUtilization", why))
    return found


def _reference(obj: Object) -> str:
    target = dig(obj, "spec", "scaleTargetRef") or {}
    return f"{target.get('kind')}/{target.get('name')}"


def _targets(obj: Object) -> str:
    metrics = dig(obj, "spec", "metrics") or ()
    if not metrics:
        return "<none>"
    current = dig(obj, "status", "currentMetrics") or ()
    shown = [_target(metric, current[index] if index < len(current) else {}) for index, metric in enumerate(metrics)]
    text = ", ".join(shown[:SHOWN])
    return f"{text} + {len(shown) - SHOWN} more..." if len(shown) > SHOWN else text


def _target(metric: dict[str, Any], current: dict[str, Any]) -> str:
    source = (metric.get("type") or "")[:1].lower() + (metric.get("type") or "")[1:]
    wanted = dig(metric, source, "target") or {}
    found = dig(current, source, "current") or {}
    prefix = f"{dig(metric, source, 'name')}: " if source in ("resource", "containerResource") else ""
    if wanted.get("averageUtilization") is not None:
        known = found.get("averageUtilization")
        return f"{prefix}{'<unknown>' if known is None else f'{known}%'}/{wanted['averageUtilization']}%"
    if wanted.get("averageValue") is not None:
        average = " (avg)" if source in ("object", "external") else ""
        return f"{prefix}{found.get('averageValue') or '<unknown>'}/{wanted['averageValue']}{average}"
    return f"{prefix}{found.get('value') or '<unknown>'}/{wanted.get('value')}"


HPA: Final = Kind(
    kind="HorizontalPodAutoscaler",
    plural="horizontalpodautoscalers",
    singular="horizontalpodautoscaler",
    group=GROUP,
    version="v2",
    form="autoscaling/v2.HorizontalPodAutoscaler",
    short_names=("hpa",),
    categories=("all",),
    columns=(
        NAME,
        Column("Reference", _reference),
        Column("Targets", _targets),
        Column("MinPods", lambda obj: str(dig(obj, "spec", "minReplicas") or "<unset>")),
        number("MaxPods", "spec", "maxReplicas"),
        number("Replicas", "status", "currentReplicas"),
        AGE,
    ),
    default=_defaults,
    prepare=starts_with_status(desiredReplicas=0, currentMetrics=None),
    validate=_problems,
    status=True,
)


def _to_v2(obj: Object) -> Object:
    spec = dict(obj.get("spec") or {})
    percent = spec.pop("targetCPUUtilizationPercentage", None)
    spec["metrics"] = [_cpu(DEFAULT_UTILIZATION if percent is None else percent)]
    status = dict(obj.get("status") or {})
    now = status.pop("currentCPUUtilizationPercentage", None)
    if now is not None:
        status["currentMetrics"] = [
            {"type": "Resource", "resource": {"name": "cpu", "current": {"averageUtilization": now}}}
        ]
    return {**obj, "spec": spec, "status": {"desiredReplicas": 0, "currentMetrics": None, **status}}


def _to_v1(obj: Object) -> Object:
    spec = dict(obj.get("spec") or {})
    metrics = spec.pop("metrics", None) or ()
    spec.pop("behavior", None)
    status = {key: value for key, value in (obj.get("status") or {}).items() if key not in ("conditions",)}
    current = status.pop("currentMetrics", None) or ()
    for metric in metrics:
        if dig(metric, "resource", "name") == "cpu" and dig(metric, "resource", "target", "averageUtilization"):
            spec["targetCPUUtilizationPercentage"] = metric["resource"]["target"]["averageUtilization"]
    for metric in current:
        if dig(metric, "resource", "name") == "cpu":
            status["currentCPUUtilizationPercentage"] = dig(metric, "resource", "current", "averageUtilization")
    status.setdefault("currentReplicas", 0)
    status.setdefault("desiredReplicas", 0)
    return {"metadata": obj["metadata"], "spec": spec, "status": status}


def _v1_defaults(obj: Object) -> None:
    spec = obj.setdefault("spec", {})
    spec.setdefault("minReplicas", 1)
    spec.setdefault("targetCPUUtilizationPercentage", DEFAULT_UTILIZATION)


def _v1_problems(new: Object, old: Object | None) -> list[FieldProblem]:
    return _problems(_to_v2(new), None)


HPA_V1: Final = View(
    kind=HPA.kind,
    plural=HPA.plural,
    singular=HPA.singular,
    group=GROUP,
    version="v1",
    short_names=HPA.short_names,
    categories=HPA.categories,
    columns=HPA.columns,
    default=_v1_defaults,
    prepare=starts_with_status(currentReplicas=0, desiredReplicas=0),
    validate=_v1_problems,
    status=True,
    of=HPA,
    to_hub=_to_v2,
    from_hub=_to_v1,
)

AUTOSCALING: Final = (HPA, HPA_V1)
