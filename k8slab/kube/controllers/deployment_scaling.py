"""How large each of a deployment's replica sets is to be: pure decisions over what the sets say of themselves."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from k8slab.kube.client import Object
from k8slab.kube.controllers.deployment_sets import DESIRED, MOST, ReplicaSets, age, annotated_number, counted, size


@dataclass(frozen=True)
class Resize:
    """A replica set that is to have ``replicas`` pods."""

    set: Object
    replicas: int


@dataclass(frozen=True)
class Bounds:
    """Pods of a deployment: wanted, at most (with the surge), and available at least."""

    wanted: int
    surge: int
    unavailable: int

    @property
    def most(self) -> int:
        return self.wanted + self.surge

    @property
    def least(self) -> int:
        return self.wanted - self.unavailable


def bounds(deployment: Object) -> Bounds:
    spec = deployment["spec"]
    wanted = int(spec["replicas"])
    if not is_rolling(deployment):
        return Bounds(wanted, 0, 0)
    rolling = spec["strategy"].get("rollingUpdate") or {}
    surge = share_of(rolling.get("maxSurge", 0), wanted, up=True)
    unavailable = share_of(rolling.get("maxUnavailable", 0), wanted, up=False)
    if not surge and not unavailable:
        # Percentages that came to nothing: without room for one nothing could ever be changed.
        unavailable = 1
    return Bounds(wanted, surge, min(unavailable, wanted))


def share_of(share: int | str, whole: int, *, up: bool) -> int:
    """ "25%" of the whole, rounded up or down; a number is itself."""
    if isinstance(share, int):
        return share
    part = int(share.rstrip("%") or 0) * whole
    return -(-part // 100) if up else part // 100


def is_rolling(deployment: Object) -> bool:
    return bool(deployment["spec"]["strategy"]["type"] == "RollingUpdate")


def roll(deployment: Object, sets: ReplicaSets) -> list[Resize]:
    """The next step of a rolling update: the new set grows into the room there is, or old ones make room."""
    new = sets.new
    if new is None:
        return []
    grown = new_size(deployment, sets.all, size(new))
    if grown != size(new):
        return [Resize(new, grown)]
    return shrink_old(bounds(deployment), sets)


def new_size(deployment: Object, sets: Iterable[Object], present: int) -> int:
    """How large the new set, which has ``present`` pods, may be among all sets.

    Pods that a set was told to lose and still has are in the way of new ones.
    """
    limits = bounds(deployment)
    if present >= limits.wanted or not is_rolling(deployment):
        return limits.wanted
    room = limits.most - sum(max(size(one), counted(one)) for one in sets)
    return present + max(0, min(room, limits.wanted - present))


def shrink_old(limits: Bounds, sets: ReplicaSets) -> list[Resize]:
    """First pods that do not work anyhow, then as many as the new ones make up for."""
    old, new = sets.active_old, sets.new
    if not old or new is None:
        return []
    idle = size(new) - _available(new)
    spare = sum(map(size, sets.all)) - limits.least - idle
    if spare <= 0:
        return []
    sizes = {one["metadata"]["uid"]: size(one) for one in old}
    for one in old:
        taken = max(0, min(spare, size(one) - _available(one)))
        sizes[one["metadata"]["uid"]] -= taken
        spare -= taken
    spare = sum(map(_available, sets.all)) - limits.least
    for one in old:
        taken = max(0, min(spare, sizes[one["metadata"]["uid"]]))
        sizes[one["metadata"]["uid"]] -= taken
        spare -= taken
    return [Resize(one, sizes[one["metadata"]["uid"]]) for one in old if sizes[one["metadata"]["uid"]] != size(one)]


def _available(one: Object) -> int:
    """Not those that it still has and is to lose: they were given away before."""
    return min(counted(one, "availableReplicas"), size(one))


def was_scaled(deployment: Object, sets: ReplicaSets) -> bool:
    """Whether the deployment's number of pods was changed since its sets were sized."""
    noted = (annotated_number(one, DESIRED) for one in sets.all if size(one))
    return any(number is not None and number != deployment["spec"]["replicas"] for number in noted)


def scale(deployment: Object, sets: ReplicaSets) -> list[Resize]:
    """What a new number of pods means for the sets, without going on with the rollout that they may be in."""
    limits = bounds(deployment)
    if only := _active_or_latest(sets):
        return [Resize(only, limits.wanted)] if size(only) != limits.wanted else []
    if _is_saturated(deployment, sets.new):
        return [Resize(one, 0) for one in sets.active_old]
    active = [one for one in sets.all if size(one)]
    if not is_rolling(deployment):
        # As they are: all but one go next. They only have to take note, or every look would find it scaled.
        return [Resize(one, size(one)) for one in active]
    return _in_proportion(deployment, active, limits)


def _active_or_latest(sets: ReplicaSets) -> Object | None:
    """The one that all is about: the only one with pods, or the latest when none has any."""
    active = [one for one in sets.all if size(one)]
    if len(active) > 1:
        return None
    return next(iter(active), None) or sets.new or (sets.old[-1] if sets.old else None)


def _is_saturated(deployment: Object, new: Object | None) -> bool:
    wanted = deployment["spec"]["replicas"]
    return new is not None and (
        size(new) == annotated_number(new, DESIRED) == counted(new, "availableReplicas") == wanted
    )


def _in_proportion(deployment: Object, active: Sequence[Object], limits: Bounds) -> list[Resize]:
    """Each set grows or shrinks by its share; what rounding leaves over is the largest one's."""
    missing = (limits.most if limits.wanted else 0) - sum(map(size, active))
    newest_first = sorted(active, key=age, reverse=missing > 0)
    ordered = sorted(newest_first, key=size, reverse=True)
    added, sizes = 0, []
    for one in ordered:
        part = _part(deployment, one, limits.most) if missing else 0
        left = missing - added
        part = min(part, left) if missing > 0 else max(part, left)
        added += part
        sizes.append(size(one) + part)
    if sizes and missing:
        sizes[0] = max(0, sizes[0] + missing - added)
    return [Resize(one, replicas) for one, replicas in zip(ordered, sizes, strict=True)]


def _part(deployment: Object, one: Object, most: int) -> int:
    if not deployment["spec"]["replicas"]:
        return -size(one)
    status: dict[str, Any] = deployment.get("status") or {}
    before = annotated_number(one, MOST) or int(status.get("replicas") or 0) or most
    return math.floor(size(one) * most / before + 0.5) - size(one)
