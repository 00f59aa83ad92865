"""When a cron job is due: five fields, a word for them such as @daily, or @every 90m."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import takewhile
from typing import Final
from zoneinfo import ZoneInfo

from cronsim import CronSim, CronSimError

from k8slab.kube.durations import duration

WORDS: Final = {
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
    "@monthly": "0 0 1 * *",
    "@weekly": "0 0 * * 0",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@hourly": "0 * * * *",
}
EVERY: Final = "@every "
# As many missed moments are looked at: more of them are a clock that was wrong, or a lab that slept for long.
MOST_MISSED: Final = 100


class UnknownZone(ValueError):
    """There is no time zone of this name."""


@dataclass(frozen=True)
class Missed:
    """The last moment at which the job was due, and how many there were: no more than MOST_MISSED + 1 are counted."""

    last: datetime | None
    count: int


class Schedule:
    """``zone``: the name of a time zone, UTC when empty. Raises ValueError for what cannot be understood."""

    def __init__(self, text: str, zone: str = "") -> None:
        try:
            self._zone = ZoneInfo(zone) if zone else UTC
        except (ValueError, OSError, KeyError):
            raise UnknownZone(f"unknown time zone {zone}") from None
        self._every = timedelta(0)
        if text.startswith(EVERY):
            # Never more often than each second, as everywhere.
            self._every = timedelta(seconds=max(int(duration(text.removeprefix(EVERY).strip())), 1))
            return
        self._fields = WORDS.get(text, text).replace("?", "*")
        try:
            CronSim(self._fields, datetime.now(UTC))
        except CronSimError as trouble:
            raise ValueError(f"{text}: {trouble}") from None

    def upcoming(self, since: datetime, now: datetime) -> datetime | None:
        """The first moment after ``now``, None when there is none; @every is counted from ``since``."""
        if self._every:
            since = since.replace(microsecond=0)
            return since + (max((now - since) // self._every, 0) + 1) * self._every
        return next(CronSim(self._fields, now.astimezone(self._zone)), None)

    def missed(self, since: datetime, until: datetime) -> Missed:
        """Of the moments after ``since`` and not after ``until``."""
        if self._every:
            since = since.replace(microsecond=0)
            count = (until - since) // self._every
            return Missed(since + count * self._every if count > 0 else None, max(count, 0))
        last, count = None, 0
        for moment in takewhile(lambda moment: moment > since, self._backwards(until)):
            last, count = last or moment, count + 1
            if count > MOST_MISSED:
                break
        return Missed(last, count)

    def _backwards(self, moment: datetime) -> Iterator[datetime]:
        # With a fraction of a second it begins at the moment itself.
        fraction = max(moment.microsecond, 1)
        return CronSim(self._fields, moment.astimezone(self._zone).replace(microsecond=fraction), reverse=True)
