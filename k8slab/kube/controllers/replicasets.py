"""Keeps as many pods of a template as a replica set, or the elder replication controller, asks for."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from k8slab.kube.client import ApiError, ApiUnavailable, KubeClient, Object
from k8slab.kube.clock import rfc3339
from k8slab.kube.controllers.informers import SharedInformers
from k8slab.kube.controllers.owned import Owned, controller_of
from k8slab.kube.controllers.owned_pods import (
    OwnedPods,
    is_active,
    is_available,
    is_ready,
    pod_of,
    reason_of,
    seconds_to_next_available,
    to_delete,
)
from k8slab.kube.controllers.statuses import write_status
from k8slab.kube.controllers.workqueue import WorkQueue
from k8slab.kube.informer import key_of

WORKERS: Final = 5
# So many pods are made or deleted in one go, before the owner's state is looked at again.
BURST: Final = 500
FAILURE: Final = "ReplicaFailure"
# Seconds for each pod: of a thousand that come up at once not every one is a reason to count them all.
SETTLE: Final = 0.0002
# Should a write not show itself by an event, as when the pod is gone again before the copy was made anew.
LOOK_AGAIN: Final = 1.0


class ReplicaSetController:
    """``resource``: "replicasets" or "replicationcontrollers"; ``sets``: who shares the work of a deployment."""

    def __init__(
        self, client: KubeClient, informers: SharedInformers, pods: OwnedPods, sets: Owned, resource: str
    ) -> None:
        self._client = client
        self._resource = resource
        self._owners = informers.of(resource)
        self._pods = pods
        self._sets = sets
        self._queue = WorkQueue(resource)
        self._owners.subscribe(self._owner_changed)
        pods.report_to(resource, self._queue, settle=SETTLE)

    async def run(self) -> None:
        await asyncio.gather(self._owners.synced(), self._pods.informer.synced(), self._sets.informer.synced())
        await self._queue.run(self._sync, workers=WORKERS)

    def _owner_changed(self, kind: str, owner: Object, old: Object | None) -> None:
        if kind == "DELETED":
            self._pods.forget(owner["metadata"]["uid"])
        self._queue.add(key_of(owner))

    async def _sync(self, key: str) -> None:
        owner = self._owners.cache.get(key)
        if owner is None:
            return
        found, trusted = await self._pods.claimed(owner)
        pods = [one for one in found if is_active(one)]
        trouble: ApiError | ApiUnavailable | None = None
        if not trusted:
            self._queue.add_after(key, LOOK_AGAIN)
        elif not owner["metadata"].get("deletionTimestamp"):
            try:
                await self._even_out(owner, pods)
            except (ApiError, ApiUnavailable) as error:
                trouble = error
        await self._tell(owner, pods, trouble)
        if trouble is not None:
            raise trouble
        seconds = seconds_to_next_available(pods, owner["spec"].get("minReadySeconds") or 0)
        if seconds is not None:
            self._queue.add_after(key, seconds)

    async def _even_out(self, owner: Object, pods: Sequence[Object]) -> None:
        missing = owner["spec"]["replicas"] - len(pods)
        if missing > 0:
            template = owner["spec"].get("template") or {}
            await self._pods.create(owner, [pod_of(template, owner) for _ in range(min(missing, BURST))])
        elif missing < 0:
            await self._pods.delete(owner, to_delete(pods, min(-missing, BURST), self._related(owner) or pods))

    def _related(self, owner: Object) -> list[Object]:
        """The pods of all replica sets of the same deployment: they do the same work."""
        deployment = controller_of(owner)
        if deployment is None:
            return []
        siblings = self._sets.of({"metadata": {"uid": deployment["uid"]}})
        return [pod for one in siblings for pod in self._pods.of(one)]

    async def _tell(self, owner: Object, pods: Sequence[Object], trouble: ApiError | ApiUnavailable | None) -> None:
        status = status_of(owner, pods, trouble)
        await write_status(self._client, self._resource, owner, status)


def status_of(owner: Mapping[str, Any], pods: Sequence[Object], trouble: ApiError | ApiUnavailable | None) -> Object:
    """What is counted of the owner's active pods; ``trouble`` is why they are not as many as wanted."""
    spec, old = owner["spec"], owner.get("status") or {}
    wanted = ((spec.get("template") or {}).get("metadata") or {}).get("labels") or {}
    least = spec.get("minReadySeconds") or 0
    ready = [one for one in pods if is_ready(one)]
    counts = {
        "fullyLabeledReplicas": sum(1 for one in pods if wanted.items() <= _labels(one).items()),
        "readyReplicas": len(ready),
        "availableReplicas": sum(1 for one in ready if is_available(one, least)) if least else len(ready),
        "observedGeneration": owner["metadata"].get("generation") or 0,
    }
    status = {"replicas": len(pods), **{name: count for name, count in counts.items() if count}}
    conditions = _conditions(old.get("conditions") or (), trouble, short=len(pods) < spec["replicas"])
    return {**status, **({"conditions": conditions} if conditions else {})}


def _conditions(old: Iterable[Object], trouble: ApiError | ApiUnavailable | None, *, short: bool) -> list[Object]:
    if trouble is None:
        return [one for one in old if one["type"] != FAILURE]
    if any(one["type"] == FAILURE for one in old):
        return list(old)
    failure = {
        "type": FAILURE,
        "status": "True",
        "lastTransitionTime": rfc3339(),
        "reason": "FailedCreate" if short else "FailedDelete",
        "message": reason_of(trouble),
    }
    return [*old, failure]


def _labels(obj: Mapping[str, Any]) -> Mapping[str, str]:
    return obj["metadata"].get("labels") or {}
