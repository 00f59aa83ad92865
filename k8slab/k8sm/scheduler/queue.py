"""Pods that wait for a place, first come first served.

Every round tries them all, so that an offer that fits is taken at once. The back-off per pod, from one second to a
minute, paces what is costly about not finding one: asking Mesos for offers anew, and saying why.
"""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

FIRST_DELAY: Final = 1.0
LONGEST_DELAY: Final = 60.0

Pod = Mapping[str, Any]


@dataclass(frozen=True)
class Entry:
    """``since``, ``due``: seconds of the loop's clock; ``reason``: why it found no place the last time."""

    pod: Pod
    since: float
    due: float
    attempts: int = 0
    reason: str = ""


class PodQueue:
    def __init__(self, *, first: float = FIRST_DELAY, longest: float = LONGEST_DELAY) -> None:
        self._first = first
        self._longest = longest
        self._entries: dict[str, Entry] = {}

    def __len__(self) -> int:
        return len(self._entries)

    def __contains__(self, uid: str) -> bool:
        return uid in self._entries

    @property
    def entries(self) -> list[Entry]:
        return list(self._entries.values())

    def pods(self) -> list[Pod]:
        return [entry.pod for entry in self._entries.values()]

    def put(self, pod: Pod, now: float) -> bool:
        """Add a pod, or take over its newer form; whether it is new here."""
        uid = pod["metadata"]["uid"]
        known = self._entries.get(uid)
        if known is not None:
            self._entries[uid] = replace(known, pod=pod)
            return False
        # The first complaint waits a moment: offers asked for now are still on their way.
        self._entries[uid] = Entry(pod, since=now, due=now + self._first)
        return True

    def remove(self, uid: str) -> None:
        self._entries.pop(uid, None)

    def failed(self, uid: str, reason: str, now: float) -> Entry | None:
        """Note why a pod found no place. Returns its entry when the time for a complaint has come, else None."""
        entry = self._entries.get(uid)
        if entry is None:
            return None
        if now < entry.due:
            self._entries[uid] = replace(entry, reason=reason)
            return None
        delay = min(self._first * 2**entry.attempts, self._longest) * random.uniform(0.9, 1.1)
        self._entries[uid] = replace(entry, reason=reason, attempts=entry.attempts + 1, due=now + delay)
        return self._entries[uid]

    def next_due(self) -> float | None:
        return min((entry.due for entry in self._entries.values()), default=None)
