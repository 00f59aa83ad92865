"""ResourceQuota: what a namespace may have, counted anew and written in the transaction of every write that uses it.

What is used is counted in the cache as of the very revision of the quota that the transaction checks: whoever else used
something in between has written the quota as well, so that this transaction is refused and counts again.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from decimal import Decimal
from typing import Any, Final

from k8slab.kube.api import errors
from k8slab.kube.api.admission.amounts import written
from k8slab.kube.api.admission.usage import Usage, in_scope, total, usage_of
from k8slab.kube.api.cache import Cache, Entry
from k8slab.kube.api.errors import qualified
from k8slab.kube.api.kind import Kind
from k8slab.kube.api.kinds.limits import RESOURCE_QUOTA
from k8slab.kube.api.meta import Object, dig, parse_quantity
from k8slab.kube.api.storage.base import Check, Write

MUST_SAY: Final = ("limits.cpu", "limits.memory", "requests.cpu", "requests.memory", "cpu", "memory")


class Quotas:
    """``kinds``: all that is stored, for what quotas may count."""

    def __init__(self, cache: Cache, kinds: Iterable[Kind]) -> None:
        self._cache = cache
        self._kinds = [kind for kind in kinds if kind.namespaced and kind.stored and kind.hub is kind]

    def claims(
        self, kind: Kind, namespace: str, name: str, new: Object | None, old: Object | None
    ) -> tuple[list[Check], list[Write]]:
        """What the transaction of this change must hold and write. Raises Forbidden for what exceeds a quota."""
        checks, writes = [], []
        for entry in self._about(kind, namespace):
            quota = entry.obj
            was = _used(quota, kind, old)
            after = _used(quota, kind, new)
            if was == after or (kind is RESOURCE_QUOTA and new is None and name == quota["metadata"]["name"]):
                continue
            if new is not None and old is None:
                _must_say(quota, kind, new)
            used = self.used(quota, namespace)
            wanted = {resource: used[resource] - was.get(resource, 0) + after.get(resource, 0) for resource in used}
            more = {one: after.get(one, Decimal(0)) - was.get(one, Decimal(0)) for one in used}
            _judge(quota, kind, name, {one: amount for one, amount in more.items() if amount > 0}, used)
            status = with_status(quota, wanted)
            if status != quota:
                checks.append(Check(entry.key, entry.revision))
                writes.append(Write(entry.key, RESOURCE_QUOTA.encode(status)))
        return checks, writes

    def used(self, quota: Object, namespace: str) -> Usage:
        return total(quota, self._objects(quota, namespace))

    def counted(self, quota: Object) -> Object:
        """The quota with a status that is true now."""
        return with_status(quota, self.used(quota, quota["metadata"]["namespace"]))

    def _about(self, kind: Kind, namespace: str) -> list[Entry]:
        if not kind.namespaced:
            return []
        return list(self._cache.of(RESOURCE_QUOTA).scan(RESOURCE_QUOTA.scope(namespace)))

    def _objects(self, quota: Object, namespace: str) -> Iterator[tuple[Kind, Object]]:
        hard = dig(quota, "spec", "hard") or {}
        for kind in self._kinds:
            if bounds(hard, kind):
                for entry in self._cache.of(kind).scan(kind.scope(namespace)):
                    yield kind, entry.obj


def bounds(hard: dict[str, Any], kind: Kind) -> bool:
    """Whether any of the quota's resources is of the kind."""
    if f"count/{qualified(kind.plural, kind.group)}" in hard:
        return True
    if kind.group:
        return False
    match kind.plural:
        case "pods":
            return any(one in ("pods", "cpu", "memory") or one.startswith(("limits.", "requests.")) for one in hard)
        case "services":
            return any(one.startswith("services") for one in hard)
        case "persistentvolumeclaims":
            return any("storage" in one or one == "persistentvolumeclaims" for one in hard)
    return kind.plural in hard


def _used(quota: Object, kind: Kind, obj: Object | None) -> Usage:
    if obj is None or not in_scope(quota, kind, obj):
        return {}
    hard = dig(quota, "spec", "hard") or {}
    return {resource: amount for resource, amount in usage_of(kind, obj).items() if resource in hard}


def _must_say(quota: Object, kind: Kind, new: Object) -> None:
    """A pod must name what the quota counts. Raises Forbidden."""
    if kind.plural != "pods" or kind.group or not in_scope(quota, kind, new):
        return
    hard = dig(quota, "spec", "hard") or {}
    lacking: list[str] = []
    for resource in sorted(one for one in MUST_SAY if one in hard):
        field, _, name = resource.rpartition(".")
        silent = [
            container.get("name") or ""
            for container in (*(new["spec"].get("containers") or ()), *(new["spec"].get("initContainers") or ()))
            if name not in (dig(container, "resources", field or "requests") or {})
        ]
        if silent:
            lacking.append(f"{resource} for: {','.join(sorted(silent))}")
    if lacking:
        why = f"failed quota: {quota['metadata']['name']}: must specify {'; '.join(lacking)}"
        raise errors.forbidden("", "pods", new["metadata"].get("name") or "", why)


def _judge(quota: Object, kind: Kind, name: str, more: Usage, used: Usage) -> None:
    hard = dig(quota, "spec", "hard") or {}
    over = sorted(one for one, amount in more.items() if used[one] + amount > (parse_quantity(hard[one]) or 0))
    if not over:
        return
    asked = ",".join(f"{one}={written(more[one], hard[one])}" for one in over)
    have = ",".join(f"{one}={written(used[one], hard[one])}" for one in over)
    limited = ",".join(f"{one}={hard[one]}" for one in over)
    why = f"exceeded quota: {quota['metadata']['name']}, requested: {asked}, used: {have}, limited: {limited}"
    raise errors.forbidden(kind.group, kind.plural, name, why)


def with_status(quota: Object, used: Usage) -> Object:
    hard = dig(quota, "spec", "hard") or {}
    shown = {resource: written(amount, str(hard[resource])) for resource, amount in used.items()}
    return {**quota, "status": {"hard": dict(hard), "used": shown}}
