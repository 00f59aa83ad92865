"""Taking what a task needs out of what an offer has."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

MILLI = 1000


def take(
    offered: Iterable[Mapping[str, Any]], amounts: Mapping[str, float], *, ports: int = 0
) -> list[dict[str, Any]] | None:
    """The resources of a task that needs ``amounts`` (cpus, mem…) and so many ports; None when they are not there.

    Reserved resources are taken first: nobody else could use them.
    """
    pieces = sorted(offered, key=lambda piece: not _reserved(piece))
    taken: list[dict[str, Any]] = []
    for name, amount in amounts.items():
        missing = round(amount * MILLI)
        for piece in pieces:
            if missing and piece["name"] == name and piece["type"] == "SCALAR":
                here = min(missing, round(piece["scalar"]["value"] * MILLI))
                missing -= here
                taken += [{**piece, "scalar": {"value": here / MILLI}}] if here else []
        if missing:
            return None
    return _with_ports(pieces, taken, ports) if ports else taken


def left(offered: Iterable[Mapping[str, Any]], taken: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The amounts of an offer that ``taken`` leaves, for its next task. Ports stay as they were offered."""
    rest = [dict(piece) for piece in offered]
    for part in taken:
        for piece in rest:
            if piece["type"] == "SCALAR" and _origin(piece) == _origin(part):
                amount = round(piece["scalar"]["value"] * MILLI) - round(part["scalar"]["value"] * MILLI)
                piece["scalar"] = {"value": amount / MILLI}
    return rest


def _with_ports(
    pieces: Sequence[Mapping[str, Any]], taken: list[dict[str, Any]], ports: int
) -> list[dict[str, Any]] | None:
    for piece in pieces:
        if piece["name"] != "ports" or piece["type"] != "RANGES":
            continue
        chosen = []
        for span in piece["ranges"].get("range", ()):
            end = min(span["end"], span["begin"] + ports - 1)
            chosen.append({"begin": span["begin"], "end": end})
            ports -= end - span["begin"] + 1
            if not ports:
                return [*taken, {**piece, "ranges": {"range": chosen}}]
    return None


def _reserved(piece: Mapping[str, Any]) -> bool:
    return bool(piece.get("reservations")) or piece.get("role", "*") != "*"


def _origin(piece: Mapping[str, Any]) -> tuple[Any, ...]:
    """What tells pieces of one offer apart: the amounts are all that a task changes."""
    return tuple((key, str(value)) for key, value in sorted(piece.items()) if key not in ("scalar", "ranges"))
