"""Who belongs to whom: the objects that a controller made or took over, and those that nobody has yet.

An object has at most one controller, the owner reference that says ``controller: true``. An owner takes what its
selector chooses and nobody controls, and lets go of what its selector no longer chooses.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from k8slab.kube.api.selectors import Requirement, requirements_of
from k8slab.kube.client import STRATEGIC_PATCH, ApiError, KubeClient, Object
from k8slab.kube.controllers.informers import SharedInformers
from k8slab.kube.controllers.workqueue import WorkQueue
from k8slab.kube.informer import Informer, key_of

NOTHING: Final = Requirement("", "exists")
LONGEST_SETTLE: Final = 0.2


@dataclass(frozen=True)
class _Owners:
    informer: Informer
    queue: WorkQueue
    settle: float


class Owned:
    """The objects of one resource by their controllers; shared by all who own some of them."""

    def __init__(self, client: KubeClient, informers: SharedInformers, resource: str) -> None:
        self._client = client
        self._informers = informers
        self.resource = resource
        self.informer = informers.of(resource)
        self._by_owner: dict[str, dict[str, Object]] = {}
        self._by_namespace: dict[str, dict[str, Object]] = {}
        self._orphans: dict[str, dict[str, Object]] = {}
        self._owners: dict[tuple[str, str], _Owners] = {}
        self.informer.subscribe(self._changed)

    def report_to(self, owners: str, queue: WorkQueue, *, settle: float = 0.0) -> None:
        """Put the owners of this resource ("replicasets") into the queue when something of theirs changes.

        ``settle``: seconds to wait for more changes, for each object that the owner has: to look at many takes longer.
        """
        informer = self._informers.of(owners)
        self._owners[informer.type] = _Owners(informer, queue, settle)

    def of(self, owner: Mapping[str, Any]) -> list[Object]:
        """What the owner controls, whether or not its selector chooses it."""
        return list(self._by_owner.get(owner["metadata"]["uid"], {}).values())

    def within(self, namespace: str) -> list[Object]:
        return list(self._by_namespace.get(namespace, {}).values())

    async def claim(
        self, owner: Object, selector: Mapping[str, Any] | None, *, suits: Callable[[Object], bool] = lambda obj: True
    ) -> list[Object]:
        """The owner's objects, after it took over those without a controller and let go of those not chosen.

        ``suits`` is what they must be like besides being selected.
        """
        wanted = requirements(selector)

        def chosen(obj: Object) -> bool:
            return matches(wanted, obj) and suits(obj)

        going = bool(owner["metadata"].get("deletionTimestamp"))
        claimed = []
        for obj in self.of(owner):
            if chosen(obj):
                claimed.append(obj)
            elif not going:
                await self._release(owner, obj)
        orphans = self._orphans.get(owner["metadata"]["namespace"], {}).values()
        free = [one for one in orphans if chosen(one) and not one["metadata"].get("deletionTimestamp")]
        if free and not going and await self._may_adopt(owner):
            for obj in free:
                if adopted := await self._adopt(owner, obj):
                    claimed.append(adopted)
        return claimed

    async def _may_adopt(self, owner: Object) -> bool:
        """Asked of the server: what is known here may be an owner that was deleted, with its name given away."""
        meta = owner["metadata"]
        fresh = await self._client.find(self._plural(owner), meta["name"], meta["namespace"])
        if fresh is None:
            return False
        return bool(fresh["metadata"]["uid"] == meta["uid"] and not fresh["metadata"].get("deletionTimestamp"))

    async def _adopt(self, owner: Object, obj: Object) -> Object | None:
        adopted = await self._patch_references(obj, controller_reference(owner))
        return adopted and {"kind": obj["kind"], "apiVersion": obj["apiVersion"], **adopted}

    async def _release(self, owner: Object, obj: Object) -> None:
        await self._patch_references(obj, {"$patch": "delete", "uid": owner["metadata"]["uid"]})

    async def _patch_references(self, obj: Object, change: Object) -> Object | None:
        """None when the object is gone, or cannot be changed any more."""
        meta = obj["metadata"]
        patch = {"metadata": {"uid": meta["uid"], "ownerReferences": [change]}}
        try:
            return await self._client.patch(
                self.resource, meta["name"], patch, meta["namespace"], content_type=STRATEGIC_PATCH
            )
        except ApiError as error:
            if error.is_not_found or error.code == 422:
                return None
            raise

    def _plural(self, owner: Object) -> str:
        return self._owners[(owner["apiVersion"], owner["kind"])].informer.resource

    def _changed(self, kind: str, obj: Object, old: Object | None) -> None:
        if old is not None:
            self._file(old, present=False)
        self._file(obj, present=kind != "DELETED")
        before, now = controller_of(old), controller_of(obj)
        if before and before.get("uid") != (now or {}).get("uid"):
            self._tell_owner(obj, before)
        if now:
            self._tell_owner(obj, now)
        elif kind != "DELETED" and (kind == "ADDED" or before or _labels(old) != _labels(obj)):
            self._tell_takers(obj)

    def _file(self, obj: Object, *, present: bool) -> None:
        meta, owner = obj["metadata"], controller_of(obj)
        shelves = [(self._by_namespace, meta["namespace"])]
        shelves.append((self._by_owner, owner["uid"]) if owner else (self._orphans, meta["namespace"]))
        for shelf, place in shelves:
            if present:
                shelf.setdefault(place, {})[meta["uid"]] = obj
            elif place in shelf:
                shelf[place].pop(meta["uid"], None)
                if not shelf[place]:
                    del shelf[place]

    def _tell_owner(self, obj: Object, reference: Mapping[str, Any]) -> None:
        owners = self._owners.get((reference.get("apiVersion", ""), reference.get("kind", "")))
        if owners is None:
            return
        key = f"{obj['metadata']['namespace']}/{reference['name']}"
        owner = owners.informer.cache.get(key)
        if owner is None or owner["metadata"]["uid"] != reference["uid"]:
            return
        if seconds := owners.settle * len(self._by_owner.get(reference["uid"], ())):
            owners.queue.add_after(key, min(seconds, LONGEST_SETTLE))
        else:
            owners.queue.add(key)

    def _tell_takers(self, obj: Object) -> None:
        namespace = obj["metadata"]["namespace"]
        for owners in self._owners.values():
            for owner in owners.informer.cache.values():
                if owner["metadata"]["namespace"] == namespace and matches(requirements(selector_of(owner)), obj):
                    owners.queue.add(key_of(owner))


def controller_of(obj: Mapping[str, Any] | None) -> Mapping[str, Any] | None:
    """The owner reference of the one that controls the object."""
    references: Iterable[Mapping[str, Any]] = ((obj or {}).get("metadata") or {}).get("ownerReferences") or ()
    return next((one for one in references if one.get("controller")), None)


def is_controlled_by(obj: Mapping[str, Any], owner: Mapping[str, Any]) -> bool:
    return bool((controller_of(obj) or {}).get("uid") == owner["metadata"]["uid"])


def controller_reference(owner: Mapping[str, Any]) -> Object:
    """The reference that makes the owner the controller of what carries it."""
    meta = owner["metadata"]
    named = {"apiVersion": owner["apiVersion"], "kind": owner["kind"], "name": meta["name"], "uid": meta["uid"]}
    return {**named, "controller": True, "blockOwnerDeletion": True}


def selector_of(owner: Mapping[str, Any]) -> Mapping[str, Any]:
    """An owner's selector in the form with matchLabels; a replication controller has labels alone."""
    selector: Mapping[str, Any] = (owner.get("spec") or {}).get("selector") or {}
    return {"matchLabels": selector} if owner["kind"] == "ReplicationController" else selector


def requirements(selector: Mapping[str, Any] | None) -> list[Requirement]:
    """A controller with an empty selector has nothing: it is not meant to have everything."""
    return requirements_of(selector or {}) or [NOTHING]


def matches(wanted: Iterable[Requirement], obj: Mapping[str, Any]) -> bool:
    labels = _labels(obj)
    return all(one.holds(labels) for one in wanted)


def _labels(obj: Mapping[str, Any] | None) -> Mapping[str, str]:
    return ((obj or {}).get("metadata") or {}).get("labels") or {}
