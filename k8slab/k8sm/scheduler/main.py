"""`km scheduler`: the Mesos framework that places Kubernetes pods on Mesos' offers."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from typing import Any

from aiohttp import web

from k8slab import daemon
from k8slab.k8sm.scheduler.framework import Framework
from k8slab.k8sm.scheduler.http import application
from k8slab.k8sm.scheduler.nodes import NodeKeeper
from k8slab.k8sm.scheduler.pods import PodStore
from k8slab.k8sm.scheduler.service import SchedulerService
from k8slab.k8sm.scheduler.settings import Settings, settings
from k8slab.kube.client import KubeClient
from k8slab.kube.events import EventRecorder
from k8slab.mesos.client.scheduler import SchedulerClient

log = logging.getLogger(__name__)


def run(argv: Sequence[str]) -> int:
    flags = settings(argv)
    daemon.configure_logging(flags.verbosity - 1)
    logging.getLogger("kazoo").setLevel(logging.WARNING)
    return daemon.run(lambda stop: Scheduler(flags).serve(stop))


class Scheduler:
    def __init__(self, flags: Settings) -> None:
        self._flags = flags
        self._storing: set[asyncio.Task[None]] = set()

    async def serve(self, stop: asyncio.Event) -> int:
        """Run until ``stop``. Leaves Mesos without a teardown: pods go on, and the next scheduler takes them over."""
        flags = self._flags
        host, _, port = flags.advertised_address.rpartition(":")
        async with KubeClient(flags.api_servers) as client:
            recorder = EventRecorder(client, "k8sm-scheduler", host=flags.hostname)
            service = SchedulerService(client, address=host, port=int(port), framework=flags.framework_name)
            pods = PodStore(client, recorder)
            nodes = NodeKeeper(client, lambda: pods.nodes, period=flags.node_monitor_period)
            work = [
                asyncio.create_task(self._framework(service, pods, nodes), name="framework"),
                asyncio.create_task(recorder.run(), name="events"),
            ]
            stopped = asyncio.create_task(stop.wait())
            done, _ = await asyncio.wait([stopped, *work], return_when=asyncio.FIRST_COMPLETED)
            for task in (stopped, *work):
                task.cancel()
            await asyncio.gather(stopped, *work, return_exceptions=True)
            for task in done - {stopped}:
                task.result()
        return 0

    async def _framework(self, service: SchedulerService, pods: PodStore, nodes: NodeKeeper) -> None:
        following = asyncio.create_task(pods.run(), name="api")
        try:
            kept, _ = await asyncio.gather(service.claim(), pods.synced())
            info = framework_info(self._flags, kept)
            mesos = SchedulerClient(self._flags.master, info)
            framework = Framework(
                self._flags, mesos, pods, nodes, on_subscribed=lambda found: self._subscribed(service, found)
            )
            runner = await self._listen(framework)
            try:
                async with asyncio.TaskGroup() as group:
                    group.create_task(framework.run(), name="framework")
                    group.create_task(nodes.run(), name="nodes")
                    group.create_task(service.run(), name="service")
            finally:
                await mesos.close()
                await runner.cleanup()
        finally:
            following.cancel()

    async def _listen(self, framework: Framework) -> web.AppRunner:
        runner = web.AppRunner(application(framework), access_log=None)
        await runner.setup()
        await web.TCPSite(runner, self._flags.address, self._flags.port, reuse_address=True).start()
        return runner

    def _subscribed(self, service: SchedulerService, framework_id: str) -> None:
        async def store() -> None:
            await service.keep_id(framework_id)
            daemon.notify_ready()

        # Ready only when the id is stored: a scheduler killed right then must come back as the same framework.
        task = asyncio.create_task(store(), name="framework id")
        self._storing.add(task)
        task.add_done_callback(self._storing.discard)


def framework_info(flags: Settings, framework_id: str | None) -> dict[str, Any]:
    info: dict[str, Any] = {
        "user": flags.user,
        "name": flags.framework_name,
        "failover_timeout": flags.failover_timeout,
        "checkpoint": flags.checkpoint,
        "hostname": flags.hostname,
        "webui_url": f"http://{flags.advertised_address}",
        # Partition-aware: an agent out of sight may come back, and its pods with it.
        "capabilities": [{"type": "PARTITION_AWARE"}],
    }
    if flags.role != "*":
        info["role"] = flags.role
    if framework_id:
        info["id"] = {"value": framework_id}
    return info
