"""What a job must be like, and a cron job's template of one, with the original's sentences."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Any, Final

from k8slab.kube.api import validation
from k8slab.kube.api.errors import FieldProblem
from k8slab.kube.api.kinds.template import template_problems
from k8slab.kube.api.meta import dig

ENDING: Final = ("OnFailure", "Never")
MODES: Final = ("Indexed", "NonIndexed")
_REPLACEMENTS: Final = ("Failed", "TerminatingOrFailed")
_ACTIONS: Final = ("Count", "FailIndex", "FailJob", "Ignore")
_OPERATORS: Final = ("In", "NotIn")
_CONDITIONS: Final = ("False", "True", "Unknown")
_MOST_INDEXES: Final = 100_000
_MOST_RULES: Final = 20
_MOST_CODES: Final = 255
_LONGEST_INDEXES: Final = 64 * 1024
_LONGEST_MANAGER: Final = 63
_INTEGER: Final = re.compile(r"[0-9]{1,18}\Z")
_COUNTS: Final = (
    *("parallelism", "completions", "activeDeadlineSeconds", "backoffLimit", "ttlSecondsAfterFinished"),
    *("backoffLimitPerIndex", "maxFailedIndexes"),
)


def job_spec_problems(spec: Mapping[str, Any], path: str) -> list[FieldProblem]:
    found = [one for field in _COUNTS for one in validation.not_negative(f"{path}.{field}", spec.get(field))]
    if spec.get("maxFailedIndexes") is not None and spec.get("backoffLimitPerIndex") is None:
        found.append(validation.required(f"{path}.backoffLimitPerIndex", "when maxFailedIndexes is specified"))
    if (manager := spec.get("managedBy")) is not None:
        found += validation.domain_path(f"{path}.managedBy", manager)
        if len(manager) > _LONGEST_MANAGER:
            found.append(validation.too_long(f"{path}.managedBy", _LONGEST_MANAGER))
    mode = spec.get("completionMode")
    if mode is not None:
        found += validation.one_of(f"{path}.completionMode", mode, MODES)
    found += _indexed(spec, path) if mode == "Indexed" else _not_indexed(spec, path)
    policy, replacement = spec.get("podFailurePolicy"), spec.get("podReplacementPolicy")
    if policy is not None:
        names = [
            one.get("name")
            for field in ("containers", "initContainers")
            for one in dig(spec, "template", "spec", field) or ()
        ]
        rules, where = policy.get("rules") or (), f"{path}.podFailurePolicy.rules"
        per_index = spec.get("backoffLimitPerIndex") is not None
        found += validation.too_many(where, rules, _MOST_RULES)
        for index, rule in enumerate(rules):
            found += _failure_rule(rule, f"{where}[{index}]", names, per_index=per_index)
    if replacement is not None:
        known = _REPLACEMENTS if policy is None else ("Failed",)
        found += validation.one_of(f"{path}.podReplacementPolicy", replacement, known)
    found += template_problems(spec.get("template"), f"{path}.template", restart=ENDING)
    restart = dig(spec, "template", "spec", "restartPolicy")
    if policy is not None and restart != "Never":
        why = 'only "Never" is supported when podFailurePolicy is specified'
        found.append(validation.invalid(f"{path}.template.spec.restartPolicy", restart, why))
    return found


def _indexed(spec: Mapping[str, Any], path: str) -> Iterator[FieldProblem]:
    completions, failing = spec.get("completions"), spec.get("maxFailedIndexes")
    if completions is None:
        yield validation.required(f"{path}.completions", "when completion mode is Indexed")
        return
    if (spec.get("parallelism") or 0) > _MOST_INDEXES:
        why = f"must be less than or equal to {_MOST_INDEXES} when completion mode is Indexed"
        yield validation.invalid(f"{path}.parallelism", spec["parallelism"], why)
    if failing is not None and failing > completions:
        yield validation.invalid(f"{path}.maxFailedIndexes", failing, "must be less than or equal to completions")
    if (policy := spec.get("successPolicy")) is not None:
        rules, where = policy.get("rules") or (), f"{path}.successPolicy.rules"
        if not rules:
            yield validation.required(where, "at least one rules must be specified when the successPolicy is specified")
        yield from validation.too_many(where, rules, _MOST_RULES)
        for index, rule in enumerate(rules):
            yield from _success_rule(rule, f"{where}[{index}]", completions)


def _not_indexed(spec: Mapping[str, Any], path: str) -> Iterator[FieldProblem]:
    for field in ("backoffLimitPerIndex", "maxFailedIndexes", "successPolicy"):
        if (value := spec.get(field)) is not None:
            shown = validation.Literal("batch.SuccessPolicy{…}") if field == "successPolicy" else value
            yield validation.invalid(f"{path}.{field}", shown, "requires indexed completion mode")


def _failure_rule(
    rule: Mapping[str, Any], path: str, names: Collection[Any], *, per_index: bool
) -> Iterator[FieldProblem]:
    """``names``: the template's containers; ``per_index``: whether each index has a limit of its own."""
    if rule.get("action") == "FailIndex":
        if not per_index:
            why = "requires the backoffLimitPerIndex to be set"
            yield validation.invalid(f"{path}.action", "FailIndex", why)
    else:
        yield from _chosen(rule, f"{path}.action", _ACTIONS)
    codes, conditions = rule.get("onExitCodes"), rule.get("onPodConditions") or ()
    if codes is not None:
        yield from _exit_codes(codes, f"{path}.onExitCodes", names)
    yield from validation.too_many(f"{path}.onPodConditions", conditions, _MOST_RULES)
    for index, pattern in enumerate(conditions):
        where, kind = f"{path}.onPodConditions[{index}]", pattern.get("type") or ""
        yield from validation.checked(f"{where}.type", kind, validation.qualified_name)
        yield from _chosen(pattern, f"{where}.status", _CONDITIONS)
    if codes is not None and conditions:
        yield _ruled_out(path, "specifying both OnExitCodes and OnPodConditions is not supported")
    if codes is None and not conditions:
        yield _ruled_out(path, "specifying one of OnExitCodes and OnPodConditions is required")


def _exit_codes(codes: Mapping[str, Any], path: str, names: Collection[Any]) -> Iterator[FieldProblem]:
    yield from _chosen(codes, f"{path}.operator", _OPERATORS)
    name = codes.get("containerName")
    if name is not None and name not in names:
        why = "must be one of the container or initContainer names in the pod template"
        yield validation.invalid(f"{path}.containerName", name, why)
    values, where = codes.get("values") or [], f"{path}.values"
    shown = validation.Literal(f"[]int32{{{', '.join(map(str, values))}}}")
    if not values:
        yield validation.invalid(where, shown, "at least one value is required")
    yield from validation.too_many(where, values, _MOST_CODES)
    seen: set[int] = set()
    for index, value in enumerate(values):
        if codes.get("operator") == "In" and value == 0:
            yield validation.invalid(f"{where}[{index}]", value, "must not be 0 for the In operator")
        if value in seen:
            yield validation.duplicate(f"{where}[{index}]", value)
        seen.add(value)
    if any(first > second for first, second in pairwise(values)):
        yield validation.invalid(where, shown, "must be ordered")


def _success_rule(rule: Mapping[str, Any], path: str, completions: int) -> Iterator[FieldProblem]:
    count, text = rule.get("succeededCount"), rule.get("succeededIndexes")
    if count is None and text is None:
        yield validation.required(path, "at least one of succeededCount or succeededIndexes must be specified")
    named = 0
    if text is not None:
        where = f"{path}.succeededIndexes"
        if len(text) > _LONGEST_INDEXES:
            yield validation.too_long(where, _LONGEST_INDEXES)
        try:
            named = counted_indexes(text, completions)
        except ValueError as wrong:
            yield validation.invalid(where, text, f"error parsing succeededIndexes: {wrong}")
    if count is None:
        return
    where, bound = f"{path}.succeededCount", "must be less than or equal to"
    yield from validation.not_negative(where, count)
    if count > completions:
        yield validation.invalid(where, count, f"{bound} {completions} (the number of specified completions)")
    if text is not None and count > named:
        why = f"{bound} {named} (the number of indexes in the specified succeededIndexes field)"
        yield validation.invalid(where, count, why)


def counted_indexes(text: str, completions: int) -> int:
    """How many indexes the form "0-2,5" names, all below ``completions``; ValueError says what is wrong with it."""
    total, last = 0, -1
    for part in text.split(",") if text else ():
        ends = part.split("-")
        if len(ends) > 2:
            why = "violates the requirement that an index interval can have at most two parts separated by '-'"
            raise ValueError(f'the fragment "{part}" {why}')
        numbers = [_index(end, completions) for end in ends]
        for number in numbers:
            if number <= last:
                raise ValueError(f"non-increasing order, previous: {last}, current: {number}")
            last = number
        total += numbers[-1] - numbers[0] + 1
    return total


def _index(text: str, completions: int) -> int:
    if not _INTEGER.match(text):
        raise ValueError(f'cannot convert string to integer for index: "{text}"')
    if int(text) >= completions:
        raise ValueError(f'too large index: "{text}"')
    return int(text)


def _chosen(holder: Mapping[str, Any], path: str, known: Sequence[str]) -> list[FieldProblem]:
    """The last field of ``path`` must be there and be one of those known."""
    if value := holder.get(path.rpartition(".")[2]):
        return validation.one_of(path, value, known)
    listed = " ".join(f'"{one}"' for one in known)
    return [validation.required(path, f"valid values: [{listed}]")]


def _ruled_out(path: str, why: str) -> FieldProblem:
    """An invalid value that is not shown."""
    return FieldProblem(path, "FieldValueInvalid", f"Invalid value: {why}")
