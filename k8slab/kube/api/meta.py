"""Names, uids, times and quantities of objects."""

from __future__ import annotations

import random
import re
import time
import uuid
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, Final

import orjson

from k8slab.kube.quantity import bounded

Object = dict[str, Any]

SUFFIX_ALPHABET: Final = "bcdfghjklmnpqrstvwxz2456789"
LONGEST_BASE: Final = 58

_DIGITS: Final = re.compile(r"[0-9]{1,18}\Z")
_QUANTITY: Final = re.compile(r"^([+-]?[0-9.]++)([eEinumkKMGTP]*+[-+]?[0-9]*)\Z")
_FACTORS: Final = {
    "": Decimal(1),
    "n": Decimal("1e-9"),
    "u": Decimal("1e-6"),
    "m": Decimal("1e-3"),
    "k": Decimal("1e3"),
    "M": Decimal("1e6"),
    "G": Decimal("1e9"),
    "T": Decimal("1e12"),
    "P": Decimal("1e15"),
    "E": Decimal("1e18"),
    **{prefix + "i": Decimal(2) ** (10 * power) for power, prefix in enumerate("KMGTPE", start=1)},
}
# Levels of what is written around an object: lists, tables, events of watches.
SPARE: Final = 50
# Of the year 9999.
LAST_SECOND: Final = 253_402_300_799


def generated_name(base: str) -> str:
    return base[:LONGEST_BASE] + "".join(random.choices(SUFFIX_ALPHABET, k=5))


def new_uid() -> str:
    return str(uuid.UUID(int=random.getrandbits(128), version=4))


def now() -> str:
    """This second as objects carry it: "2026-11-20T13:40:00Z"."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())


def later(seconds: int) -> str:
    """That many seconds from now, but within the years that can be written down."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(min(time.time() + seconds, LAST_SECOND)))


def parse_time(text: str) -> float | None:
    """Seconds since the epoch of an RFC 3339 time; None when it is none."""
    try:
        moment = datetime.fromisoformat(text)
    except (TypeError, ValueError):
        return None
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


def age(text: str | None) -> str:
    """How long ago, as kubectl words it."""
    then = parse_time(text) if text else None
    return "<unknown>" if then is None else duration(time.time() - then)


def duration(seconds: float) -> str:
    """ "66s", "5m25s", "12m", "3h5m", "27h", "2d3h", "30d", "2y60d": two units while the first is small."""
    whole = int(seconds)
    if whole < -1:
        return "<invalid>"
    if whole < 120:
        return f"{max(whole, 0)}s"
    minutes, hours, days = whole // 60, whole // 3600, whole // 86400
    if minutes < 10:
        return _two(minutes, "m", whole % 60, "s")
    if minutes < 180:
        return f"{minutes}m"
    if hours < 8:
        return _two(hours, "h", minutes % 60, "m")
    if hours < 48:
        return f"{hours}h"
    if hours < 192:
        return _two(days, "d", hours % 24, "h")
    if days < 730:
        return f"{days}d"
    years = days // 365
    return _two(years, "y", days % 365, "d") if years < 8 else f"{years}y"


def _two(first: int, unit: str, second: int, smaller: str) -> str:
    return f"{first}{unit}{second}{smaller}" if second else f"{first}{unit}"


def parse_quantity(value: Any) -> Decimal | None:
    """A resource quantity ("100m", "1.5Gi", 2) as a number, bounded to 64 bits; None when it is none."""
    if isinstance(value, bool):
        return None
    if isinstance(value, int | float):
        exact = Decimal(str(value))
        return bounded(exact, Decimal(1)) if exact.is_finite() else None
    match = _QUANTITY.match(value) if isinstance(value, str) else None
    if match is None:
        return None
    number, suffix = match.groups()
    if suffix not in _FACTORS:
        if suffix[:1] not in ("e", "E") or not suffix[1:].lstrip("+-").isdigit():
            return None
        number, suffix = number + suffix, ""
    try:
        return bounded(Decimal(number), _FACTORS[suffix])
    except ArithmeticError:
        return None


def is_too_deep(value: Any, raw: bytes) -> bool:
    """Whether a value, which is ``raw`` as JSON, is nested so deep that no answer with it inside could be written."""
    if raw.count(b"{") + raw.count(b"[") <= SPARE:
        return False
    for _ in range(SPARE):
        value = [value]
    try:
        orjson.dumps(value)
    except TypeError:
        return True
    return False


def is_number(text: Any) -> bool:
    """Whether it is a whole number in plain digits that 64 bits can hold: a version, an index."""
    return isinstance(text, str) and _DIGITS.match(text) is not None


def dig(obj: Any, *path: str) -> Any:
    """The value at a path of keys, None where it ends early."""
    for key in path:
        if not isinstance(obj, dict):
            return None
        obj = obj.get(key)
    return obj
