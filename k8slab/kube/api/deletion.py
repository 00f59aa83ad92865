"""Deleting: at once, after a grace period that a kubelet ends, or when the last finalizer is gone."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from k8slab.kube.api import errors, validation
from k8slab.kube.api.kind import Kind
from k8slab.kube.api.kinds.namespace import NAMESPACE, PROTECTED
from k8slab.kube.api.meta import Object, dig, later
from k8slab.kube.api.registry import TRIES, Outcome, Registry
from k8slab.kube.api.storage.base import Record, Refused

# Deletions of one collection that are under way together.
AT_ONCE: Final = 16
POLICIES: Final = ("Background", "Foreground", "Orphan")
# Who sees to the dependents takes these away: of those that are left alone, and of those that must go first.
ORPHAN: Final = "orphan"
FOREGROUND: Final = "foregroundDeletion"
FINALIZERS: Final = {"Orphan": ORPHAN, "Foreground": FOREGROUND}


@dataclass(frozen=True)
class DeleteOptions:
    """``grace`` in seconds, None when the client leaves it to the object; empty ``uid`` and ``version`` match all.

    ``policy`` is one of POLICIES, or empty to leave it to the object and its kind.
    """

    grace: int | None = None
    uid: str = ""
    version: str = ""
    policy: str = ""
    dry_run: bool = False


def parse_options(body: dict[str, Any], query: dict[str, str], *, dry_run: bool) -> DeleteOptions:
    """From a DeleteOptions body and the query, of which the query wins nothing that the body says."""
    asked: dict[str, Any] = {key: query[key] for key in ("gracePeriodSeconds", "propagationPolicy") if key in query}
    given = {**asked, **body}
    policy = given.get("propagationPolicy") or ""
    problems = []
    if policy and policy not in POLICIES:
        problems.append(validation.not_supported("propagationPolicy", policy, (*POLICIES, "nil")))
    orphans = given.get("orphanDependents")
    if orphans is not None and policy:
        why = "orphanDependents and deletionPropagation cannot be both set"
        problems.append(validation.invalid("propagationPolicy", policy, why))
    elif orphans is not None:
        policy = "Orphan" if orphans else "Background"
    if problems:
        raise errors.invalid("meta.k8s.io", "DeleteOptions", "", problems)
    grace = given.get("gracePeriodSeconds")
    try:
        seconds = None if grace is None else int(grace)
    except ValueError:
        raise errors.bad_request(f"gracePeriodSeconds: {grace!r} is not a number of seconds") from None
    if seconds is not None and abs(seconds) >= 1 << 63:
        raise errors.bad_request(f"gracePeriodSeconds: {seconds} is out of range")
    conditions = given.get("preconditions") or {}
    dry = dry_run or bool(given.get("dryRun"))
    return DeleteOptions(seconds, conditions.get("uid") or "", conditions.get("resourceVersion") or "", policy, dry)


async def delete(registry: Registry, kind: Kind, namespace: str, name: str, options: DeleteOptions) -> Outcome:
    """Returns the object as it was last, with whether it is gone. Raises NotFound, Conflict and Forbidden."""
    if kind is NAMESPACE and name in PROTECTED:
        raise errors.forbidden(kind.group, kind.plural, name, "this namespace may not be deleted")
    for _ in range(TRIES):
        record = await registry.get(kind, namespace, name)
        obj = kind.decode(record.value, record.revision)
        _hold_to(kind, obj, options)
        seconds = kind.grace(obj, options.grace) if kind.grace else 0
        waiting = _waiting(kind, _with_policy(kind, obj, options.policy), seconds)
        try:
            if waiting is None:
                return await _at_once(registry, kind, record, obj, options)
            if waiting == obj:
                return Outcome(record.value, record.revision)
            mark = _unless_changed(record, waiting)
            return await registry.change(kind, namespace, name, mark, dry_run=options.dry_run, start=record)
        except (Refused, _Changed):
            continue
    raise errors.conflict(kind.group, kind.plural, name, errors.MODIFIED)


async def delete_all(
    registry: Registry, kind: Kind, records: Sequence[Record], options: DeleteOptions
) -> list[Outcome]:
    """Delete each of a list's objects that is still there."""
    turn = asyncio.Semaphore(AT_ONCE)

    async def one(record: Record) -> Outcome | None:
        meta = kind.decode(record.value, record.revision)["metadata"]
        async with turn:
            try:
                return await delete(registry, kind, meta.get("namespace") or "", meta["name"], options)
            except errors.ApiFailure as failure:
                if failure.code != 404:
                    raise
                return None

    return [outcome for outcome in await asyncio.gather(*map(one, records)) if outcome is not None]


class _Changed(Exception):
    """The object is no longer the one that the decision was made about."""


def _unless_changed(record: Record, wanted: Object) -> Any:
    def mutate(newest: Object) -> Object:
        if newest["metadata"]["resourceVersion"] != str(record.revision):
            raise _Changed
        return wanted

    return mutate


def _hold_to(kind: Kind, obj: Object, options: DeleteOptions) -> None:
    meta = obj["metadata"]
    if options.uid and options.uid != meta["uid"]:
        why = (
            f"the UID in the precondition ({options.uid}) does not match the UID in record ({meta['uid']}). "
            "The object might have been deleted and then recreated"
        )
        raise errors.conflict(kind.group, kind.plural, meta["name"], why)
    if options.version and options.version != meta["resourceVersion"]:
        why = (
            f"the ResourceVersion in the precondition ({options.version}) does not match the ResourceVersion in record "
            f"({meta['resourceVersion']}). The object might have been modified"
        )
        raise errors.conflict(kind.group, kind.plural, meta["name"], why)


def _with_policy(kind: Kind, obj: Object, policy: str) -> Object:
    """The object with the finalizer that stands for what becomes of its dependents."""
    meta = obj["metadata"]
    had = meta.get("finalizers") or []
    if kind.ttl:
        return obj
    wanted = FINALIZERS.get(policy)
    if not policy:
        wanted = next((one for one in (ORPHAN, FOREGROUND) if one in had), ORPHAN if kind.orphans_dependents else None)
    finalizers = [one for one in had if one not in (ORPHAN, FOREGROUND)] + ([wanted] if wanted else [])
    if finalizers == had:
        return obj
    rest = {key: value for key, value in meta.items() if key != "finalizers"}
    return {**obj, "metadata": {**rest, **({"finalizers": finalizers} if finalizers else {})}}


def _waiting(kind: Kind, obj: Object, seconds: int) -> Object | None:
    """The object as it waits for its end; None when there is nothing to wait for."""
    meta = dict(obj["metadata"])
    held = bool(meta.get("finalizers")) or (kind is NAMESPACE and bool(dig(obj, "spec", "finalizers")))
    if not seconds and not held:
        return None
    if meta.get("deletionTimestamp") and seconds >= (meta.get("deletionGracePeriodSeconds") or 0):
        return obj
    if not meta.get("deletionTimestamp") and meta.get("generation"):
        meta["generation"] += 1
    meta["deletionTimestamp"] = later(seconds)
    if kind is not NAMESPACE:
        meta["deletionGracePeriodSeconds"] = seconds
    marked = {**obj, "metadata": meta}
    if kind is NAMESPACE:
        marked["status"] = {**(obj.get("status") or {}), "phase": "Terminating"}
    return marked


async def _at_once(registry: Registry, kind: Kind, record: Record, obj: Object, options: DeleteOptions) -> Outcome:
    if options.dry_run:
        return Outcome(record.value, record.revision, deleted=True)
    await registry.remove(kind, record, obj)
    return Outcome(record.value, record.revision, deleted=True)
