"""The indexes of a job's pods, and sets of them as a job's status writes them: "0-2,5"."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

COMPLETION_INDEX: Final = "batch.kubernetes.io/job-completion-index"
# How often an index has failed is written onto the pod that tries it next, where the limit is one of each index.
INDEX_FAILURES: Final = "batch.kubernetes.io/job-index-failure-count"
NONE: Final = -1


def index_of(pod: Mapping[str, Any]) -> int:
    """NONE for a pod that does not say which it is."""
    text = (pod["metadata"].get("annotations") or {}).get(COMPLETION_INDEX) or ""
    return int(text) if text.isdigit() else NONE


def failures_before(pod: Mapping[str, Any]) -> int:
    """How often its index had failed when the pod was made."""
    text = (pod["metadata"].get("annotations") or {}).get(INDEX_FAILURES) or ""
    return int(text) if text.isdigit() else 0


def indexes(text: str) -> set[int]:
    """Read the form "0-2,5"; what is not of this form is left out."""
    found: set[int] = set()
    for part in text.split(","):
        first, _, last = part.partition("-")
        if first.isdigit() and (last.isdigit() or not last):
            found.update(range(int(first), int(last or first) + 1))
    return found


def written(numbers: Iterable[int]) -> str:
    """The shortest form: "0-2,5"; two neighbours are written "3,4"."""
    runs: list[list[int]] = []
    for number in sorted(numbers):
        if runs and number == runs[-1][-1] + 1:
            runs[-1].append(number)
        else:
            runs.append([number])
    parts = [f"{run[0]}-{run[-1]}" if len(run) > 2 else ",".join(map(str, run)) for run in runs]
    return ",".join(parts)


def success_rule(policy: Mapping[str, Any], done: set[int]) -> int | None:
    """The place of the first rule by which enough indexes are done."""
    for place, rule in enumerate(policy.get("rules") or ()):
        named = indexes(rule["succeededIndexes"]) if rule.get("succeededIndexes") is not None else None
        enough = rule["succeededCount"] if rule.get("succeededCount") is not None else len(named or ())
        if len(done if named is None else done & named) >= enough:
            return place
    return None
