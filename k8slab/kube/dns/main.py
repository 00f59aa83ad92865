"""`km dns`: answers for the names of services and pods, from what the API has, and passes all other questions on."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from contextlib import AsyncExitStack
from typing import Final

import dns.exception
import dns.message
from aiohttp import web

from k8slab import daemon
from k8slab.kube.client import KubeClient
from k8slab.kube.dns.flags import Settings, settings
from k8slab.kube.dns.forwarding import Forwarder, Upstreams, exchange
from k8slab.kube.dns.health import application
from k8slab.kube.dns.index import Index
from k8slab.kube.dns.metrics import Metrics
from k8slab.kube.dns.publishing import NAME, NAMESPACE, PORT, Publisher
from k8slab.kube.dns.server import NameServer
from k8slab.kube.informer import Informer, without_managed_fields

log = logging.getLogger(__name__)

RETRY: Final = 0.1


def run(argv: Sequence[str]) -> int:
    flags = settings(argv)
    daemon.configure_logging(flags.verbosity - 1)
    return daemon.run(lambda stop: serve(flags, stop))


class Followed:
    """What the API has of services, and the index that is made of it."""

    def __init__(self, client: KubeClient, index: Index, metrics: Metrics) -> None:
        callbacks = {
            "namespaces": index.namespace_changed,
            "services": index.service_changed,
            "endpoints": index.endpoints_changed,
            "endpointslices": index.slice_changed,
        }
        self.informers = {name: Informer(client, name, trim=without_managed_fields) for name in callbacks}
        for name, callback in callbacks.items():
            self.informers[name].subscribe(callback)
        metrics.names.set_function(lambda: len(index))
        self.synced = False

    async def sync(self) -> None:
        for informer in self.informers.values():
            await informer.synced()
        self.synced = True


async def serve(flags: Settings, stop: asyncio.Event) -> int:
    metrics = Metrics()
    index = Index(flags.domain, f"{NAME}.{NAMESPACE}.svc.{flags.domain}")
    own = [(flags.dns_address, flags.dns_port), (flags.advertised, flags.dns_port), (flags.cluster_ip, PORT)]
    forwarder = Forwarder(Upstreams(flags.name_servers, flags.resolv_conf, own))
    async with AsyncExitStack() as stack:
        client = await stack.enter_async_context(KubeClient(flags.master, name="kube-dns"))
        followed = Followed(client, index, metrics)
        server = NameServer(index, forwarder, metrics, lambda: followed.synced)
        stack.push_async_callback(server.close)
        try:
            await server.start(flags.dns_address, flags.dns_port)
            if flags.port:
                runner = web.AppRunner(
                    application(metrics, lambda: followed.synced), access_log=None, shutdown_timeout=1.0
                )
                await runner.setup()
                stack.push_async_callback(runner.cleanup)
                await web.TCPSite(runner, flags.address, flags.port, reuse_address=True).start()
        except OSError as error:
            log.error("cannot serve: %s", error)
            return 1
        await daemon.work_until(stop, _run(flags, client, followed))
    return 0


async def _run(flags: Settings, client: KubeClient, followed: Followed) -> None:
    async with asyncio.TaskGroup() as group:
        for informer in followed.informers.values():
            group.create_task(informer.run())
        publisher = None
        if flags.cluster_ip:
            publisher = Publisher(
                client,
                address=flags.advertised,
                port=flags.dns_port,
                cluster_ip=flags.cluster_ip,
                answers=lambda address: _is_answered(flags, address),
            )
            publisher.watch(followed.informers["services"], followed.informers["endpoints"])
            group.create_task(publisher.run())
        await followed.sync()
        if publisher is not None:
            await publisher.published.wait()
        await _answered(flags)
        log.info("the names of %s are served at %s:%d", flags.domain, flags.dns_address, flags.dns_port)
        daemon.notify_ready()


async def _answered(flags: Settings) -> None:
    """Return when this server answers over its own socket."""
    here = "127.0.0.1" if flags.dns_address == "0.0.0.0" else flags.dns_address
    while True:
        if await _is_answered(flags, here):
            return
        await asyncio.sleep(RETRY)


async def _is_answered(flags: Settings, address: str) -> bool:
    """Whether the server at an address knows where the API is: the first thing that pods ask."""
    query = dns.message.make_query(f"kubernetes.default.svc.{flags.domain}", "A").to_wire()
    try:
        said = dns.message.from_wire(query[:2] + await exchange((address, flags.dns_port), query[2:]))
    except (OSError, TimeoutError, dns.exception.DNSException) as trouble:
        log.info("%s does not answer: %s", address, str(trouble) or "not in time")
        return False
    return bool(said.answer)
