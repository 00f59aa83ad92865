"""Mesos' text forms of a time span, ``10secs``, ``1.5mins``, ``250ms``, and of a size, ``2GB``."""

from __future__ import annotations

import math
import re

SECONDS = {
    "ns": 1e-9,
    "us": 1e-6,
    "ms": 1e-3,
    "secs": 1.0,
    "mins": 60.0,
    "hrs": 3600.0,
    "days": 86400.0,
    "weeks": 604800.0,
}
_FORM = re.compile(r"([0-9]+(?:\.[0-9]+)?)(ns|us|ms|secs|mins|hrs|days|weeks)")


def parse_duration(text: str) -> float:
    """Seconds. Raises ValueError with a sentence that names the accepted units."""
    found = _FORM.fullmatch(text.strip())
    seconds = float(found[1]) * SECONDS[found[2]] if found else math.inf
    if seconds == math.inf:
        raise ValueError(f"not a duration: {text!r} (a number and one of {', '.join(SECONDS)})")
    return seconds


def format_duration(seconds: float) -> str:
    """The largest unit that needs no fraction, as the originals print it: 900 s is ``15mins``."""
    for unit in ("weeks", "days", "hrs", "mins", "secs", "ms", "us"):
        count = seconds / SECONDS[unit]
        if count >= 1 and abs(count - round(count)) < 1e-9:
            return f"{round(count)}{unit}"
    return f"{round(seconds * 1e9)}ns"


BYTES = {"B": 1, "KB": 1 << 10, "MB": 1 << 20, "GB": 1 << 30, "TB": 1 << 40}
_SIZE = re.compile(r"(\d+)([KMGT]?B)")


def parse_bytes(text: str) -> int:
    """Raises ValueError with a sentence that names the accepted units."""
    found = _SIZE.fullmatch(text.strip())
    if found is None:
        raise ValueError(f"not a size: {text!r} (a number and one of {', '.join(BYTES)})")
    return int(found[1]) * BYTES[found[2]]
