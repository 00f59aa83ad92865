"""Takes away pods that nobody else will: of nodes that are gone, and those that ended long ago."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from typing import Any, Final

from k8slab.kube.client import ApiError, KubeClient, Object
from k8slab.kube.controllers.informers import SharedInformers
from k8slab.kube.controllers.taint_eviction import delete_disrupted
from k8slab.kube.controllers.workqueue import WorkQueue
from k8slab.kube.informer import key_of

log = logging.getLogger(__name__)

# A node's object may be made anew by its kubelet: its pods are given so many seconds.
QUARANTINE: Final = 40.0
SETTLE: Final = 1.0
# Not the name of a pod: the place in the queue of the care for those that ended.
ENDED: Final = ""


class PodGarbage:
    """``threshold``: how many pods that ended are kept, 0 for all; ``quarantine``: seconds."""

    def __init__(
        self, client: KubeClient, informers: SharedInformers, *, threshold: int, quarantine: float = QUARANTINE
    ) -> None:
        self._client = client
        self._threshold = threshold
        self._quarantine = quarantine
        self._nodes = informers.of("nodes")
        self._pods = informers.of("pods")
        self._ended: set[str] = set()
        self._queue = WorkQueue("pod garbage")
        self._nodes.subscribe(self._node_changed)
        self._pods.subscribe(self._pod_changed)

    async def run(self) -> None:
        await asyncio.gather(self._nodes.synced(), self._pods.synced())
        await self._queue.run(self._sync)

    def _node_changed(self, kind: str, node: Object, old: Object | None) -> None:
        if kind != "DELETED":
            return
        for key, pod in self._pods.cache.items():
            if _node(pod) == node["metadata"]["name"]:
                self._queue.add_after(key, self._quarantine)

    def _pod_changed(self, kind: str, pod: Object, old: Object | None) -> None:
        key = key_of(pod)
        if kind == "DELETED" or not has_ended(pod):
            self._ended.discard(key)
        else:
            self._ended.add(key)
            if 0 < self._threshold < len(self._ended):
                self._queue.add_after(ENDED, SETTLE)
        if kind == "DELETED":
            return
        if _is_nowhere_and_going(pod):
            self._queue.add(key)
        elif _node(pod) and _node(pod) not in self._nodes.cache:
            self._queue.add_after(key, self._quarantine)

    async def _sync(self, key: str) -> None:
        if key == ENDED:
            await self._thin_out()
        elif (pod := self._pods.cache.get(key)) is not None:
            if _is_nowhere_and_going(pod):
                await self._delete(pod)
            elif _node(pod) and await self._is_gone(_node(pod)):
                log.info("pod %s goes: its node %s is no more", key, _node(pod))
                why = "PodGC: node no longer exists"
                await delete_disrupted(self._client, pod, "DeletionByPodGC", why, grace=0, failed=True)

    async def _thin_out(self) -> None:
        ended = [self._pods.cache[key] for key in self._ended if key in self._pods.cache]
        here = [one for one in ended if not one["metadata"].get("deletionTimestamp")]
        here.sort(key=lambda pod: (pod["status"].get("reason") != "Evicted", pod["metadata"]["creationTimestamp"]))
        surplus = here[: max(len(here) - self._threshold, 0)]
        if surplus:
            log.info("%d pods that have ended go; %d are kept", len(surplus), self._threshold)
        for pod in surplus:
            await self._delete(pod)

    async def _is_gone(self, name: str) -> bool:
        return name not in self._nodes.cache and await self._client.find("nodes", name) is None

    async def _delete(self, pod: Object) -> None:
        meta = pod["metadata"]
        try:
            await self._client.delete("pods", meta["name"], meta["namespace"], grace_period_seconds=0, uid=meta["uid"])
        except ApiError as error:
            if not (error.is_not_found or error.is_conflict):
                raise


def has_ended(pod: Mapping[str, Any]) -> bool:
    return (pod.get("status") or {}).get("phase") in ("Succeeded", "Failed")


def _is_nowhere_and_going(pod: Mapping[str, Any]) -> bool:
    return bool(pod["metadata"].get("deletionTimestamp")) and not _node(pod)


def _node(pod: Mapping[str, Any]) -> str:
    return str((pod.get("spec") or {}).get("nodeName") or "")
