"""What a pod may say of where it goes, with the original's sentences: affinity and topology spread constraints."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any, Final

from k8slab.kube.api import validation
from k8slab.kube.api.errors import FieldProblem
from k8slab.kube.api.meta import Object, dig

REQUIRED: Final = "requiredDuringSchedulingIgnoredDuringExecution"
PREFERRED: Final = "preferredDuringSchedulingIgnoredDuringExecution"
_UNSATISFIABLE: Final = ("DoNotSchedule", "ScheduleAnyway")
_POLICIES: Final = ("Honor", "Ignore")
_MEMBERS: Final = ("In", "NotIn")
_PRESENCE: Final = ("Exists", "DoesNotExist")
_ORDER: Final = ("Gt", "Lt")
_NO_OPERATOR: Final = "not a valid selector operator"
_SELECTED_TOO: Final = "exists in both matchLabelKeys and labelSelector"
_NOT_POSITIVE: Final = "must be greater than zero"


def affinity_problems(affinity: Mapping[str, Any], path: str) -> Iterator[FieldProblem]:
    if (own := affinity.get("nodeAffinity")) is not None:
        where = f"{path}.nodeAffinity"
        if (required := own.get(REQUIRED)) is not None:
            yield from _node_selector(required, f"{where}.{REQUIRED}.nodeSelectorTerms")
        for index, one in enumerate(own.get(PREFERRED) or ()):
            yield from _weight(one, f"{where}.{PREFERRED}[{index}]")
            yield from _node_term(one.get("preference") or {}, f"{where}.{PREFERRED}[{index}].preference", strict=False)
    for kind in ("podAffinity", "podAntiAffinity"):
        own, where = affinity.get(kind) or {}, f"{path}.{kind}"
        for index, term in enumerate(own.get(REQUIRED) or ()):
            yield from _pod_term(term, f"{where}.{REQUIRED}[{index}]")
        for index, one in enumerate(own.get(PREFERRED) or ()):
            yield from _weight(one, f"{where}.{PREFERRED}[{index}]")
            yield from _pod_term(one.get("podAffinityTerm") or {}, f"{where}.{PREFERRED}[{index}].podAffinityTerm")


def spread_problems(constraints: Sequence[Mapping[str, Any]], path: str) -> Iterator[FieldProblem]:
    kinds = [(one.get("topologyKey") or "", one.get("whenUnsatisfiable") or "") for one in constraints]
    for index, (one, (key, action)) in enumerate(zip(constraints, kinds, strict=True)):
        where, least = f"{path}[{index}]", one.get("minDomains")
        if (skew := one.get("maxSkew") or 0) <= 0:
            yield validation.invalid(f"{where}.maxSkew", skew, _NOT_POSITIVE)
        if not key:
            yield validation.required(f"{where}.topologyKey", "can not be empty")
        yield from validation.one_of(f"{where}.whenUnsatisfiable", action, _UNSATISFIABLE)
        if (key, action) in kinds[index + 1 :]:
            yield validation.duplicate(f"{where}.{{topologyKey, whenUnsatisfiable}}", f"{{{key}, {action}}}")
        if least is not None and least <= 0:
            yield validation.invalid(f"{where}.minDomains", least, _NOT_POSITIVE)
        if least is not None and action != "DoNotSchedule":
            why = f"can only use minDomains if whenUnsatisfiable=DoNotSchedule, not {action}"
            yield validation.invalid(f"{where}.minDomains", least, why)
        for policy in ("nodeAffinityPolicy", "nodeTaintsPolicy"):
            if one.get(policy) is not None:
                yield from validation.one_of(f"{where}.{policy}", one[policy], _POLICIES)
        selector = one.get("labelSelector")
        yield from _label_keys(one, f"{where}.matchLabelKeys", {*_selected(selector or {})})
        if selector is not None:
            yield from validation.selector(f"{where}.labelSelector", selector)


def with_label_keys(pod: Object) -> None:
    """Writes ``matchLabelKeys`` and ``mismatchLabelKeys`` of a new pod's affinity out as what they mean for its labels,
    as the original does for a pod, not for a template, whose pods' labels are not known yet."""
    labels = pod["metadata"].get("labels") or {}
    for kind in ("podAffinity", "podAntiAffinity"):
        own = dig(pod, "spec", "affinity", kind) or {}
        terms = (*(own.get(REQUIRED) or ()), *(one.get("podAffinityTerm") or {} for one in own.get(PREFERRED) or ()))
        for term in terms:
            meant = [
                {"key": key, "operator": operator, "values": [labels[key]]}
                for field, operator in (("matchLabelKeys", "In"), ("mismatchLabelKeys", "NotIn"))
                for key in term.get(field) or ()
                if key in labels
            ]
            if meant and term.get("labelSelector") is not None:
                selector = term["labelSelector"]
                term["labelSelector"] = {
                    **selector,
                    "matchExpressions": [*(selector.get("matchExpressions") or ()), *meant],
                }


def _weight(preferred: Mapping[str, Any], path: str) -> Iterator[FieldProblem]:
    weight = preferred.get("weight") or 0
    if not 0 < weight <= 100:
        yield validation.invalid(f"{path}.weight", weight, "must be in the range 1-100")


def _node_selector(selector: Mapping[str, Any], path: str) -> Iterator[FieldProblem]:
    terms = selector.get("nodeSelectorTerms") or ()
    if not terms:
        yield validation.required(path, "must have at least one node selector term")
    for index, term in enumerate(terms):
        yield from _node_term(term, f"{path}[{index}]", strict=True)


def _node_term(term: Mapping[str, Any], path: str, *, strict: bool) -> Iterator[FieldProblem]:
    """``strict``: values must be such as a label can have; the original lets a mere preference name others."""
    for index, one in enumerate(term.get("matchExpressions") or ()):
        where = f"{path}.matchExpressions[{index}]"
        key, operator, values = one.get("key") or "", one.get("operator") or "", one.get("values") or ()
        if operator in _MEMBERS and not values:
            yield validation.required(f"{where}.values", "must be specified when `operator` is 'In' or 'NotIn'")
        elif operator in _PRESENCE and values:
            why = "may not be specified when `operator` is 'Exists' or 'DoesNotExist'"
            yield validation.forbidden(f"{where}.values", why)
        elif operator in _ORDER and len(values) != 1:
            why = "must be specified single value when `operator` is 'Lt' or 'Gt'"
            yield validation.required(f"{where}.values", why)
        elif operator not in (*_MEMBERS, *_PRESENCE, *_ORDER):
            yield validation.invalid(f"{where}.operator", operator, _NO_OPERATOR)
        yield from validation.checked(f"{where}.key", key, validation.qualified_name)
        for place, value in enumerate(values if strict else ()):
            yield from validation.checked(f"{where}.values[{place}]", value, validation.label_value)
    for index, one in enumerate(term.get("matchFields") or ()):
        yield from _node_field(one, f"{path}.matchFields[{index}]")


def _node_field(one: Mapping[str, Any], path: str) -> Iterator[FieldProblem]:
    key, operator, values = one.get("key") or "", one.get("operator") or "", one.get("values") or ()
    if operator not in _MEMBERS:
        yield validation.invalid(f"{path}.operator", operator, _NO_OPERATOR)
    elif len(values) != 1:
        why = "must be only one value when `operator` is 'In' or 'NotIn' for node field selector"
        yield validation.required(f"{path}.values", why)
    if key != "metadata.name":
        yield validation.invalid(f"{path}.key", key, "not a valid field selector key")
        return
    for index, value in enumerate(values):
        yield from validation.checked(f"{path}.values[{index}]", value, validation.subdomain)


def _pod_term(term: Mapping[str, Any], path: str) -> Iterator[FieldProblem]:
    for field in ("labelSelector", "namespaceSelector"):
        if term.get(field) is not None:
            yield from validation.selector(f"{path}.{field}", term[field])
    for name in term.get("namespaces") or ():
        # The original names neither the field as it is called nor an index here.
        yield from validation.checked(f"{path}.namespace", name, validation.label)
    matching, differing = term.get("matchLabelKeys") or (), term.get("mismatchLabelKeys") or ()
    for field in ("matchLabelKeys", "mismatchLabelKeys"):
        yield from _label_keys(term, f"{path}.{field}")
    # A pod's keys are among its selector's expressions already: they must not have been there before.
    before = {*(dig(term, "labelSelector", "matchLabels") or ())}
    for one in dig(term, "labelSelector", "matchExpressions") or ():
        key = one.get("key") or ""
        if key in before and key in matching:
            yield validation.invalid(f"{path}[{matching.index(key)}]", key, _SELECTED_TOO)
        before.add(key)
    for index, key in enumerate(matching):
        if key in differing:
            why = "exists in both matchLabelKeys and mismatchLabelKeys"
            yield validation.invalid(f"{path}.matchLabelKeys[{index}]", key, why)
    key = term.get("topologyKey") or ""
    if not key:
        yield validation.required(f"{path}.topologyKey", "can not be empty")
    yield from validation.checked(f"{path}.topologyKey", key, validation.qualified_name)


def _label_keys(holder: Mapping[str, Any], path: str, selected: Collection[str] = ()) -> Iterator[FieldProblem]:
    """The last field of ``path`` names labels of the pod's own; ``selected``: those that it must not name."""
    keys = holder.get(path.rpartition(".")[2]) or ()
    if keys and holder.get("labelSelector") is None:
        yield validation.forbidden(path, "must not be specified when labelSelector is not set")
        return
    for index, key in enumerate(keys):
        yield from validation.checked(f"{path}[{index}]", key, validation.qualified_name)
        if key in selected:
            yield validation.invalid(f"{path}[{index}]", key, _SELECTED_TOO)


def _selected(selector: Mapping[str, Any]) -> Iterator[str]:
    """The keys of labels that a selector looks at."""
    yield from selector.get("matchLabels") or ()
    yield from (one.get("key") or "" for one in selector.get("matchExpressions") or ())
