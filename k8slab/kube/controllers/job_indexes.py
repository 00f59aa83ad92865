"""The indexes of a job's pods, and sets of them as a job's status writes them: "0-2,5"."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

from k8slab.kube.api.meta import is_number

COMPLETION_INDEX: Final = "batch.kubernetes.io/job-completion-index"
# How often an index has failed is written onto the pod that tries it next, where the limit is one of each index.
INDEX_FAILURES: Final = "batch.kubernetes.io/job-index-failure-count"
NONE: Final = -1


def index_of(pod: Mapping[str, Any]) -> int:
    """NONE for a pod that does not say which it is."""
    text = (pod["metadata"].get("annotations") or {}).get(COMPLETION_INDEX) or ""
    return int(text) if is_number(text) else NONE


def failures_before(pod: Mapping[str, Any]) -> int:
    """How often its index had failed when the pod was made."""
    text = (pod["metadata"].get("annotations") or {}).get(INDEX_FAILURES) or ""
    return int(text) if is_number(text) else 0


def runs(text: str, end: int) -> list[range]:
    """Read the form "0-2,5", up to the index before ``end``; what is not of this form is left out.

    Whoever writes it may write more than there is room for, so that it is for the reader to count them out, or not.
    """
    found = []
    for part in text.split(","):
        first, _, last = part.partition("-")
        if is_number(first) and (is_number(last) or not last):
            found.append(range(int(first), min(int(last or first) + 1, end)))
    return found


def indexes(text: str, end: int) -> set[int]:
    """The same, counted out."""
    return {index for run in runs(text, end) for index in run}


def written(numbers: Iterable[int]) -> str:
    """The shortest form: "0-2,5"; two neighbours are written "3,4"."""
    found: list[list[int]] = []
    for number in sorted(numbers):
        if found and number == found[-1][-1] + 1:
            found[-1].append(number)
        else:
            found.append([number])
    parts = [f"{run[0]}-{run[-1]}" if len(run) > 2 else ",".join(map(str, run)) for run in found]
    return ",".join(parts)


def success_rule(policy: Mapping[str, Any], done: set[int], completions: int) -> int | None:
    """The place of the first rule by which enough indexes are done."""
    for place, rule in enumerate(policy.get("rules") or ()):
        text = rule.get("succeededIndexes")
        named = [range(completions)] if text is None else runs(text, completions)
        count = rule.get("succeededCount")
        enough = sum(map(len, named)) if count is None else count
        if sum(1 for index in done if any(index in run for run in named)) >= enough:
            return place
    return None
