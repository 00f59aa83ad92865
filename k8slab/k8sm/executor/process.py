"""The executor's process: agent on one side, kubelet on the other, the kubelet's API on its port."""

from __future__ import annotations

import asyncio
import base64
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from aiohttp import web

from k8slab.k8sm import static_pods
from k8slab.k8sm.executor.executor import Executor
from k8slab.k8sm.executor.settings import Settings
from k8slab.kube.client import KubeClient
from k8slab.kube.kubelet.engine import Engine
from k8slab.kube.kubelet.kubelet import Kubelet
from k8slab.kube.kubelet.resolver import DnsConfig
from k8slab.kube.kubelet.server import application
from k8slab.mesos.client.executor import ExecutorClient

log = logging.getLogger(__name__)


async def serve(flags: Settings, environ: Mapping[str, str], stop: asyncio.Event) -> int:
    """Run until ``stop``, the agent's SHUTDOWN or the suicide timeout. On ``stop`` the pods are left running."""
    try:
        agent = ExecutorClient.from_environment(environ)
    except KeyError as missing:
        log.error("%s is not set: this program is started by a Mesos agent", missing.args[0])
        return 2
    address = flags.address or agent.environment.agent_endpoint.rpartition(":")[0]
    engine = Engine(flags.docker_endpoint)
    executor: Executor | None = None
    runner: web.AppRunner | None = None
    background: list[asyncio.Task[None]] = []
    stopped = asyncio.create_task(stop.wait())
    try:
        async with KubeClient(flags.api_servers) as client:
            first = asyncio.create_task(_first_event(agent))
            await asyncio.wait([first, stopped], return_when=asyncio.FIRST_COMPLETED)
            if not first.done() or (subscribed := first.result()) is None:
                first.cancel()
                return 0
            events, event = subscribed
            node = flags.hostname or event["subscribed"]["agent_info"]["hostname"]
            kubelet = Kubelet(
                client,
                engine,
                node=node,
                address=address,
                image_store=flags.images,
                infra_image=flags.infra_image,
                root=flags.root,
                dns=DnsConfig(
                    tuple(filter(None, flags.cluster_dns.split(","))), flags.cluster_domain, flags.resolv_conf
                ),
                on_status=lambda pod, status: executor.pod_status(pod, status) if executor else None,
            )
            executor = Executor(
                agent,
                client,
                kubelet,
                node=node,
                suicide_timeout=flags.suicide_timeout,
                launch_grace=flags.launch_grace,
                sign_of_life=flags.node_status_update_frequency,
                manifests=flags.manifests or _static_pods(event["subscribed"]["executor_info"]),
            )
            runner = web.AppRunner(application(kubelet), access_log=None, shutdown_timeout=1.0)
            await runner.setup()
            await web.TCPSite(runner, address, flags.port, reuse_address=True).start()
            log.info("the kubelet of %s serves on %s:%d", node, address, flags.port)
            work = asyncio.create_task(executor.run(events), name="executor")
            background = [work, asyncio.create_task(kubelet.run(), name="kubelet")]
            await asyncio.wait([stopped, *background], return_when=asyncio.FIRST_COMPLETED)
            if not stopped.done() and background[1].done():
                background[1].result()
            work.cancel()
            await asyncio.gather(work, return_exceptions=True)
            # The kubelet's own writers do it: they must live until it is done.
            if not background[1].done():
                await kubelet.flush(2.0)
            background[1].cancel()
            await asyncio.gather(*background, return_exceptions=True)
            if work.done() and not work.cancelled():
                work.result()
            return 0
    finally:
        stopped.cancel()
        for task in background:
            task.cancel()
        if runner is not None:
            await runner.cleanup()
        await agent.close()
        await engine.close()


def _static_pods(info: Mapping[str, Any]) -> Path:
    """The directory with the static pods that the framework sent. With none sent it is not there: then those that an
    earlier executor ran have no file any more."""
    directory = Path.cwd() / static_pods.DIRECTORY
    if data := info.get("data"):
        static_pods.unpack(base64.b64decode(data), directory)
    return directory


async def _first_event(agent: ExecutorClient) -> tuple[Any, Mapping[str, Any]] | None:
    """The stream of events and its first SUBSCRIBED, which names the node; None when the agent wants no executor."""
    events = agent.events()
    async for event in events:
        if event["type"] == "SUBSCRIBED":
            return events, event
        if event["type"] == "SHUTDOWN":
            return None
    return None
