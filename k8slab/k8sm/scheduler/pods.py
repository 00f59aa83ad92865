"""The framework's view of the API: pods and nodes as they are, and the few things it writes about pods."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine, Mapping
from typing import Any, Final, Protocol

from k8slab.kube.client import ApiError, ApiUnavailable, KubeClient, Object
from k8slab.kube.clock import rfc3339
from k8slab.kube.events import NORMAL, WARNING, EventRecorder
from k8slab.kube.informer import Informer

log = logging.getLogger(__name__)

SCHEDULER_NAME: Final = "default-scheduler"

_RETRY: Final = 0.5
_LONGEST_RETRY: Final = 4.0

Pod = Mapping[str, Any]


class PodListener(Protocol):
    def __call__(self, pod: Pod, *, gone: bool) -> None: ...


class PodStore:
    def __init__(self, client: KubeClient, recorder: EventRecorder) -> None:
        self._client = client
        self._recorder = recorder
        self._pods = Informer(client, "pods")
        self._nodes = Informer(client, "nodes")
        self._by_uid: dict[str, Object] = {}
        self._listener: PodListener | None = None
        self._complete = False
        self._writes: set[asyncio.Task[None]] = set()

    @property
    def is_complete(self) -> bool:
        """Whether the API has told all pods once: only then is a pod that is not here no more."""
        return self._complete

    @property
    def nodes(self) -> Mapping[str, Object]:
        return self._nodes.cache

    def subscribe(self, listener: PodListener, nodes_changed: Any) -> None:
        """``listener``: told every pod that is this scheduler's, at each change; ``nodes_changed()``: any node did."""
        self._listener = listener
        self._pods.subscribe(self._pod_event)
        self._nodes.subscribe(lambda kind, node, old: nodes_changed() if kind != "MODIFIED" else None)

    async def run(self) -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(self._pods.run(), name="pods")
            group.create_task(self._nodes.run(), name="nodes")

    async def synced(self) -> None:
        await self._pods.synced()
        await self._nodes.synced()
        self._complete = True

    def by_uid(self, uid: str) -> Object | None:
        return self._by_uid.get(uid)

    async def fresh(self) -> list[Object]:
        """All pods, asked from the API now; the last known when it is away."""
        try:
            return (await self._client.list("pods")).items
        except (ApiError, ApiUnavailable) as trouble:
            log.warning("pods not listed: %s", trouble)
            return list(self._by_uid.values())

    def scheduled(self, pod: Pod, node: str) -> None:
        if not pod["spec"].get("nodeName"):
            meta = pod["metadata"]
            message = f"Successfully assigned {meta['namespace']}/{meta['name']} to {node}"
            self._recorder.say(pod, NORMAL, "Scheduled", message)

    def unschedulable(self, pod: Pod, reason: str) -> None:
        """Say why a pod waits: as an event, and as its condition."""
        self._recorder.say(pod, WARNING, "FailedScheduling", reason)
        if pod["spec"].get("nodeName"):
            return
        conditions = (pod.get("status") or {}).get("conditions") or []
        old: Mapping[str, Any] = next((one for one in conditions if one["type"] == "PodScheduled"), {})
        if (old.get("status"), old.get("message")) == ("False", reason):
            return
        condition = {
            "type": "PodScheduled",
            "status": "False",
            "reason": "Unschedulable",
            "message": reason,
            "lastProbeTime": None,
            "lastTransitionTime": old.get("lastTransitionTime") or rfc3339(),
        }
        others = [one for one in conditions if one["type"] != "PodScheduled"]
        self._later(self._patch_status(pod, {"conditions": [*others, condition]}))

    def say_warning(self, pod: Pod, reason: str, message: str) -> None:
        self._recorder.say(pod, WARNING, reason, message)

    def delete(self, pod: Pod) -> None:
        """Take the object away at once; nothing of it runs any more."""
        self._later(self._delete(pod))

    async def _patch_status(self, pod: Pod, status: Object) -> None:
        meta = pod["metadata"]
        # Bound to this version: an executor that binds it meanwhile has the last word.
        patch = {"metadata": {"uid": meta["uid"], "resourceVersion": meta["resourceVersion"]}, "status": status}
        try:
            await self._client.patch("pods", meta["name"], patch, meta["namespace"], subresource="status")
        except (ApiError, ApiUnavailable) as trouble:
            log.info("condition of pod %s/%s not written: %s", meta["namespace"], meta["name"], trouble)

    async def _delete(self, pod: Pod) -> None:
        meta, pause = pod["metadata"], _RETRY
        while True:
            try:
                await self._client.delete(
                    "pods", meta["name"], meta["namespace"], grace_period_seconds=0, uid=meta["uid"]
                )
                return
            except ApiError as error:
                if not error.is_temporary:
                    if not (error.is_not_found or error.is_conflict):
                        log.warning("pod %s/%s not deleted: %s", meta["namespace"], meta["name"], error)
                    return
                log.info("pod %s/%s waits for its end: %s", meta["namespace"], meta["name"], error)
            except ApiUnavailable as trouble:
                log.info("pod %s/%s waits for its end: %s", meta["namespace"], meta["name"], trouble)
            await asyncio.sleep(pause)
            pause = min(pause * 2, _LONGEST_RETRY)

    def _later(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._writes.add(task)
        task.add_done_callback(self._writes.discard)

    def _pod_event(self, kind: str, pod: Object, old: Object | None) -> None:
        if (pod["spec"].get("schedulerName") or SCHEDULER_NAME) != SCHEDULER_NAME:
            return
        if kind == "DELETED":
            self._by_uid.pop(pod["metadata"]["uid"], None)
        else:
            self._by_uid[pod["metadata"]["uid"]] = pod
        if self._listener is not None:
            self._listener(pod, gone=kind == "DELETED")
