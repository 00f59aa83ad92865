"""Minions without containers in one process: the real link to the master, the real API, pods that only say they run.

Usage: hollow.py MASTER API COUNT. Prints a line of JSON when all of them are registered, as simulated.py does.
Each follows the pods of its node. A task is a pod: it is bound and its status written by the calls that `km executor`
makes, its updates go to Mesos in their order, each after the one before was acknowledged.
"""

from __future__ import annotations

import asyncio
import base64
import os
import sys
from collections import deque
from collections.abc import Mapping
from typing import Any

import orjson
import simulated
import uvloop

from k8slab.k8sm import mapping
from k8slab.kube.client import ApiError, KubeClient
from k8slab.kube.clock import rfc3339
from k8slab.kube.informer import Informer
from k8slab.mesos.client.detector import MasterDetector

CALLS_AT_ONCE = 32
RESEND_SECONDS = 3.0

Json = dict[str, Any]


class HollowAgent(simulated.Agent):
    """A minion, its executor and its kubelet."""

    def __init__(
        self, number: int, detector: MasterDetector, on_change: Any, client: KubeClient, calls: asyncio.Semaphore
    ) -> None:
        super().__init__(number, detector, on_change)
        self._client = client
        self._calls = calls
        self._node = f"simulated-{number}"
        self._pods: dict[tuple[str, str], Json] = {}
        self._waiting: dict[tuple[str, str], deque[tuple[str, str]]] = {}
        self._jobs: set[asyncio.Task[None]] = set()

    async def run(self) -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(super().run())
            group.create_task(self._resend())
            group.create_task(Informer(self._client, "pods", field_selector=f"spec.nodeName={self._node}").run())

    async def _resend(self) -> None:
        """Updates that nobody has acknowledged, because the framework was away, are told again as agents do."""
        before: set[str] = set()
        while True:
            await asyncio.sleep(RESEND_SECONDS)
            waiting = {task["uuid"]: key for key, task in self._tasks.items() if task["uuid"]}
            for uuid in before & waiting.keys():
                reported = self._tasks[waiting[uuid]]["reported"]
                status = reported["statuses"][-1]
                update = {"type": "UPDATE", "framework_id": {"value": waiting[uuid][0]}, "status": status}
                self._send({**update, "latest_state": reported["state"]})
            before = set(waiting)

    def _heard(self, event: Json) -> None:
        if event["type"] == "KILL_TASK":
            key = (event["framework_id"]["value"], event["task_id"]["value"])
            if key in self._pods:
                self._spawn(self._end(key))
            return
        super()._heard(event)

    def _run(self, event: Json) -> None:
        info, framework = event["task"], event["framework_info"]
        key = (framework["id"]["value"], info["task_id"]["value"])
        self._frameworks[key[0]] = framework
        reported = {
            "framework_id": framework["id"],
            "task_id": info["task_id"],
            "executor_id": info["executor"]["executor_id"],
            "name": info["name"],
            "role": event.get("role", "*"),
            "state": "TASK_STAGING",
            "statuses": [],
            "resources": info["resources"],
        }
        self._tasks[key] = {"reported": reported, "uuid": "", "stays": True}
        self._waiting[key] = deque()
        self._pods[key] = orjson.loads(base64.b64decode(info["data"]))
        self._spawn(self._start(key))

    async def _start(self, key: tuple[str, str]) -> None:
        pod = self._pods[key]
        meta = pod["metadata"]
        async with self._calls:
            await self._client.bind(
                meta["namespace"], meta["name"], self._node, mapping.own_annotations(pod), uid=meta["uid"]
            )
        self._say(key, "TASK_STARTING", mapping.CREATE_BINDING_SUCCESS)
        patch = {"metadata": {"uid": meta["uid"]}, "status": self._status(pod)}
        async with self._calls:
            await self._client.patch("pods", meta["name"], patch, meta["namespace"], subresource="status")
        self._say(key, "TASK_RUNNING", f"{mapping.POD_RUNNING}:{meta['name']}_{meta['namespace']}")

    def _status(self, pod: Mapping[str, Any]) -> Json:
        now = rfc3339()
        address = f"10.{self.number >> 8 & 255}.{self.number & 255}.{len(self._pods) + 1}"
        return {
            "phase": "Running",
            "conditions": [
                {"type": kind, "status": "True", "lastProbeTime": None, "lastTransitionTime": now}
                for kind in ("Initialized", "Ready", "ContainersReady", "PodScheduled")
            ],
            "hostIP": f"10.{self.number >> 16 & 255}.{self.number >> 8 & 255}.{self.number & 255}",
            "podIP": address,
            "podIPs": [{"ip": address}],
            "startTime": now,
            "containerStatuses": [
                {
                    "name": one["name"],
                    "image": one["image"],
                    "imageID": "",
                    "ready": True,
                    "started": True,
                    "restartCount": 0,
                    "state": {"running": {"startedAt": now}},
                    "lastState": {},
                }
                for one in pod["spec"]["containers"]
            ],
        }

    async def _end(self, key: tuple[str, str]) -> None:
        meta = self._pods.pop(key)["metadata"]
        try:
            async with self._calls:
                await self._client.delete(
                    "pods", meta["name"], meta["namespace"], grace_period_seconds=0, uid=meta["uid"]
                )
        except ApiError as error:
            if not (error.is_not_found or error.is_conflict):
                raise
        self._say(key, "TASK_KILLED", mapping.POD_DELETED)

    def _say(self, key: tuple[str, str], state: str, message: str) -> None:
        """Updates of a task wait for the acknowledgement of those before."""
        self._waiting[key].append((state, message))
        if not self._tasks[key]["uuid"]:
            self._update(key, self._waiting[key].popleft()[0])

    def _acknowledged(self, event: Json) -> None:
        key = (event["framework_id"]["value"], event["task_id"]["value"])
        task = self._tasks.get(key)
        if task is None or task["uuid"] != event["uuid"]:
            return
        task["uuid"] = ""
        if task["reported"]["state"] == "TASK_KILLED":
            del self._tasks[key], self._waiting[key]
        elif self._waiting[key]:
            self._update(key, self._waiting[key].popleft()[0])

    def _spawn(self, work: Any) -> None:
        job = asyncio.create_task(work)
        self._jobs.add(job)
        job.add_done_callback(self._done)

    def _done(self, job: asyncio.Task[None]) -> None:
        self._jobs.discard(job)
        if not job.cancelled() and (error := job.exception()) is not None:
            print(f"{self._node}: {error!r}", file=sys.stderr, flush=True)


class HollowCrowd(simulated.Crowd):
    def __init__(self, master: str, api: str, count: int) -> None:
        super().__init__(master, 0)
        # One process for all of them: what is not under way waits here, as it would wait in many queues elsewhere.
        client, calls = KubeClient(api), asyncio.Semaphore(CALLS_AT_ONCE)
        self._count = count
        self._agents = [HollowAgent(number, self._detector, self._changed, client, calls) for number in range(count)]


if __name__ == "__main__":
    # Real minions are machines of their own: they take little processor time from the daemons that are measured.
    os.nice(2)
    uvloop.run(HollowCrowd(sys.argv[1], sys.argv[2], int(sys.argv[3])).run())
