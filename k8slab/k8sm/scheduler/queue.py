"""Pods that wait for a place: the most important ones first, else first come first served.

Every round tries them all, so that an offer that fits is taken at once. The back-off per pod, from one second to a
minute, paces what is costly about not finding one: asking Mesos for offers anew, and saying why. A pod whose launches
fail one after the other is itself held back for as long.
"""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

FIRST_DELAY: Final = 1.0
LONGEST_DELAY: Final = 60.0
# Offers that are asked for when a pod comes, or when a master is found, are still on their way for this long.
OFFERS_ON_THEIR_WAY: Final = 2.0
# Who may yet be offered a place, for others are all the time, hears after so long at the latest why it waits.
LONGEST_HOPE: Final = 30.0

Pod = Mapping[str, Any]


@dataclass(frozen=True)
class Entry:
    """``version``: the pod's resource version when it came; ``since``, ``due``, ``not_before``: seconds of the loop's
    clock; ``reason``: why it found no place last time."""

    pod: Pod
    version: int
    since: float
    due: float
    not_before: float
    attempts: int = 0
    reason: str = ""


def _turn(entry: Entry) -> tuple[int, str, int]:
    # Times are whole seconds: of one second, the version says who was written first.
    pod = entry.pod
    return -int(pod["spec"].get("priority") or 0), pod["metadata"].get("creationTimestamp") or "", entry.version


class PodQueue:
    def __init__(self, *, first: float = FIRST_DELAY, longest: float = LONGEST_DELAY) -> None:
        self._first = first
        self._longest = longest
        self._entries: dict[str, Entry] = {}
        self._failed_launches: dict[str, int] = {}

    def __len__(self) -> int:
        return len(self._entries)

    def __contains__(self, uid: str) -> bool:
        return uid in self._entries

    @property
    def entries(self) -> list[Entry]:
        return list(self._entries.values())

    def pods(self, now: float) -> list[Pod]:
        """Those that may be launched now, by priority, and of one priority in the order in which they were created.

        A scheduler that was away hears of all that waited at once, in any order.
        """
        free = [entry for entry in self._entries.values() if entry.not_before <= now]
        return [entry.pod for entry in sorted(free, key=_turn)]

    def put(self, pod: Pod, now: float) -> bool:
        """Add a pod, or take over its newer form; whether it is new here, or asks for something else than before."""
        uid = pod["metadata"]["uid"]
        known = self._entries.get(uid)
        if known is not None:
            self._entries[uid] = replace(known, pod=pod)
            return bool(known.pod["spec"] != pod["spec"])
        failures = self._failed_launches.get(uid, 0)
        held = min(self._first * 2 ** (failures - 2), self._longest) if failures > 1 else 0.0
        version = int(pod["metadata"].get("resourceVersion") or 0)
        due = now + held + OFFERS_ON_THEIR_WAY
        self._entries[uid] = Entry(pod, version, since=now, due=due, not_before=now + held)
        return True

    def launch_failed(self, uid: str) -> None:
        """Its task ended before it ran: the first time it may try again at once, then ever later."""
        self._failed_launches[uid] = self._failed_launches.get(uid, 0) + 1

    def launched(self, uid: str) -> None:
        """It runs, or is gone: what failed before is forgiven."""
        self._failed_launches.pop(uid, None)

    def expect_offers(self, now: float) -> None:
        """No complaints before the offers that were asked for now had time to come."""
        for uid, entry in self._entries.items():
            self._entries[uid] = replace(entry, due=max(entry.due, now + OFFERS_ON_THEIR_WAY))

    def put_off(self, uid: str, now: float) -> bool:
        """No complaint of this pod yet, if it is time for one: others are finding places, and it may with the offers
        that come. Whether it was put off."""
        entry = self._entries.get(uid)
        if entry is None or now < entry.due or now >= entry.since + LONGEST_HOPE:
            return False
        self._entries[uid] = replace(entry, due=min(now + OFFERS_ON_THEIR_WAY, entry.since + LONGEST_HOPE))
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

    def any_released(self, since: float, now: float) -> bool:
        """Whether a pod's being held back ended after ``since``."""
        return any(since < entry.not_before <= now for entry in self._entries.values())

    def any_due(self, now: float) -> bool:
        """Whether a pod is to hear why it waits."""
        return any(entry.due <= now for entry in self._entries.values())

    def next_due(self, since: float) -> float | None:
        """When the next thing after ``since`` is due about a pod: a complaint, or the end of its being held back."""
        times = (at for entry in self._entries.values() for at in (entry.due, entry.not_before))
        return min((at for at in times if at > since), default=None)
