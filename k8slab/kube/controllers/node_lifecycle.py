"""Watches the nodes' heartbeats. A node that stays silent for longer than the grace period is no longer known to be
ready, and neither are its pods: they may well run on, but nobody can tell.

A heartbeat is written into a node's status by whoever vouches for it, or into its lease by its own kubelet: one is
enough. Silence is measured here, by when a heartbeat was seen to change: the nodes' own clocks are not trusted. While
the API cannot be read and written, no node can speak, so that such a time is nobody's silence.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

from k8slab.kube.client import ApiError, ApiUnavailable, KubeClient, Object
from k8slab.kube.clock import rfc3339
from k8slab.kube.controllers.informers import SharedInformers
from k8slab.kube.events import NORMAL, EventRecorder

log = logging.getLogger(__name__)

# An answer that took longer than this came from an API in trouble, where the nodes' writes waited as well.
_SLOW: Final = 2.0

LEASES: Final = "kube-node-lease"
UNKNOWN_REASON: Final = "NodeStatusUnknown"
UNKNOWN_MESSAGE: Final = "Kubelet stopped posting node status."


@dataclass(frozen=True)
class _Heartbeat:
    """The time in the node's status, and that in its lease, as they were written; empty for none."""

    status: str
    lease: str


@dataclass(frozen=True)
class _Sign:
    """A node's heartbeat as it was seen last, and when (seconds of ``clock``)."""

    heartbeat: _Heartbeat
    seen: float


class NodeLifecycle:
    """``grace``: seconds of silence that are forgiven; ``period``: seconds between two looks; ``clock``: seconds."""

    def __init__(
        self,
        client: KubeClient,
        informers: SharedInformers,
        recorder: EventRecorder,
        *,
        grace: float,
        period: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._client = client
        self._pods = informers.of("pods")
        self._recorder = recorder
        self._grace = grace
        self._period = period
        self._clock = clock
        self._deaf = True
        self._listening_since = 0.0
        self._signs: dict[str, _Sign] = {}
        self._not_ready: set[str] = set()
        self.silent: frozenset[str] = frozenset()
        """Nodes that were silent for too long at the last look, all of them, also those not marked yet."""

    async def run(self) -> None:
        while True:
            await self.look()
            await asyncio.sleep(self._period)

    async def look(self) -> None:
        """One round over all nodes, as the API has them now."""
        asked = self._clock()
        try:
            nodes = {str(node["metadata"]["name"]): node for node in (await self._client.list("nodes")).items}
            leases = await self._leases()
        except (ApiError, ApiUnavailable) as trouble:
            log.warning("nodes not read: %s; trying again", trouble)
            self._deaf = True
            return
        now = self._clock()
        if self._deaf or now - asked > _SLOW:
            self._listening_since = now
        self._deaf = False
        silence = {
            name: self._silence(name, _heartbeat(node, leases.get(name, {})), now) for name, node in nodes.items()
        }
        self.silent = frozenset(name for name, seconds in silence.items() if seconds > self._grace)
        for name, node in nodes.items():
            try:
                await self._check(name, node, silence[name])
            except ApiUnavailable as trouble:
                log.warning("node %s: %s; trying again", name, trouble)
                self._deaf = True
            except ApiError as error:
                log.warning("node %s: %s; trying again", name, error)
                self._deaf = self._deaf or error.is_temporary
        for name in self._signs.keys() - nodes.keys():
            del self._signs[name]
            self._not_ready.discard(name)

    async def _leases(self) -> dict[str, Object]:
        try:
            listed = await self._client.list("leases", LEASES)
        except ApiError as error:
            if error.is_temporary:
                raise
            # Who may not read them goes by the nodes' own status.
            log.info("leases not read: %s", error)
            return {}
        return {str(lease["metadata"]["name"]): lease for lease in listed.items}

    def _silence(self, name: str, heartbeat: _Heartbeat, now: float) -> float:
        """Seconds since the node was heard, or could have been heard."""
        sign = self._signs.get(name)
        if sign is None or sign.heartbeat != heartbeat:
            sign = self._signs[name] = _Sign(heartbeat, now)
        return now - max(sign.seen, self._listening_since)

    async def _check(self, name: str, node: Object, silence: float) -> None:
        status = condition(node, "Ready").get("status")
        if silence > self._grace and status != "Unknown":
            log.warning("node %s has been silent for %.0f s", name, silence)
            # Of this version: a heartbeat that comes meanwhile has the last word.
            patch = {"metadata": {"resourceVersion": node["metadata"]["resourceVersion"]}, "status": silenced(node)}
            node = await self._client.patch("nodes", name, patch, subresource="status")
            # This write is not a sign of life.
            sign = self._signs[name]
            own = replace(sign.heartbeat, status=_heartbeat(node, {}).status)
            self._signs[name] = replace(sign, heartbeat=own)
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


def _heartbeat(node: Mapping[str, Any], lease: Mapping[str, Any]) -> _Heartbeat:
    status = str(condition(node, "Ready").get("lastHeartbeatTime", ""))
    return _Heartbeat(status, str((lease.get("spec") or {}).get("renewTime") or ""))


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
