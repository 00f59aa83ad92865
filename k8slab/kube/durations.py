"""Durations as flags and sentences write them: "20m0s", "1.5h", "40s"."""

from __future__ import annotations

import math
import re
from typing import Final

_UNITS: Final = {"ns": 1e-9, "us": 1e-6, "\u00b5s": 1e-6, "\u03bcs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}
_NUMBER: Final = r"([0-9]+\.?[0-9]*|\.[0-9]+)"
_PART: Final = re.compile(_NUMBER + f"({'|'.join(_UNITS)})")
_PLAIN: Final = re.compile(_NUMBER)


def duration(text: str) -> float:
    """Seconds; a plain number counts as seconds. Raises ValueError for what is none, endless or negative."""
    parts = _PART.findall(text)
    found = math.inf
    if parts and "".join(number + unit for number, unit in parts) == text:
        found = sum(float(number) * _UNITS[unit] for number, unit in parts)
    elif _PLAIN.fullmatch(text):
        found = float(text)
    if found == math.inf:
        raise ValueError(f"{text!r} is not a duration such as 40s or 5m")
    return found


def flag_seconds(flag: str, text: str, *, some: bool = False) -> float:
    """The duration that a flag gives; ``some``: more than none. Raises ValueError with one line."""
    try:
        found = duration(text)
    except ValueError as error:
        raise ValueError(f"{flag}: {error}") from None
    if some and not found:
        raise ValueError(f"{flag}: {text!r} is no time at all; it must be greater than 0")
    return found


def spelled(seconds: float) -> str:
    """As sentences have it: "10s", "1m20s", "5m0s"; whole seconds."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return (f"{hours}h" if hours else "") + (f"{minutes}m" if hours or minutes else "") + f"{rest}s"
