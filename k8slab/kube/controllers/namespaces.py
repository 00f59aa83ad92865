"""Empties a namespace that is being deleted, and lets go of it once nothing is left in it."""

from __future__ import annotations

import asyncio
from typing import Final

from k8slab.kube.client import ApiError, KubeClient, Object
from k8slab.kube.controllers.informers import SharedInformers
from k8slab.kube.controllers.workqueue import WorkQueue
from k8slab.kube.resource_paths import RESOURCES

# What is left are pods that end gracefully on their nodes, or objects with finalizers: somebody else's work.
_LOOK_AGAIN: Final = 0.5
# Bindings cannot be listed. Events come last: deleting the others makes new ones.
_CONTENTS: Final = (
    *(name for name, path in RESOURCES.items() if path.namespaced and name not in ("bindings", "events")),
    "events",
)


class NamespaceController:
    def __init__(self, client: KubeClient, informers: SharedInformers) -> None:
        self._client = client
        self._namespaces = informers.of("namespaces")
        self._queue = WorkQueue("namespaces")
        self._namespaces.subscribe(self._changed)

    async def run(self) -> None:
        await self._namespaces.synced()
        await self._queue.run(self._sync)

    def _changed(self, kind: str, namespace: Object, old: Object | None) -> None:
        if kind != "DELETED" and namespace["metadata"].get("deletionTimestamp"):
            self._queue.add(namespace["metadata"]["name"])

    async def _sync(self, name: str) -> None:
        namespace = self._namespaces.cache.get(name)
        if namespace is None or not namespace["metadata"].get("deletionTimestamp"):
            return
        left = await asyncio.gather(*(self._empty(resource, name) for resource in _CONTENTS))
        if any(left):
            self._queue.add_after(name, _LOOK_AGAIN)
            return
        spec = {**namespace.get("spec", {}), "finalizers": []}
        try:
            await self._client.update("namespaces", {**namespace, "spec": spec}, subresource="finalize")
        except ApiError as error:
            if not error.is_not_found:
                raise

    async def _empty(self, resource: str, namespace: str) -> int:
        """Ask for the deletion of all that is there; how many were there. A resource not served has none."""
        try:
            found = (await self._client.list(resource, namespace)).items
        except ApiError as error:
            if error.is_not_found:
                return 0
            raise
        for one in found:
            if one["metadata"].get("deletionTimestamp"):
                continue
            try:
                await self._client.delete(resource, one["metadata"]["name"], namespace, propagation="Background")
            except ApiError as error:
                if not error.is_not_found:
                    raise
        return len(found)
