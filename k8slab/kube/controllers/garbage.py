"""Removes what belonged to objects that are gone, and sees to what should become of it before they go.

Who belongs to whom is in ``ownerReferences``, by uid. An object whose every owner is gone goes too. An owner that is
deleted in the foreground waits for those dependents that say they block it; one that leaves orphans waits until it is
struck out of their references.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

from k8slab.kube.client import ApiError, KubeClient, Object
from k8slab.kube.controllers.informers import SharedInformers
from k8slab.kube.controllers.workqueue import WorkQueue
from k8slab.kube.resource_paths import RESOURCES

log = logging.getLogger(__name__)

ORPHAN: Final = "orphan"
FOREGROUND: Final = "foregroundDeletion"
WORKERS: Final = 4
# Events go by themselves, bindings are not kept.
COLLECTED: Final = tuple(resource for resource in RESOURCES if resource not in ("bindings", "events"))
BY_KIND: Final = {(RESOURCES[one].api_version, RESOURCES[one].kind): one for one in COLLECTED}

Reference = dict[str, Any]


@dataclass(frozen=True)
class Item:
    resource: str
    obj: Object

    @property
    def meta(self) -> Object:
        meta: Object = self.obj["metadata"]
        return meta

    @property
    def references(self) -> list[Reference]:
        return list(self.meta.get("ownerReferences") or ())

    def waits_for(self, finalizer: str) -> bool:
        return bool(self.meta.get("deletionTimestamp")) and finalizer in (self.meta.get("finalizers") or ())

    @property
    def policy(self) -> str:
        """What it says itself about what becomes of its dependents."""
        finalizers = self.meta.get("finalizers") or ()
        return "Orphan" if ORPHAN in finalizers else "Foreground" if FOREGROUND in finalizers else "Background"

    def blocks(self, owner: str) -> bool:
        return any(one["uid"] == owner and one.get("blockOwnerDeletion") for one in self.references)


class GarbageCollector:
    def __init__(self, client: KubeClient, informers: SharedInformers) -> None:
        self._client = client
        self._items: dict[str, Item] = {}
        self._dependents: dict[str, set[str]] = {}
        self._queue = WorkQueue("garbage")
        self._informers = [informers.of(resource) for resource in COLLECTED]
        for resource in COLLECTED:
            informers.of(resource).subscribe(partial(self._changed, resource))

    async def run(self) -> None:
        # Not before everything is known: an owner that has not been seen yet is not one that is gone.
        await asyncio.gather(*(informer.synced() for informer in self._informers))
        await self._queue.run(self._sync, workers=WORKERS)

    def _changed(self, resource: str, kind: str, obj: Object, old: Object | None) -> None:
        item, uid = Item(resource, obj), obj["metadata"]["uid"]
        for owner in owners(old):
            rest = self._dependents.get(owner, set())
            rest.discard(uid)
            if not rest:
                # Owners that are gone are not heard of again.
                self._dependents.pop(owner, None)
        if kind == "DELETED":
            self._items.pop(uid, None)
            self._look_at(self._dependents.pop(uid, ()))
        else:
            self._items[uid] = item
            for owner in owners(obj):
                self._dependents.setdefault(owner, set()).add(uid)
            if item.references or item.meta.get("deletionTimestamp"):
                self._queue.add(uid)
        # Those that wait for it to go, or to let go of them.
        self._look_at(one for one in {*owners(obj), *owners(old)} if one in self._items)

    def _look_at(self, uids: Iterable[str]) -> None:
        for uid in list(uids):
            self._queue.add(uid)

    async def _sync(self, uid: str) -> None:
        item = self._items.get(uid)
        if item is None:
            return
        if item.waits_for(ORPHAN):
            await self._leave_orphans(uid, item)
        elif item.waits_for(FOREGROUND):
            await self._go_last(uid, item)
        elif item.references and not item.meta.get("deletionTimestamp"):
            await self._judge(uid, item)

    async def _leave_orphans(self, uid: str, item: Item) -> None:
        for dependent in self._of(uid):
            rest = [one for one in dependent.references if one["uid"] != uid]
            await self._patch(dependent, {"ownerReferences": rest or None})
        await self._let_go(item, ORPHAN)

    async def _go_last(self, uid: str, item: Item) -> None:
        blocking = [one for one in self._of(uid) if one.blocks(uid)]
        if not blocking:
            await self._let_go(item, FOREGROUND)
        self._look_at(one.meta["uid"] for one in blocking if not one.meta.get("deletionTimestamp"))

    async def _judge(self, uid: str, item: Item) -> None:
        kept, awaited = [], False
        for reference in item.references:
            owner = self._items.get(reference["uid"])
            if owner is not None and owner.waits_for(FOREGROUND) and reference.get("blockOwnerDeletion"):
                awaited = True
            elif owner is not None or not await self._is_gone(item, reference):
                kept.append(reference)
        if len(kept) == len(item.references):
            return
        if kept:
            await self._patch(item, {"ownerReferences": kept})
            return
        newest = await self._newest(item)
        if newest is None or newest.references != item.references:
            # It has been left an orphan, or found another owner, and word of it is still on its way.
            return
        in_turn = awaited and any(one.blocks(uid) for one in self._of(uid))
        log.info("%s %s: its owners are gone, and so it goes", item.resource, _named(item))
        try:
            await self._client.delete(
                item.resource,
                item.meta["name"],
                item.meta.get("namespace"),
                uid=uid,
                version=newest.meta["resourceVersion"],
                propagation="Foreground" if in_turn else newest.policy,
            )
        except ApiError as error:
            if not (error.is_not_found or error.is_conflict):
                raise

    async def _newest(self, item: Item) -> Item | None:
        """As the server has it now; None when it is gone."""
        found = await self._client.find(item.resource, item.meta["name"], item.meta.get("namespace"))
        return Item(item.resource, found) if found and found["metadata"]["uid"] == item.meta["uid"] else None

    def _of(self, uid: str) -> list[Item]:
        """Those that belong to it."""
        return [self._items[one] for one in self._dependents.get(uid, ()) if one in self._items]

    async def _is_gone(self, item: Item, reference: Reference) -> bool:
        """Asked of the server: what is not known here may have been made a moment ago, or be of a kind unknown here."""
        resource = BY_KIND.get((reference.get("apiVersion", ""), reference.get("kind", "")))
        namespace = item.meta.get("namespace")
        if resource is None or (RESOURCES[resource].namespaced and not namespace):
            # What belongs to no namespace cannot belong to what does: nobody can tell which one is meant.
            return False
        namespace = namespace if RESOURCES[resource].namespaced else None
        found = await self._client.find(resource, reference["name"], namespace)
        return found is None or found["metadata"]["uid"] != reference["uid"]

    async def _let_go(self, item: Item, finalizer: str) -> None:
        rest = [one for one in item.meta.get("finalizers") or () if one != finalizer]
        await self._patch(item, {"finalizers": rest or None})

    async def _patch(self, item: Item, change: Object) -> None:
        """On condition that it is as it was seen; what is gone needs no change."""
        patch = {"metadata": {**change, "resourceVersion": item.meta["resourceVersion"]}}
        try:
            await self._client.patch(item.resource, item.meta["name"], patch, item.meta.get("namespace"))
        except ApiError as error:
            if not error.is_not_found:
                raise


def owners(obj: Object | None) -> list[str]:
    """The uids of an object's owners."""
    return [one["uid"] for one in ((obj or {}).get("metadata") or {}).get("ownerReferences") or ()]


def _named(item: Item) -> str:
    namespace = item.meta.get("namespace")
    return f"{namespace}/{item.meta['name']}" if namespace else str(item.meta["name"])
