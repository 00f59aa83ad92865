"""What an agent has and tasks take: amounts, number ranges and sets, each unreserved or reserved for a role.

Amounts are kept in thousandths, as Mesos does: 0.1 + 0.2 is 0.3 however often it is offered and returned.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from k8slab.mesos.reservations import (
    UNRESERVED,
    Holder,
    holder_of,
    is_dynamic,
    is_refined,
    may_use,
    reservation_json,
    role_of,
    without_last,
)

MILLI = 1000
ALWAYS_SHOWN = ("cpus", "gpus", "mem", "disk")

Key = tuple[str, Holder]
Spans = tuple[tuple[int, int], ...]

_ITEM = re.compile(r"\s*([A-Za-z0-9_.\-]+)\s*(?:\(([^)]*)\))?\s*:\s*(.+?)\s*", re.DOTALL)
_RANGE = re.compile(r"\s*(\d+)\s*-\s*(\d+)\s*")


@dataclass(frozen=True)
class Resources:
    """An immutable bundle. Keys are (name, holder); empty amounts are never kept, so equality is plain equality."""

    scalars: Mapping[Key, int] = field(default_factory=dict)
    ranges: Mapping[Key, Spans] = field(default_factory=dict)
    sets: Mapping[Key, frozenset[str]] = field(default_factory=dict)

    @classmethod
    def parse(cls, text: str) -> Resources:
        """From a flag: ``cpus:4;mem:1024;ports:[31000-32000];zones(role):{a,b}`` or a JSON array. Raises ValueError."""
        if text.lstrip().startswith("["):
            return cls._parse_json(text)
        total = NONE
        for item in filter(str.strip, text.split(";")):
            found = _ITEM.fullmatch(item)
            if found is None:
                raise ValueError(f"not a resource: {item!r} (expected name:value or name(role):value)")
            name, role, value = found[1], found[2] or UNRESERVED, found[3]
            total += cls._parse_value((name, role), value)
        return total

    @classmethod
    def _parse_json(cls, text: str) -> Resources:
        import orjson

        from k8slab.mesos.messages import convert

        return cls.from_json([convert("Resource", item) for item in orjson.loads(text)])

    @classmethod
    def _parse_value(cls, key: Key, text: str) -> Resources:
        if text.startswith("[") and text.endswith("]"):
            return cls(ranges=_kept_spans(key, parse_ranges(text)))
        if text.startswith("{") and text.endswith("}"):
            items = frozenset(filter(None, (item.strip() for item in text[1:-1].split(","))))
            return cls(sets={key: items} if items else {})
        return cls(scalars=_kept(key, thousandths(float(text))))

    @classmethod
    def from_json(cls, resources: Iterable[Mapping[str, Any]]) -> Resources:
        """From v1 Resource objects; allocation info is not part of what they are. Raises ValueError."""
        scalars: dict[Key, int] = {}
        ranges: dict[Key, Spans] = {}
        sets: dict[Key, frozenset[str]] = {}
        for resource in resources:
            key = (resource["name"], holder_of(resource))
            match resource["type"]:
                case "SCALAR" if "scalar" in resource:
                    scalars[key] = scalars.get(key, 0) + thousandths(resource["scalar"]["value"])
                case "RANGES" if "ranges" in resource:
                    spans = [(span["begin"], span["end"]) for span in resource["ranges"].get("range", ())]
                    ranges[key] = join([*ranges.get(key, ()), *spans])
                case "SET" if "set" in resource:
                    sets[key] = sets.get(key, frozenset()) | frozenset(resource["set"].get("item", ()))
                case other:
                    raise ValueError(f"resource {key[0]} has type {other} but no such value")
        return cls(
            scalars={key: amount for key, amount in scalars.items() if amount},
            ranges={key: spans for key, spans in ranges.items() if spans},
            sets={key: items for key, items in sets.items() if items},
        )

    def to_json(self, *, refined: bool = False, allocation_role: str | None = None) -> list[dict[str, Any]]:
        """v1 Resource objects; ``refined`` names reservations as frameworks with RESERVATION_REFINEMENT know them.

        Reservations of what was reserved before have no other form: who knows only the old one is not offered them.
        """
        shapes: list[tuple[Key, dict[str, Any]]] = []
        for key, amount in self.scalars.items():
            shapes.append((key, {"type": "SCALAR", "scalar": {"value": amount / MILLI}}))
        for key, spans in self.ranges.items():
            shapes.append(
                (key, {"type": "RANGES", "ranges": {"range": [{"begin": low, "end": high} for low, high in spans]}})
            )
        for key, items in self.sets.items():
            shapes.append((key, {"type": "SET", "set": {"item": sorted(items)}}))
        resources = []
        for (name, holder), shape in shapes:
            resource: dict[str, Any] = {"name": name, **shape, **reservation_json(holder, refined=refined)}
            if allocation_role is not None:
                resource["allocation_info"] = {"role": allocation_role}
            resources.append(resource)
        return resources

    def __bool__(self) -> bool:
        return bool(self.scalars or self.ranges or self.sets)

    def __add__(self, other: Resources) -> Resources:
        if not other:
            return self
        scalars = dict(self.scalars)
        for key, amount in other.scalars.items():
            scalars[key] = scalars.get(key, 0) + amount
        ranges = dict(self.ranges)
        for key, spans in other.ranges.items():
            ranges[key] = join([*ranges.get(key, ()), *spans])
        sets = dict(self.sets)
        for key, items in other.sets.items():
            sets[key] = sets.get(key, frozenset()) | items
        return Resources({key: amount for key, amount in scalars.items() if amount}, ranges, sets)

    def __sub__(self, other: Resources) -> Resources:
        """What is left; taking away more than there is leaves nothing of it."""
        if not other:
            return self
        scalars = {key: max(0, amount - other.scalars.get(key, 0)) for key, amount in self.scalars.items()}
        ranges = {key: cut(spans, other.ranges.get(key, ())) for key, spans in self.ranges.items()}
        sets = {key: items - other.sets.get(key, frozenset()) for key, items in self.sets.items()}
        return Resources(
            {key: amount for key, amount in scalars.items() if amount},
            {key: spans for key, spans in ranges.items() if spans},
            {key: items for key, items in sets.items() if items},
        )

    def contains(self, other: Resources) -> bool:
        return (
            all(self.scalars.get(key, 0) >= amount for key, amount in other.scalars.items())
            and all(not cut(spans, self.ranges.get(key, ())) for key, spans in other.ranges.items())
            and all(items <= self.sets.get(key, frozenset()) for key, items in other.sets.items())
        )

    def for_role(self, role: str) -> Resources:
        """What a framework in ``role`` may use: the unreserved, and what is reserved for that role or one above it."""
        return self._where(lambda holder: may_use(role, holder))

    def reserved(self) -> dict[str, Resources]:
        """By role, what is reserved."""
        return {role: self._reserved_for(role) for role in sorted({*map(role_of, self.holders)} - {UNRESERVED})}

    def _reserved_for(self, role: str) -> Resources:
        return self._where(lambda holder: role_of(holder) == role)

    def unreserved(self) -> Resources:
        return self._where(lambda holder: holder == UNRESERVED)

    def dynamic(self) -> Resources:
        """What was reserved while the agent ran."""
        return self._where(is_dynamic)

    def without_refined(self) -> Resources:
        return self._where(lambda holder: not is_refined(holder))

    def popped(self) -> Resources:
        """The same amounts without their last reservation."""
        return self._held(without_last)

    def stripped(self) -> Resources:
        """The same amounts without any dynamic reservation."""
        result = self
        while dynamic := result.dynamic():
            result = result - dynamic + dynamic.popped()
        return result

    @cached_property
    def holders(self) -> set[Holder]:
        return {holder for _, holder in (*self.scalars, *self.ranges, *self.sets)}

    def _held(self, by: Callable[[Holder], Holder]) -> Resources:
        result = NONE
        for (name, holder), amount in self.scalars.items():
            result += Resources(scalars={(name, by(holder)): amount})
        for (name, holder), spans in self.ranges.items():
            result += Resources(ranges={(name, by(holder)): spans})
        for (name, holder), items in self.sets.items():
            result += Resources(sets={(name, by(holder)): items})
        return result

    def _where(self, wanted: Callable[[Holder], bool]) -> Resources:
        chosen = {holder for holder in self.holders if wanted(holder)}
        if len(chosen) == len(self.holders):
            return self
        return Resources(
            {key: amount for key, amount in self.scalars.items() if key[1] in chosen},
            {key: spans for key, spans in self.ranges.items() if key[1] in chosen},
            {key: items for key, items in self.sets.items() if key[1] in chosen},
        )

    def scalar(self, name: str) -> float:
        """The amount of ``name`` over all roles."""
        return sum(amount for (known, _), amount in self.scalars.items() if known == name) / MILLI

    def totals(self) -> dict[str, int]:
        """Thousandths by name, over all roles."""
        totals: dict[str, int] = {}
        for (name, _), amount in self.scalars.items():
            totals[name] = totals.get(name, 0) + amount
        return totals

    def summary(self) -> dict[str, Any]:
        """As ``/state`` shows it: cpus, gpus, mem and disk always; ranges and sets as text."""
        summary: dict[str, Any] = dict.fromkeys(ALWAYS_SHOWN, 0.0)
        summary.update({name: amount / MILLI for name, amount in self.totals().items()})
        spans: dict[str, list[tuple[int, int]]] = {}
        for (name, _), found in self.ranges.items():
            spans.setdefault(name, []).extend(found)
        summary.update({name: format_ranges(join(found)) for name, found in spans.items()})
        for (name, _), items in self.sets.items():
            summary[name] = "{" + ", ".join(sorted(items)) + "}"
        return summary

    def __str__(self) -> str:
        parts = [f"{_label(key)}:{amount / MILLI:g}" for key, amount in self.scalars.items()]
        parts += [f"{_label(key)}:{format_ranges(spans)}" for key, spans in self.ranges.items()]
        parts += [f"{_label(key)}:{{{', '.join(sorted(items))}}}" for key, items in self.sets.items()]
        return "; ".join(parts) or "{}"


NONE = Resources()


def total(parts: Iterable[Resources]) -> Resources:
    result = NONE
    for part in parts:
        result += part
    return result


def thousandths(amount: float) -> int:
    """Raises ValueError for an amount that cannot be one."""
    if not math.isfinite(amount * MILLI) or amount < 0:
        raise ValueError(f"not an amount: {amount}")
    return round(amount * MILLI)


def join(spans: Iterable[tuple[int, int]]) -> Spans:
    """Sorted, without overlaps and without neighbours. Raises ValueError for a span that ends before it begins."""
    joined: list[tuple[int, int]] = []
    for low, high in sorted(spans):
        if high < low:
            raise ValueError(f"not a range: {low}-{high}")
        if joined and low <= joined[-1][1] + 1:
            joined[-1] = (joined[-1][0], max(high, joined[-1][1]))
        else:
            joined.append((low, high))
    return tuple(joined)


def cut(spans: Spans, taken: Spans) -> Spans:
    """``spans`` without ``taken``, both as ``join`` leaves them."""
    left: list[tuple[int, int]] = []
    for low, high in spans:
        for begin, end in taken:
            if end < low or begin > high:
                continue
            if begin > low:
                left.append((low, begin - 1))
            low = end + 1
        if low <= high:
            left.append((low, high))
    return tuple(left)


def parse_ranges(text: str) -> Spans:
    """``[31000-31005,8080-8080]``. Raises ValueError."""
    spans = []
    for item in filter(str.strip, text.strip()[1:-1].split(",")):
        found = _RANGE.fullmatch(item)
        if found is None:
            raise ValueError(f"not a range: {item.strip()!r} in {text!r}")
        spans.append((int(found[1]), int(found[2])))
    return join(spans)


def format_ranges(spans: Iterable[tuple[int, int]]) -> str:
    return "[" + ", ".join(f"{low}-{high}" for low, high in spans) + "]"


def _kept(key: Key, amount: int) -> dict[Key, int]:
    return {key: amount} if amount else {}


def _kept_spans(key: Key, spans: Spans) -> dict[Key, Spans]:
    return {key: spans} if spans else {}


def _label(key: Key) -> str:
    name, holder = key
    return name if holder == UNRESERVED else f"{name}({role_of(holder)})"


def with_reservations(own: Resources, kept: Resources) -> Resources:
    """``own``, as the agent was started with, with the dynamic reservations of ``kept``.

    Raises ValueError when they are of more than there is.
    """
    reserved = kept.dynamic()
    base = reserved.stripped()
    if not own.contains(base):
        raise ValueError(f"reserved are {base}, but there are only {own}")
    return own - base + reserved
