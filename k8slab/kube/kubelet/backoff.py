"""Waiting longer after each failure, forgiven after a long time without one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

INITIAL: Final = 10.0
LONGEST: Final = 300.0


@dataclass(frozen=True)
class _Entry:
    delay: float
    since: float


class BackOff:
    """Per key: the first failure waits ``initial`` seconds, each further one twice as long, up to ``longest``.

    A key without a failure for twice ``longest`` starts anew. Times are seconds of any one clock.
    """

    def __init__(self, *, initial: float = INITIAL, longest: float = LONGEST) -> None:
        self._initial = initial
        self._longest = longest
        self._entries: dict[str, _Entry] = {}

    def failed(self, key: str, now: float) -> float:
        """Count one more failure; returns the delay that now applies."""
        entry = self._entries.get(key)
        if entry is None or now - entry.since > 2 * self._longest:
            delay = self._initial
        else:
            delay = min(entry.delay * 2, self._longest)
        self._entries[key] = _Entry(delay, now)
        return delay

    def remaining(self, key: str, since: float, now: float) -> float:
        """Seconds still to wait after something that happened at ``since``; 0 when the way is free."""
        entry = self._entries.get(key)
        if entry is None or since - entry.since > 2 * self._longest:
            return 0.0
        return max(0.0, since + entry.delay - now)

    def delay(self, key: str) -> float:
        entry = self._entries.get(key)
        return 0.0 if entry is None else entry.delay

    def forget(self, key: str) -> None:
        self._entries.pop(key, None)
