"""`km controller-manager`: the process in which the controllers live, over one shared view of the API."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol

from aiohttp import web

from k8slab import daemon
from k8slab.daemon import LAST_PORT, FlagParser, number, whole
from k8slab.kube.client import KubeClient
from k8slab.kube.controllers.cronjobs import CronJobController
from k8slab.kube.controllers.daemonsets import DaemonSetController
from k8slab.kube.controllers.deployments import DeploymentController
from k8slab.kube.controllers.disruption import DisruptionController
from k8slab.kube.controllers.endpoint_mirroring import EndpointMirroring
from k8slab.kube.controllers.endpoint_slices import EndpointSlicesController
from k8slab.kube.controllers.endpoints import EndpointsController
from k8slab.kube.controllers.garbage import GarbageCollector
from k8slab.kube.controllers.informers import SharedInformers
from k8slab.kube.controllers.job_ttl import JobTtl
from k8slab.kube.controllers.jobs import JobController
from k8slab.kube.controllers.namespaces import NamespaceController
from k8slab.kube.controllers.node_lifecycle import NodeLifecycle
from k8slab.kube.controllers.node_taints import NodeTaints
from k8slab.kube.controllers.node_zones import EvictionRates
from k8slab.kube.controllers.owned import Owned
from k8slab.kube.controllers.owned_pods import OwnedPods
from k8slab.kube.controllers.pod_garbage import PodGarbage
from k8slab.kube.controllers.replicasets import ReplicaSetController
from k8slab.kube.controllers.resource_quotas import ResourceQuotaController
from k8slab.kube.controllers.root_ca import RootCaPublisher
from k8slab.kube.controllers.service_accounts import ServiceAccountsController
from k8slab.kube.controllers.statefulsets import StatefulSetController
from k8slab.kube.controllers.taint_eviction import TaintEviction
from k8slab.kube.durations import flag_seconds
from k8slab.kube.events import EventRecorder
from k8slab.kube.leases import Leadership, LeaseSettings, LostLease, add_flags, lease_settings

log = logging.getLogger(__name__)

NAME: Final = "kube-controller-manager"
# Events that were not written yet when the process was asked to end have so many seconds.
LAST_WORDS: Final = 1.0


@dataclass(frozen=True)
class Settings:
    """``node_grace``, ``node_period``: seconds; ``root_ca``: PEM, may be empty; ``lease``: None without election."""

    address: str
    port: int
    master: str
    node_grace: float
    node_period: float
    eviction_rates: EvictionRates
    endpoints_per_slice: int
    ended_pods_kept: int
    quota_period: float
    root_ca: str
    lease: LeaseSettings | None
    verbosity: int


def run(argv: Sequence[str]) -> int:
    flags = settings(argv)
    daemon.configure_logging(flags.verbosity - 1)
    return daemon.run(lambda stop: serve(flags, stop))


def settings(argv: Sequence[str]) -> Settings:
    """Raises SystemExit(2) with one line for flags that are wrong."""
    parser = FlagParser(
        prog="km controller-manager",
        allow_abbrev=False,
        description="Runs the controllers that keep the declared state.",
    )
    parser.flag("address", "the address to serve on", default="0.0.0.0")
    parser.flag("port", "the port to serve on", default="10252")
    parser.flag("master", "the API servers, separated by commas", required=True)
    parser.flag("cloud-provider", 'whose nodes these are: "mesos" (kept by the framework) or empty', default="")
    parser.flag("mesos-master", "as the first versions took it: the framework keeps the nodes of Mesos", default="")
    parser.flag("node-monitor-grace-period", "a node may be silent for so long", default="40s")
    parser.flag("node-monitor-period", "how often nodes are looked at", default="5s")
    parser.flag("node-eviction-rate", "nodes a second that pods leave, of those lost in a healthy zone", default="0.1")
    secondary = "the same in an unhealthy zone with more than --large-cluster-size-threshold nodes, elsewhere none"
    parser.flag("secondary-node-eviction-rate", secondary, default="0.01")
    parser.flag("unhealthy-zone-threshold", "the part of a zone's nodes, lost, that makes it unhealthy", default="0.55")
    parser.flag("large-cluster-size-threshold", "a zone with more nodes than this is large", default="50")
    parser.flag("max-endpoints-per-slice", "a service's slice of endpoints holds so many, up to 1000", default="100")
    ended = "so many pods that have ended are kept, the newest; 0 or -1: all"
    parser.flag("terminated-pod-gc-threshold", ended, default="12500")
    parser.flag("resource-quota-sync-period", "how often what quotas bound is counted anew", default="5m0s")
    parser.flag("root-ca-file", "the certificates by which pods know the API server, PEM")
    add_flags(parser, NAME)
    parser.flag("v", "how much to log", default="0")
    flags = parser.parse_args(list(argv))
    try:
        if flags.cloud_provider not in ("", "mesos"):
            raise ValueError(f"--cloud-provider: {flags.cloud_provider!r} is not known; mesos or nothing is")
        master = ",".join(one if "://" in one else f"http://{one}" for one in flags.master.split(",") if one)
        return Settings(
            address=flags.address,
            port=whole("--port", flags.port, 1, LAST_PORT),
            master=master,
            node_grace=flag_seconds("--node-monitor-grace-period", flags.node_monitor_grace_period),
            node_period=flag_seconds("--node-monitor-period", flags.node_monitor_period, some=True),
            eviction_rates=EvictionRates(
                normal=number("--node-eviction-rate", flags.node_eviction_rate),
                secondary=number("--secondary-node-eviction-rate", flags.secondary_node_eviction_rate),
                unhealthy=number("--unhealthy-zone-threshold", flags.unhealthy_zone_threshold),
                large=whole("--large-cluster-size-threshold", flags.large_cluster_size_threshold),
            ),
            endpoints_per_slice=whole("--max-endpoints-per-slice", flags.max_endpoints_per_slice, 1, 1000),
            ended_pods_kept=whole("--terminated-pod-gc-threshold", flags.terminated_pod_gc_threshold, -1),
            quota_period=flag_seconds("--resource-quota-sync-period", flags.resource_quota_sync_period, some=True),
            root_ca=_certificates(flags.root_ca_file),
            lease=lease_settings(flags),
            verbosity=whole("--v", flags.v),
        )
    except ValueError as error:
        parser.error(str(error))
        raise


def _certificates(path: str | None) -> str:
    try:
        return Path(path).read_text() if path else ""
    except (OSError, UnicodeDecodeError) as trouble:
        raise ValueError(f"--root-ca-file {path}: {trouble}") from None


async def serve(flags: Settings, stop: asyncio.Event) -> int:
    async with KubeClient(flags.master, name=NAME) as client:
        recorder = EventRecorder(client, "controllermanager")
        leadership = Leadership(client, flags.lease, recorder) if flags.lease else None
        runner = web.AppRunner(_application(), access_log=None)
        await runner.setup()
        await web.TCPSite(runner, flags.address, flags.port, reuse_address=True).start()
        stopped = asyncio.create_task(stop.wait())
        work = [
            asyncio.create_task(recorder.run(), name="events"),
            asyncio.create_task(_serve_terms(client, recorder, flags, leadership), name="controllers"),
        ]
        daemon.notify_ready()
        done, _ = await asyncio.wait([stopped, *work], return_when=asyncio.FIRST_COMPLETED)
        for task in (stopped, *work):
            task.cancel()
        await asyncio.gather(stopped, *work, return_exceptions=True)
        if leadership is not None:
            await leadership.release()
            await recorder.drain(LAST_WORDS)
        await runner.cleanup()
        for task in done - {stopped}:
            task.result()
    return 0


async def _serve_terms(
    client: KubeClient, recorder: EventRecorder, flags: Settings, leadership: Leadership | None
) -> None:
    """Control while this process leads; each time anew, knowing nothing of what was true before."""
    if leadership is None:
        await _control(client, recorder, flags)
    while leadership is not None:
        await leadership.lead()
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(_control(client, recorder, flags), name="controllers")
                group.create_task(leadership.hold(), name="lease")
        except* LostLease as lost:
            log.error("leader election lost: %s", lost.exceptions[0])


async def _control(client: KubeClient, recorder: EventRecorder, flags: Settings) -> None:
    informers = SharedInformers(client)
    controllers = _controllers(client, informers, recorder, flags)
    async with asyncio.TaskGroup() as group:
        for name, controller in controllers.items():
            group.create_task(controller.run(), name=name)
        group.create_task(informers.run(), name="informers")


class Controller(Protocol):
    async def run(self) -> None:
        """Keep the declared state until cancelled."""


def _controllers(
    client: KubeClient, informers: SharedInformers, recorder: EventRecorder, flags: Settings
) -> dict[str, Controller]:
    pods = OwnedPods(client, informers, recorder)
    sets = Owned(client, informers, "replicasets")
    revisions = Owned(client, informers, "controllerrevisions")
    lifecycle = NodeLifecycle(client, informers, recorder, grace=flags.node_grace, period=flags.node_period)
    return {
        "nodes": lifecycle,
        "node taints": NodeTaints(client, informers, flags.eviction_rates, lifecycle),
        "taint evictions": TaintEviction(client, informers, recorder),
        "pod garbage": PodGarbage(client, informers, threshold=flags.ended_pods_kept),
        "endpoints": EndpointsController(client, informers),
        "endpoint slices": EndpointSlicesController(client, informers, most=flags.endpoints_per_slice),
        "mirrored endpoints": EndpointMirroring(client, informers),
        "root certificates": RootCaPublisher(client, informers, flags.root_ca),
        "namespaces": NamespaceController(client, informers),
        "accounts": ServiceAccountsController(client, informers),
        "garbage": GarbageCollector(client, informers),
        "cronjobs": CronJobController(client, informers, Owned(client, informers, "jobs"), recorder),
        "jobs": JobController(client, informers, pods, recorder),
        "jobs that have ended": JobTtl(client, informers),
        "daemonsets": DaemonSetController(client, informers, pods, revisions),
        "deployments": DeploymentController(client, informers, recorder, pods, sets),
        "disruption": DisruptionController(client, informers, recorder, pods),
        "replicationcontrollers": ReplicaSetController(client, informers, pods, sets, "replicationcontrollers"),
        "replicasets": ReplicaSetController(client, informers, pods, sets, "replicasets"),
        "resourcequotas": ResourceQuotaController(client, informers, period=flags.quota_period),
        "statefulsets": StatefulSetController(client, informers, pods, revisions),
    }


def _application() -> web.Application:
    async def healthz(request: web.Request) -> web.Response:
        return web.Response(text="ok")

    app = web.Application()
    app.add_routes([web.get("/healthz", healthz)])
    return app
