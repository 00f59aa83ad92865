"""Mesos tasks in, pods out: each task is one pod, bound to this node and given to the kubelet.

The pods outlive this process and the agent. Only the framework (KILL), the API (an object that is gone) and the agent's
SHUTDOWN end them.
"""

from __future__ import annotations

import asyncio
import base64
import logging
from collections.abc import AsyncIterator, Coroutine, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import orjson

from k8slab.k8sm import mapping
from k8slab.k8sm.executor.binding import Binder, NotBound
from k8slab.k8sm.pod_objects import delete_object
from k8slab.kube import clock
from k8slab.kube.client import KubeClient, Object
from k8slab.kube.informer import Informer
from k8slab.kube.kubelet.engine import EngineError, EngineUnavailable
from k8slab.kube.kubelet.kubelet import Kubelet
from k8slab.kube.kubelet.machine import describe_node
from k8slab.kube.kubelet.manifests import is_mirror
from k8slab.kube.kubelet.naming import full_name
from k8slab.kube.kubelet.node_lease import keep_lease
from k8slab.kube.kubelet.static import StaticPods
from k8slab.mesos.client import MesosError
from k8slab.mesos.client.executor import ExecutorClient

log = logging.getLogger(__name__)

COLLECT_PERIOD: Final = 60.0
DEFAULT_GRACE: Final = 30
_NO_DELAY: Final = 2.0

Event = Mapping[str, Any]
Pod = Mapping[str, Any]


@dataclass
class _PodTask:
    id: str
    uid: str
    pod: Object
    running: bool = False
    ending: bool = False


class Executor:
    """``node``: this node's name; ``suicide_timeout``: seconds without pods after which run() returns, 0 for never;
    ``launch_grace``: seconds within which a launched pod must be bound; ``sign_of_life``: seconds between two of the
    node's; ``manifests``: the directory of static pods."""

    def __init__(
        self,
        agent: ExecutorClient,
        client: KubeClient,
        kubelet: Kubelet,
        *,
        node: str,
        suicide_timeout: float,
        launch_grace: float,
        sign_of_life: float,
        manifests: Path | None = None,
    ) -> None:
        self._agent = agent
        self._client = client
        self._kubelet = kubelet
        self._node = node
        self._suicide_timeout = suicide_timeout
        self._launch_grace = launch_grace
        self._sign_of_life = sign_of_life
        self._tasks: dict[str, _PodTask] = {}
        self._by_uid: dict[str, _PodTask] = {}
        self._jobs: set[asyncio.Task[None]] = set()
        self._pods = Informer(client, "pods", field_selector=f"spec.nodeName={node}")
        self._binder = Binder(client, node, self._pods)
        self._changed = asyncio.Event()
        self._static = StaticPods(kubelet, client, manifests, self._pods) if manifests else None

    async def run(self, events: AsyncIterator[Event]) -> None:
        """Serve the agent until it says SHUTDOWN or there was nothing to do for too long."""
        self._pods.subscribe(self._pod_event)
        if self._static is not None:
            # Before anything is collected: their containers may be there already.
            self._static.read()
            self._spawn(self._static.run())
        self._spawn(describe_node(self._client, self._kubelet.engine, self._node))
        self._spawn(keep_lease(self._client, self._node, frequency=self._sign_of_life))
        helpers = [
            asyncio.create_task(self._pods.run(), name="pods"),
            asyncio.create_task(self._collect_forever(), name="collection"),
            asyncio.create_task(self._lonely(), name="suicide"),
        ]
        following = asyncio.create_task(self._follow(events), name="agent events")
        try:
            done, _ = await asyncio.wait([following, *helpers], return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
            if following in done and following.result():
                await self._shut_down()
        finally:
            for task in (following, *helpers, *self._jobs):
                task.cancel()

    def pod_status(self, pod: Pod, status: Object) -> None:
        """The kubelet has computed a new status."""
        task = self._by_uid.get(pod["metadata"]["uid"])
        if task is None or task.ending:
            return
        phase = status["phase"]
        if phase == "Running" and not task.running:
            task.running = True
            self._spawn(self._report_running(task, pod, status))
        elif phase in ("Succeeded", "Failed"):
            task.ending = True
            self._spawn(self._finish(task, phase, str(status.get("message") or status.get("reason") or "")))

    async def _follow(self, events: AsyncIterator[Event]) -> bool:
        """Until this executor is to end; whether its pods are to end with it."""
        async for event in events:
            match event["type"]:
                case "SUBSCRIBED":
                    log.info("subscribed at the agent again")
                case "DISCONNECTED":
                    log.warning("the agent is away; pods go on")
                case "LAUNCH":
                    self._spawn(self._launch(event["launch"]["task"]))
                case "LAUNCH_GROUP":
                    for task in event["launch_group"]["task_group"]["tasks"]:
                        self._spawn(self._launch(task))
                case "KILL":
                    self._spawn(self._kill(event["kill"]))
                case "ERROR":
                    log.error("the agent says: %s", event["error"]["message"])
                case "MESSAGE":
                    message = base64.b64decode(event["message"]["data"])
                    log.warning("the framework says: %s", message.decode(errors="replace"))
                    if message == mapping.HAND_OVER:
                        return False
                case "SHUTDOWN":
                    log.warning("the agent shuts this executor down")
                    return True
        return True

    async def _launch(self, info: Event) -> None:
        task_id = info["task_id"]["value"]
        try:
            pod: Object = orjson.loads(base64.b64decode(info["data"]))
            task = _PodTask(task_id, pod["metadata"]["uid"], pod)
        except (KeyError, ValueError, TypeError) as error:
            log.error("task %s carries no pod: %s", task_id, error)
            await self._update(task_id, "TASK_FAILED", mapping.UNMARSHAL_FAILURE)
            return
        before = self._by_uid.get(task.uid)
        self._tasks[task_id] = self._by_uid[task.uid] = task
        self._changed.set()
        if before is not None:
            # The framework has given the earlier task up, or it would not have launched another one for this pod.
            self._tasks.pop(before.id, None)
            await self._update(before.id, "TASK_KILLED", mapping.SUPERSEDED)
        try:
            async with asyncio.timeout(self._launch_grace):
                bound = await self._binder.bind(pod)
        except (NotBound, TimeoutError) as trouble:
            if self._is_over(task):
                return
            log.warning("task %s: %s", task_id, str(trouble) or "the API did not answer in time")
            self._forget(task)
            await self._update(task_id, "TASK_FAILED", f"{mapping.CREATE_BINDING_FAILURE}: {trouble}")
            return
        if self._is_over(task):
            return
        await self._update(task_id, "TASK_STARTING", mapping.CREATE_BINDING_SUCCESS)
        if self._is_over(task):
            return
        # The task's own spec: it may have host ports filled in that the API's does not have.
        task.pod = {**bound, "kind": "Pod", "apiVersion": "v1", "spec": {**bound["spec"], **pod["spec"]}}
        task.pod["spec"]["nodeName"] = self._node
        known = self._kubelet.workers.get(task.uid)
        self._kubelet.add(task.pod)
        if bound["metadata"].get("deletionTimestamp"):
            await self._end(task, _grace(bound))
        elif known is not None:
            self.pod_status(known.pod, dict(known.pod.get("status") or {"phase": "Pending"}))

    async def _report_running(self, task: _PodTask, pod: Pod, status: Object) -> None:
        result = {"kind": "PodStatusResult", "apiVersion": "v1", "metadata": pod["metadata"], "status": status}
        message = f"{mapping.POD_RUNNING}:{full_name(pod)}"
        await self._update(task.id, "TASK_RUNNING", message, data=orjson.dumps(result))

    async def _finish(self, task: _PodTask, phase: str, why: str) -> None:
        """The pod has ended by itself. The API hears it before Mesos does: then the framework reads a final status."""
        await self._kubelet.flush(10.0)
        self._forget(task)
        if (present := self._present(task.pod)) and present["metadata"].get("deletionTimestamp"):
            # It was deleted while it ended: no other event will bring that up.
            self._spawn(self._clear(present))
        if phase == "Succeeded":
            await self._update(task.id, "TASK_FINISHED", mapping.POD_SUCCEEDED)
        else:
            await self._update(task.id, "TASK_FAILED", f"{mapping.POD_FAILED}: {why}" if why else mapping.POD_FAILED)

    async def _kill(self, kill: Event) -> None:
        task = self._tasks.get(kill["task_id"]["value"])
        if task is None:
            await self._update(kill["task_id"]["value"], "TASK_LOST", mapping.KILL_POD_TASK)
            return
        pod = self._present(task.pod) or task.pod
        grace = _grace(pod)
        if nanoseconds := ((kill.get("kill_policy") or {}).get("grace_period") or {}).get("nanoseconds"):
            grace = int(nanoseconds / 1e9)
        await self._end(task, grace)

    async def _end(self, task: _PodTask, grace: int) -> None:
        """End the pod, then its object, then its task: each step is true when it is told."""
        task.ending = True
        await self._kubelet.kill(task.uid, grace)
        await delete_object(self._client, task.pod)
        if self._tasks.get(task.id) is task:
            self._forget(task)
            await self._update(task.id, "TASK_KILLED", mapping.POD_DELETED)

    async def _shut_down(self) -> None:
        """The agent wants this executor gone and waits a few seconds: all pods end, their objects stay."""
        patience = max(1, int(self._agent.environment.shutdown_grace) - 1)
        ending = [self._kubelet.kill(uid, patience) for uid in list(self._kubelet.workers)]
        await asyncio.gather(*ending)
        for task in list(self._tasks.values()):
            self._forget(task)
            await self._update(task.id, "TASK_KILLED", "executor-shutdown")

    def _pod_event(self, kind: str, pod: Object, old: Object | None) -> None:
        uid = pod["metadata"]["uid"]
        task, worker = self._by_uid.get(uid), self._kubelet.workers.get(uid)
        if worker is None:
            if kind != "DELETED" and task is None and _has_ended(pod) and not is_mirror(pod):
                # An earlier executor ran it. It never runs again, but what it said can still be asked for.
                self._kubelet.add(pod)
                if pod["metadata"].get("deletionTimestamp"):
                    self._spawn(self._clear(pod))
            return
        if kind == "DELETED":
            # Forced out of the API: nobody waits for its grace any more.
            self._spawn(self._end(task, 0) if task else self._kubelet.kill(uid, 0))
        elif pod["metadata"].get("deletionTimestamp") and task is None:
            self._spawn(self._clear(pod))
        else:
            self._kubelet.update(pod)

    async def _clear(self, pod: Pod) -> None:
        """Remove what is left of a pod that has ended before and is now deleted."""
        await self._kubelet.kill(pod["metadata"]["uid"], 0)
        await delete_object(self._client, pod)

    async def _collect_forever(self) -> None:
        """Remove containers that an earlier executor left behind and whose pods are gone from the API."""
        await self._pods.synced()
        while True:
            wanted = {pod["metadata"]["uid"] for pod in self._pods.cache.values()}
            try:
                await self._kubelet.collect(wanted | set(self._by_uid))
            except (EngineError, EngineUnavailable, OSError) as trouble:
                # An executor that ends is an end of all its tasks for Mesos, while their pods run on.
                log.warning("containers not looked through: %s", trouble)
            await asyncio.sleep(COLLECT_PERIOD)

    async def _lonely(self) -> None:
        """Return after the suicide timeout without any pod."""
        while True:
            self._changed.clear()
            busy = bool(self._tasks) or (self._static is not None and self._static.any)
            patience = self._suicide_timeout if self._suicide_timeout and not busy else None
            try:
                await asyncio.wait_for(self._changed.wait(), patience)
            except TimeoutError:
                log.info("no pods for %g s: this executor ends", self._suicide_timeout)
                return

    async def _update(self, task_id: str, state: str, message: str, *, data: bytes | None = None) -> None:
        try:
            await self._agent.update(task_id, state, message=message, data=data)
        except MesosError as error:
            log.warning("the agent refused %s of task %s: %s", state, task_id, error)

    def _present(self, pod: Pod) -> Object | None:
        """The same pod as the API has it."""
        meta = pod["metadata"]
        found = self._pods.cache.get(f"{meta['namespace']}/{meta['name']}")
        return found if found and found["metadata"]["uid"] == meta["uid"] else None

    def _is_over(self, task: _PodTask) -> bool:
        """Whether its end is told or is about to be, as when it was killed before its pod was bound."""
        return task.ending or self._tasks.get(task.id) is not task

    def _forget(self, task: _PodTask) -> None:
        self._tasks.pop(task.id, None)
        if self._by_uid.get(task.uid) is task:
            del self._by_uid[task.uid]
        self._changed.set()

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        job = asyncio.create_task(work)
        self._jobs.add(job)
        job.add_done_callback(self._ended)

    def _ended(self, job: asyncio.Task[None]) -> None:
        self._jobs.discard(job)
        if not job.cancelled() and (error := job.exception()) is not None:
            log.error("executor: %s", error, exc_info=error)


def _has_ended(pod: Pod) -> bool:
    return (pod.get("status") or {}).get("phase") in ("Succeeded", "Failed")


def _grace(pod: Pod) -> int:
    """Seconds that a pod has to its end; what has passed since its deletion, while nobody was here, is gone."""
    meta = pod["metadata"]
    given = meta.get("deletionGracePeriodSeconds", pod["spec"].get("terminationGracePeriodSeconds"))
    grace = DEFAULT_GRACE if given is None else int(given)
    if not (deleted := meta.get("deletionTimestamp")) or not grace:
        return grace
    late = grace - (clock.parse(deleted) - datetime.now(UTC)).total_seconds()
    # Moments in the API are whole seconds: less than that is no delay.
    return grace if late < _NO_DELAY else max(1, int(grace - late))
