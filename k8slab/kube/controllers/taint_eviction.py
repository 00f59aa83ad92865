"""Deletes pods from nodes whose NoExecute taints they do not tolerate, or tolerate no longer.

How long a pod stays is counted from when the taint was added, so that a controller that was restarted does not grant
the time anew.
"""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections.abc import Iterable, Mapping
from typing import Any, Final

from k8slab.kube import clock
from k8slab.kube.client import STRATEGIC_PATCH, ApiError, KubeClient, Object
from k8slab.kube.controllers.informers import SharedInformers
from k8slab.kube.controllers.workqueue import WorkQueue
from k8slab.kube.events import NORMAL, EventRecorder
from k8slab.kube.informer import key_of
from k8slab.kube.scheduler.node_rules import tolerated

log = logging.getLogger(__name__)

REASON: Final = "TaintManagerEviction"
DISRUPTED: Final = "DisruptionTarget"
COMPONENT: Final = "taint-eviction-controller"
WORKERS: Final = 8


class TaintEviction:
    def __init__(self, client: KubeClient, informers: SharedInformers, recorder: EventRecorder) -> None:
        self._client = client
        self._recorder = recorder
        self._nodes = informers.of("nodes")
        self._pods = informers.of("pods")
        self._going: dict[str, float] = {}
        self._queue = WorkQueue("taint evictions")
        self._nodes.subscribe(self._node_changed)
        self._pods.subscribe(self._pod_changed)

    async def run(self) -> None:
        await asyncio.gather(self._nodes.synced(), self._pods.synced())
        await self._queue.run(self._sync, workers=WORKERS)

    def _node_changed(self, kind: str, node: Object, old: Object | None) -> None:
        if no_execute(node) == no_execute(old):
            return
        for key, pod in self._pods.cache.items():
            if pod["spec"].get("nodeName") == node["metadata"]["name"]:
                self._queue.add(key)

    def _pod_changed(self, kind: str, pod: Object, old: Object | None) -> None:
        was = (old or {}).get("spec") or {}
        moved = any(pod["spec"].get(field) != was.get(field) for field in ("nodeName", "tolerations"))
        if kind == "DELETED" or (moved and no_execute(self._nodes.cache.get(pod["spec"].get("nodeName") or ""))):
            self._queue.add(key_of(pod))

    async def _sync(self, key: str) -> None:
        pod = self._pods.cache.get(key)
        if pod is None or pod["metadata"].get("deletionTimestamp"):
            self._going.pop(key, None)
            return
        node = self._nodes.cache.get(pod["spec"].get("nodeName") or "")
        now = time.time()
        deadline = leaves_at(pod, no_execute(node), self._going.get(key, now))
        if deadline == math.inf:
            if self._going.pop(key, None) is not None:
                self._recorder.say(pod, NORMAL, REASON, f"Cancelling deletion of Pod {key}", component=COMPONENT)
            return
        self._going.setdefault(key, now)
        left = deadline - now
        if left > 0:
            self._queue.add_after(key, left)
            return
        self._recorder.say(pod, NORMAL, REASON, f"Marking for deletion Pod {key}", component=COMPONENT)
        log.info("pod %s leaves node %s, whose taints it does not tolerate", key, pod["spec"]["nodeName"])
        message = "Taint manager: deleting due to NoExecute taint"
        await delete_disrupted(self._client, pod, "DeletionByTaintManager", message)


async def delete_disrupted(
    client: KubeClient, pod: Object, reason: str, message: str, *, grace: int | None = None, failed: bool = False
) -> None:
    """Delete the pod, and let it say why before it goes; ``failed``: nobody will tell how it ended, so it says that."""
    meta = pod["metadata"]
    now = clock.rfc3339()
    said = {"type": DISRUPTED, "status": "True", "reason": reason, "message": message, "lastTransitionTime": now}
    change: Object = {"conditions": [said]}
    if failed and (pod.get("status") or {}).get("phase") not in ("Succeeded", "Failed"):
        change["phase"] = "Failed"
    patch = {"metadata": {"uid": meta["uid"]}, "status": change}
    try:
        await client.patch(
            "pods", meta["name"], patch, meta["namespace"], subresource="status", content_type=STRATEGIC_PATCH
        )
        await client.delete("pods", meta["name"], meta["namespace"], uid=meta["uid"], grace_period_seconds=grace)
    except ApiError as error:
        # Gone, or another of its name: what was to leave has left.
        if not (error.is_not_found or error.is_conflict):
            raise


def no_execute(node: Mapping[str, Any] | None) -> list[Mapping[str, Any]]:
    return [one for one in ((node or {}).get("spec") or {}).get("taints") or () if one["effect"] == "NoExecute"]


def leaves_at(pod: Mapping[str, Any], taints: Iterable[Mapping[str, Any]], seen: float) -> float:
    """When (seconds since the epoch) the pod has to leave for these taints: -inf for at once, inf for never.

    ``seen``: when a taint that does not say so (one that a person put there) was seen first.
    """
    tolerations = pod["spec"].get("tolerations") or ()
    deadlines = [math.inf]
    for taint in taints:
        toleration = next((one for one in tolerations if tolerated(taint, [one])), None)
        if toleration is None:
            return -math.inf
        seconds = toleration.get("tolerationSeconds")
        if seconds is not None:
            added = clock.parse(taint["timeAdded"]).timestamp() if taint.get("timeAdded") else seen
            deadlines.append(added + seconds if seconds > 0 else -math.inf)
    return min(deadlines)
