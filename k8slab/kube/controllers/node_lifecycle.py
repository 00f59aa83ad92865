"""Watches the nodes' heartbeats. A node that stays silent for longer than the grace period is no longer known to be
ready, and neither are its pods: they may well run on, but nobody can tell.

Silence is measured here, by when a heartbeat was seen to change: the nodes' own clocks are not trusted.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from k8slab.kube.client import ApiError, ApiUnavailable, KubeClient, Object
from k8slab.kube.clock import rfc3339
from k8slab.kube.controllers.informers import SharedInformers
from k8slab.kube.events import NORMAL, EventRecorder

log = logging.getLogger(__name__)

UNKNOWN_REASON: Final = "NodeStatusUnknown"
UNKNOWN_MESSAGE: Final = "Kubelet stopped posting node status."


@dataclass(frozen=True)
class _Sign:
    """A node's heartbeat as it was seen last, and when (seconds of the loop's clock)."""

    heartbeat: str
    seen: float


class NodeLifecycle:
    """``grace``: seconds of silence that are forgiven; ``period``: seconds between two looks."""

    def __init__(
        self, client: KubeClient, informers: SharedInformers, recorder: EventRecorder, *, grace: float, period: float
    ) -> None:
        self._client = client
        self._nodes = informers.of("nodes")
        self._pods = informers.of("pods")
        self._recorder = recorder
        self._grace = grace
        self._period = period
        self._signs: dict[str, _Sign] = {}
        self._not_ready: set[str] = set()

    async def run(self) -> None:
        while True:
            now = asyncio.get_running_loop().time()
            for name, node in list(self._nodes.cache.items()):
                try:
                    await self._check(name, node, now)
                except (ApiError, ApiUnavailable) as trouble:
                    log.warning("node %s: %s; trying again", name, trouble)
            for name in self._signs.keys() - self._nodes.cache.keys():
                del self._signs[name]
                self._not_ready.discard(name)
            await asyncio.sleep(self._period)

    async def _check(self, name: str, node: Object, now: float) -> None:
        ready = condition(node, "Ready")
        heartbeat = str(ready.get("lastHeartbeatTime", ""))
        sign = self._signs.get(name)
        if sign is None or sign.heartbeat != heartbeat:
            sign = self._signs[name] = _Sign(heartbeat, now)
        status = ready.get("status")
        if now - sign.seen > self._grace and status != "Unknown":
            log.warning("node %s has been silent for %.0f s", name, now - sign.seen)
            node = await self._client.patch("nodes", name, {"status": silenced(node)}, subresource="status")
            # This write is not a sign of life.
            self._signs[name] = _Sign(str(condition(node, "Ready").get("lastHeartbeatTime", "")), sign.seen)
            status = "Unknown"
        if status == "True":
            self._not_ready.discard(name)
        elif name not in self._not_ready:
            self._recorder.say(node, NORMAL, "NodeNotReady", f"Node {name} status is now: NodeNotReady")
            await self._mark_pods(name)
            self._not_ready.add(name)

    async def _mark_pods(self, node: str) -> None:
        for pod in list(self._pods.cache.values()):
            if pod["spec"].get("nodeName") != node or condition(pod, "Ready").get("status") != "True":
                continue
            meta = pod["metadata"]
            patch = {"metadata": {"uid": meta["uid"]}, "status": {"conditions": unready(pod)}}
            try:
                await self._client.patch("pods", meta["name"], patch, meta["namespace"], subresource="status")
            except ApiError as error:
                if not (error.is_not_found or error.is_conflict):
                    raise


def condition(obj: Mapping[str, Any], kind: str) -> Mapping[str, Any]:
    """The condition of this type, empty when there is none."""
    conditions = (obj.get("status") or {}).get("conditions") or ()
    return next((one for one in conditions if one["type"] == kind), {})


def silenced(node: Mapping[str, Any]) -> Object:
    """The conditions of a node that nobody hears from any more, as a status patch."""
    now = rfc3339()
    conditions = list((node.get("status") or {}).get("conditions") or ()) or [{"type": "Ready"}]
    return {
        "conditions": [
            {
                **one,
                "status": "Unknown",
                "reason": UNKNOWN_REASON,
                "message": UNKNOWN_MESSAGE,
                "lastTransitionTime": one.get("lastTransitionTime", now) if one.get("status") == "Unknown" else now,
            }
            for one in conditions
        ]
    }


def unready(pod: Mapping[str, Any]) -> list[Object]:
    """The pod's conditions with Ready at False."""
    return [
        {**one, "status": "False", "reason": "NodeNotReady", "lastTransitionTime": rfc3339()}
        if one["type"] == "Ready"
        else dict(one)
        for one in (pod.get("status") or {}).get("conditions") or ()
    ]
