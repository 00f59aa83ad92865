"""`km scheduler`: the Mesos framework that places Kubernetes pods on Mesos' offers."""

from __future__ import annotations

import asyncio
import logging
import signal
from collections.abc import Sequence
from typing import Any

from aiohttp import web

from k8slab import daemon
from k8slab.k8sm.scheduler.framework import Framework
from k8slab.k8sm.scheduler.http import Head, application
from k8slab.k8sm.scheduler.nodes import NodeKeeper
from k8slab.k8sm.scheduler.pods import PodStore
from k8slab.k8sm.scheduler.service import SchedulerService, ServiceAnnotation
from k8slab.k8sm.scheduler.settings import Settings, settings
from k8slab.k8sm.scheduler.store import FrameworkStore, IdStore, LostLeadership
from k8slab.kube.api.storage.etcd import EtcdStorage
from k8slab.kube.client import KubeClient
from k8slab.kube.events import EventRecorder
from k8slab.mesos.client.scheduler import SchedulerClient

log = logging.getLogger(__name__)


def run(argv: Sequence[str]) -> int:
    flags = settings(argv)
    daemon.configure_logging(flags.verbosity - 1)
    for library in ("kazoo", "grpc"):
        logging.getLogger(library).setLevel(logging.WARNING)
    return daemon.run(lambda stop: Scheduler(flags).serve(stop))


class Scheduler:
    def __init__(self, flags: Settings) -> None:
        self._flags = flags
        self._storing: set[asyncio.Task[None]] = set()

    async def serve(self, stop: asyncio.Event) -> int:
        """Run until ``stop``. Leaves Mesos without a teardown: pods go on, and the next scheduler takes them over."""
        flags = self._flags
        # As in the original: make way for another one, in good order.
        asyncio.get_running_loop().add_signal_handler(signal.SIGUSR1, stop.set)
        host, _, port = flags.advertised_address.rpartition(":")
        store = None
        if flags.etcd_servers:
            store = FrameworkStore(EtcdStorage(flags.etcd_servers), flags.framework_name, flags.executor.id)
        async with KubeClient(flags.api_servers) as client:
            recorder = EventRecorder(client, "k8sm-scheduler", host=flags.hostname)
            service = SchedulerService(client, address=host, port=int(port), cluster_ip=flags.service_address)
            pods = PodStore(client, recorder)
            nodes = NodeKeeper(
                client, lambda: pods.nodes, period=flags.node_monitor_period, credentials=flags.credentials
            )
            work = [
                asyncio.create_task(self._framework(client, store, service, pods, nodes), name="framework"),
                asyncio.create_task(recorder.run(), name="events"),
            ]
            stopped = asyncio.create_task(stop.wait())
            done, _ = await asyncio.wait([stopped, *work], return_when=asyncio.FIRST_COMPLETED)
            for task in (stopped, *work):
                task.cancel()
            await asyncio.gather(stopped, *work, return_exceptions=True)
            if store is not None:
                await store.close()
            for task in done - {stopped}:
                try:
                    task.result()
                except BaseExceptionGroup as errors:
                    if (lost := errors.subgroup(LostLeadership)) is None:
                        raise
                    log.error("this scheduler ends: %s", _first(lost))
                    return 1
        return 0

    async def _framework(
        self,
        client: KubeClient,
        store: FrameworkStore | None,
        service: SchedulerService,
        pods: PodStore,
        nodes: NodeKeeper,
    ) -> None:
        """Follow the API, stand by until this scheduler leads, and be the framework then."""
        head = Head()
        ids = store or ServiceAnnotation(client, self._flags.framework_name)
        contest = store if self._flags.ha else None
        runner = await self._listen(head)
        following = asyncio.create_task(pods.run(), name="api")
        try:
            await pods.synced()
            if contest is not None:
                daemon.notify_ready()
                await contest.lead()
            mesos = SchedulerClient(
                self._flags.master,
                framework_info(self._flags, await ids.framework_id()),
                credentials=self._flags.credentials,
            )
            head.framework = framework = Framework(
                self._flags, mesos, pods, nodes, on_subscribed=lambda found: self._subscribed(ids, found)
            )
            try:
                async with asyncio.TaskGroup() as group:
                    group.create_task(framework.run(), name="framework")
                    group.create_task(nodes.run(), name="nodes")
                    group.create_task(service.run(), name="service")
                    if contest is not None:
                        group.create_task(contest.hold(), name="leadership")
            finally:
                await mesos.close()
        finally:
            following.cancel()
            await runner.cleanup()

    async def _listen(self, head: Head) -> web.AppRunner:
        runner = web.AppRunner(application(head), access_log=None)
        await runner.setup()
        await web.TCPSite(runner, self._flags.address, self._flags.port, reuse_address=True).start()
        return runner

    def _subscribed(self, ids: IdStore, framework_id: str) -> None:
        async def keep() -> None:
            await ids.keep_id(framework_id)
            daemon.notify_ready()

        # Ready only when the id is stored: a scheduler killed right then must come back as the same framework.
        task = asyncio.create_task(keep(), name="framework id")
        self._storing.add(task)
        task.add_done_callback(self._storing.discard)


def _first(error: BaseException) -> BaseException:
    """The error inside of groups."""
    return _first(error.exceptions[0]) if isinstance(error, BaseExceptionGroup) else error


def framework_info(flags: Settings, framework_id: str | None) -> dict[str, Any]:
    info: dict[str, Any] = {
        "user": flags.user,
        "name": flags.framework_name,
        "failover_timeout": flags.failover_timeout,
        "checkpoint": flags.checkpoint,
        "hostname": flags.hostname,
        "webui_url": flags.web_uri or f"http://{flags.advertised_address}",
        # Partition-aware: an agent out of sight may come back, and its pods with it.
        "capabilities": [{"type": "PARTITION_AWARE"}],
    }
    if flags.role != "*":
        info["role"] = flags.role
    if framework_id:
        info["id"] = {"value": framework_id}
    return info
