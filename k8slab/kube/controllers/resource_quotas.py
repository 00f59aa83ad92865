"""Counts anew what quotas bound, now and then and whenever one changes: a status that is not true is put right.

The API server counts with every write that uses a quota. This is for what it does not see: statuses written by hand,
and objects that came or went past it.
"""

from __future__ import annotations

import asyncio
from typing import Final

from k8slab.kube.api.admission.quota import bounds, with_status
from k8slab.kube.api.admission.usage import total
from k8slab.kube.api.kind import Kind
from k8slab.kube.api.kinds import KINDS
from k8slab.kube.client import ApiError, KubeClient, Object
from k8slab.kube.controllers.informers import SharedInformers
from k8slab.kube.controllers.workqueue import WorkQueue
from k8slab.kube.informer import key_of
from k8slab.kube.resource_paths import RESOURCES

WORKERS: Final = 2
# Writes come in bursts, and each of them changes the quota.
SETTLE: Final = 1.0
COUNTABLE: Final = {
    kind.plural: kind
    for kind in KINDS
    if kind.namespaced and kind.plural in RESOURCES and RESOURCES[kind.plural].api_version == kind.api_version
}


class ResourceQuotaController:
    """``period``: seconds until a quota is counted again though nothing was heard of it."""

    def __init__(self, client: KubeClient, informers: SharedInformers, *, period: float) -> None:
        self._client = client
        self._period = period
        self._quotas = informers.of("resourcequotas")
        self._queue = WorkQueue("quotas")
        self._quotas.subscribe(self._changed)

    async def run(self) -> None:
        await self._quotas.synced()
        await self._queue.run(self._sync, workers=WORKERS)

    def _changed(self, kind: str, quota: Object, old: Object | None) -> None:
        if kind != "DELETED":
            self._queue.add_after(key_of(quota), SETTLE)

    async def _sync(self, key: str) -> None:
        known = self._quotas.cache.get(key)
        if known is None or known["metadata"].get("deletionTimestamp"):
            return
        meta = known["metadata"]
        try:
            # The quota first: whoever uses something after this has written it by the time that ours is written.
            quota = await self._client.get("resourcequotas", meta["name"], meta["namespace"])
            counted = await self._counted(quota)
            if counted != quota:
                await self._client.update("resourcequotas", counted, subresource="status")
        except ApiError as error:
            if not error.is_not_found:
                raise
        self._queue.add_after(key, self._period)

    async def _counted(self, quota: Object) -> Object:
        hard, namespace = quota["spec"].get("hard") or {}, quota["metadata"]["namespace"]
        bounded = {resource: kind for resource, kind in COUNTABLE.items() if bounds(hard, kind)}
        found = await asyncio.gather(*(self._client.list(resource, namespace) for resource in bounded))
        objects: list[tuple[Kind, Object]] = [
            (kind, obj) for kind, listed in zip(bounded.values(), found, strict=True) for obj in listed.items
        ]
        return with_status(quota, total(quota, objects))
