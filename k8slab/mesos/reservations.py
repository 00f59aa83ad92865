"""For whom resources are kept: the ways to say it on the wire, and what they mean.

A holder is ``*`` for nobody, a role for one static reservation, or the stack of reservations when there is more to say:
each refines the one before it, for the same role or one below.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

UNRESERVED = "*"
STATIC, DYNAMIC = "STATIC", "DYNAMIC"


class Reservation(NamedTuple):
    """``labels`` are pairs of key and value, in the order in which they were given; None for no labels at all."""

    kind: str
    role: str
    principal: str | None = None
    labels: tuple[tuple[str, str | None], ...] | None = None


Holder = str | tuple[Reservation, ...]


def holder_of(resource: Mapping[str, Any]) -> Holder:
    """Of a v1 Resource, in either form. Raises ValueError for reservations for nobody."""
    if reservations := resource.get("reservations"):
        stack = tuple(_reservation(item.get("type", STATIC), item.get("role"), item) for item in reservations)
        return _plainest(stack)
    if "reservation" in resource:
        return (_reservation(DYNAMIC, resource.get("role"), resource["reservation"]),)
    return resource.get("role") or UNRESERVED


def _reservation(kind: str, role: str | None, item: Mapping[str, Any]) -> Reservation:
    if not role or role == UNRESERVED:
        raise ValueError("a reservation must be for a role other than '*'")
    labels = item.get("labels")
    pairs = None if labels is None else tuple((each["key"], each.get("value")) for each in labels.get("labels", ()))
    return Reservation(kind, role, item.get("principal"), pairs)


def reservation_json(holder: Holder, *, refined: bool) -> dict[str, Any]:
    """The fields of a v1 Resource that say it."""
    if not refined and isinstance(holder, str):
        return {"role": holder}
    stack = stack_of(holder)
    if not refined and len(stack) == 1:
        [reservation] = stack
        shown: dict[str, Any] = {"role": reservation.role}
        return shown | ({"reservation": _details(reservation)} if reservation.kind == DYNAMIC else {})
    if not stack:
        return {}
    return {"reservations": [{"type": item.kind, "role": item.role, **_details(item)} for item in stack]}


def _details(reservation: Reservation) -> dict[str, Any]:
    details: dict[str, Any] = {}
    if reservation.principal is not None:
        details["principal"] = reservation.principal
    if reservation.labels is not None:
        pairs = [{"key": key} | ({} if value is None else {"value": value}) for key, value in reservation.labels]
        details["labels"] = {"labels": pairs}
    return details


def stack_of(holder: Holder) -> tuple[Reservation, ...]:
    if isinstance(holder, tuple):
        return holder
    return () if holder == UNRESERVED else (Reservation(STATIC, holder),)


def role_of(holder: Holder) -> str:
    return holder if isinstance(holder, str) else holder[-1].role


def is_dynamic(holder: Holder) -> bool:
    return isinstance(holder, tuple) and holder[-1].kind == DYNAMIC


def is_refined(holder: Holder) -> bool:
    return isinstance(holder, tuple) and len(holder) > 1


def may_use(role: str, holder: Holder) -> bool:
    """Whether a framework in ``role`` may use it: it is kept for nobody, or for that role or one above it."""
    kept_for = role_of(holder)
    return kept_for in (UNRESERVED, role) or role.startswith(f"{kept_for}/")


def without_last(holder: Holder) -> Holder:
    return _plainest(stack_of(holder)[:-1])


def _plainest(stack: tuple[Reservation, ...]) -> Holder:
    """So that equal reservations are equal, however they were said."""
    if not stack:
        return UNRESERVED
    return stack[0].role if stack == (Reservation(STATIC, stack[0].role),) else stack
