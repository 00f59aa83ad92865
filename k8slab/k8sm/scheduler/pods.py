"""The framework's view of the API: pods and nodes as they are, and the few things it writes about pods."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine, Mapping
from typing import Any, Final, Protocol

from k8slab.k8sm import mapping
from k8slab.k8sm.pod_objects import delete_object
from k8slab.k8sm.scheduler.tasks import is_finished
from k8slab.kube.client import ApiError, ApiUnavailable, KubeClient, Object
from k8slab.kube.clock import rfc3339
from k8slab.kube.events import NORMAL, WARNING, EventRecorder
from k8slab.kube.informer import Informer, without_managed_fields
from k8slab.kube.scheduler.census import Census

log = logging.getLogger(__name__)

SCHEDULER_NAME: Final = "default-scheduler"

Pod = Mapping[str, Any]


class PodListener(Protocol):
    def __call__(self, pod: Pod, *, gone: bool) -> None: ...


class PodStore:
    def __init__(self, client: KubeClient, recorder: EventRecorder) -> None:
        self._client = client
        self._recorder = recorder
        self._pods = Informer(client, "pods", trim=without_managed_fields)
        self._nodes = Informer(client, "nodes", trim=without_managed_fields)
        self._services = Informer(client, "services", trim=without_managed_fields)
        self._namespaces = Informer(client, "namespaces", trim=without_managed_fields)
        self._informers = (self._pods, self._nodes, self._services, self._namespaces)
        self.census = Census()
        self._by_uid: dict[str, Object] = {}
        self._by_task: dict[str, str] = {}
        self._listener: PodListener | None = None
        self._complete = False
        self._writes: set[asyncio.Task[None]] = set()
        self._going: set[str] = set()

    @property
    def is_complete(self) -> bool:
        """Whether the API has told all pods once: only then is a pod that is not here no more."""
        return self._complete

    @property
    def nodes(self) -> Mapping[str, Object]:
        return self._nodes.cache

    @property
    def namespaces(self) -> Mapping[str, Mapping[str, str]]:
        """Their labels."""
        return {name: one["metadata"].get("labels") or {} for name, one in self._namespaces.cache.items()}

    def subscribe(self, listener: PodListener, nodes_changed: Callable[[], None]) -> None:
        """``listener``: told every pod that is this scheduler's, at each change; ``nodes_changed()``: any node did."""
        self._listener = listener
        self._services.subscribe(self._service_event)
        self._pods.subscribe(self._pod_event)
        self._nodes.subscribe(lambda kind, node, old: nodes_changed() if _places_change(node, old) else None)

    async def run(self) -> None:
        async with asyncio.TaskGroup() as group:
            for informer in self._informers:
                group.create_task(informer.run())

    async def synced(self) -> None:
        for informer in self._informers:
            await informer.synced()
        self._complete = True

    @property
    def all(self) -> Mapping[str, Object]:
        """Those that are this scheduler's, by uid."""
        return self._by_uid

    def by_uid(self, uid: str) -> Object | None:
        return self._by_uid.get(uid)

    def by_task(self, task: str) -> Object | None:
        """The pod whose annotations speak of this task, as far as the watch has told."""
        return self._by_uid.get(self._by_task.get(task, ""))

    async def fresh_by_task(self) -> Mapping[str, Object]:
        """All pods that have a task, by it, asked from the API now. Raises ApiError and ApiUnavailable."""
        listed = (await self._client.list("pods")).items
        return {task: pod for pod in listed if (task := mapping.annotation(pod, mapping.TASK_ID))}

    def scheduled(self, pod: Pod, node: str) -> None:
        if not pod["spec"].get("nodeName"):
            meta = pod["metadata"]
            message = f"Successfully assigned {meta['namespace']}/{meta['name']} to {node}"
            self._recorder.say(pod, NORMAL, "Scheduled", message)

    def unschedulable(self, pod: Pod, reason: str) -> None:
        """Say why a pod waits: as an event, and as its condition."""
        is_gated = bool(pod["spec"].get("schedulingGates"))
        if not is_gated:
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
            "reason": "SchedulingGated" if is_gated else "Unschedulable",
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
        if not self.is_going(pod["metadata"]["uid"]):
            self._going.add(pod["metadata"]["uid"])
            self._later(self._delete(pod))

    def is_going(self, uid: str) -> bool:
        """Whether the object is being taken away: until the API says that it is gone, it still looks alive."""
        return uid in self._going

    async def _patch_status(self, pod: Pod, status: Object) -> None:
        meta = pod["metadata"]
        # Bound to this version: an executor that binds it meanwhile has the last word.
        patch = {"metadata": {"uid": meta["uid"], "resourceVersion": meta["resourceVersion"]}, "status": status}
        try:
            await self._client.patch("pods", meta["name"], patch, meta["namespace"], subresource="status")
        except (ApiError, ApiUnavailable) as trouble:
            log.info("condition of pod %s/%s not written: %s", meta["namespace"], meta["name"], trouble)

    async def _delete(self, pod: Pod) -> None:
        if not await delete_object(self._client, pod):
            self._going.discard(pod["metadata"]["uid"])

    def _later(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._writes.add(task)
        task.add_done_callback(self._writes.discard)

    def _service_event(self, kind: str, service: Object, old: Object | None) -> None:
        if kind == "DELETED":
            self.census.remove_service(service)
        else:
            self.census.set_service(service)

    def _pod_event(self, kind: str, pod: Object, old: Object | None) -> None:
        if kind == "DELETED" or is_finished(pod):
            self.census.remove(pod["metadata"]["uid"])
        elif pod["spec"].get("nodeName"):
            self.census.place(pod, pod["spec"]["nodeName"])
        if _is_mirror(pod) or not _is_ours(pod):
            return
        uid, task = pod["metadata"]["uid"], mapping.annotation(pod, mapping.TASK_ID)
        if old is not None and (before := mapping.annotation(old, mapping.TASK_ID)) != task:
            self._by_task.pop(before, None)
        if kind == "DELETED":
            self._by_uid.pop(uid, None)
            self._by_task.pop(task, None)
            self._going.discard(uid)
        else:
            self._by_uid[uid] = pod
            if task:
                self._by_task[task] = uid
        if self._listener is not None:
            self._listener(pod, gone=kind == "DELETED")


def _is_ours(pod: Object) -> bool:
    """Whether it is placed or at least run by this framework: what another scheduler has bound needs a task too."""
    return bool(pod["spec"].get("nodeName")) or (pod["spec"].get("schedulerName") or SCHEDULER_NAME) == SCHEDULER_NAME


def _is_mirror(pod: Object) -> bool:
    """Whether it only shows a static pod, which its node's kubelet runs by itself."""
    return "kubernetes.io/config.mirror" in (pod["metadata"].get("annotations") or {})


def _places_change(node: Object, old: Object | None) -> bool:
    """Whether pods that found no place may find one now; a heartbeat is nothing new."""
    if old is None:
        return True
    return (node.get("spec"), node["metadata"].get("labels")) != (old.get("spec"), old["metadata"].get("labels"))
