"""A kubelet without containers: what it is told becomes of pods, it writes into their status."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from k8slab.kube.client import ApiError, KubeClient, Object
from k8slab.kube.clock import rfc3339
from k8slab.kube.controllers.daemon_pods import node_of
from k8slab.kube.informer import Informer, key_of

Fate = Callable[[Object], str]


class Hollow:
    """Of one namespace: binds pods that have no node to the one that they are for, else to ``node`` unless that is
    empty, and gives each the phase that ``fate`` says. A pod that is to be deleted is gone at once, unless
    ``lingers``."""

    def __init__(self, client: KubeClient, namespace: str, *, node: str, fate: Fate) -> None:
        self.client = client
        self.node = node
        self.fate = fate
        self.lingers = False
        self.pods = Informer(client, "pods", namespace=namespace)
        self._namespace = namespace
        self._changed: asyncio.Queue[str] = asyncio.Queue()
        self.pods.subscribe(lambda kind, pod, old: self._changed.put_nowait(key_of(pod)))

    async def run(self) -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(self.pods.run())
            while True:
                key = await self._changed.get()
                try:
                    await self._act(key)
                except ApiError as error:
                    if not (error.is_not_found or error.is_conflict):
                        raise

    def look_again(self) -> None:
        """After ``fate`` has come to say something else."""
        for key in self.pods.cache:
            self._changed.put_nowait(key)

    async def _act(self, key: str) -> None:
        pod = self.pods.cache.get(key)
        if pod is None:
            return
        meta, now = pod["metadata"], pod["status"].get("phase")
        if meta.get("deletionTimestamp"):
            if not self.lingers:
                await self.client.delete("pods", meta["name"], self._namespace, grace_period_seconds=0, uid=meta["uid"])
        elif not pod["spec"].get("nodeName"):
            if node := node_of(pod) or self.node:
                await self.client.bind(self._namespace, meta["name"], node)
        elif now not in ("Succeeded", "Failed") and (phase := self.fate(pod)) != now:
            await self.become(pod, phase)

    async def become(self, pod: Object, phase: str, *, ready: bool | None = None) -> None:
        """Write the phase; a running pod is ready unless told otherwise."""
        meta = pod["metadata"]
        number = int(meta["uid"][:4], 16)
        await self.client.patch(
            "pods",
            meta["name"],
            {"metadata": {"uid": meta["uid"]}, "status": status(phase, number, ready=ready)},
            self._namespace,
            subresource="status",
        )


def status(phase: str, number: int, *, ready: bool | None = None) -> dict[str, Any]:
    is_ready = phase == "Running" if ready is None else ready
    now = rfc3339()
    ended = {"exitCode": int(phase == "Failed"), "startedAt": now, "finishedAt": now}
    state = {"running": {"startedAt": now}} if phase == "Running" else {"terminated": ended}
    container = {"name": "c", "image": "i", "imageID": "", "ready": is_ready, "restartCount": 0, "state": state}
    return {
        "phase": phase,
        "podIP": f"10.1.{number >> 8}.{number & 255}",
        "startTime": now,
        "conditions": [{"type": "Ready", "status": str(is_ready), "lastTransitionTime": now}],
        "containerStatuses": [container] if phase != "Pending" else [],
    }


@asynccontextmanager
async def hollow(
    client: KubeClient, namespace: str, *, node: str = "", fate: Fate = lambda pod: "Running"
) -> AsyncIterator[Hollow]:
    kubelet = Hollow(client, namespace, node=node, fate=fate)
    task = asyncio.create_task(kubelet.run())
    try:
        yield kubelet
    finally:
        task.cancel()
        (outcome,) = await asyncio.gather(task, return_exceptions=True)
        assert isinstance(outcome, asyncio.CancelledError), outcome
