"""``km apiserver``: flags, start, readiness, end."""

from __future__ import annotations

import argparse
import asyncio
import logging
import socket
from collections.abc import Sequence
from typing import TYPE_CHECKING

from k8slab import daemon
from k8slab.kube.api.bootstrap import Place, keep
from k8slab.kube.api.flags import parse_flags
from k8slab.kube.api.storage.base import Storage

if TYPE_CHECKING:
    from aiohttp import web

    from k8slab.kube.api.doors import Door

log = logging.getLogger(__name__)

GRACE = 2.0
ANY = ("0.0.0.0", "::", "")


def run(argv: Sequence[str]) -> int:
    flags = parse_flags(argv)
    daemon.configure_logging(1 if flags.verbosity >= 4 else 0)
    return daemon.run(lambda stop: serve(flags, stop))


async def serve(flags: argparse.Namespace, stop: asyncio.Event) -> int:
    """Serve until ``stop``; returns the exit code."""
    from k8slab.kube.api.admission import Admission
    from k8slab.kube.api.allocation import Allocator
    from k8slab.kube.api.cache import Cache
    from k8slab.kube.api.components import Components
    from k8slab.kube.api.discovery import Discovery
    from k8slab.kube.api.doors import open_doors
    from k8slab.kube.api.health import Health
    from k8slab.kube.api.kinds import KINDS
    from k8slab.kube.api.known import Known
    from k8slab.kube.api.legacy.routes import Legacy
    from k8slab.kube.api.lists import Lister
    from k8slab.kube.api.metrics import Metrics
    from k8slab.kube.api.openapi import OpenApi
    from k8slab.kube.api.registry import Registry
    from k8slab.kube.api.resources import Resources
    from k8slab.kube.api.server import ApiServer
    from k8slab.kube.api.verbs import Verbs
    from k8slab.kube.api.version import GIT_VERSION
    from k8slab.kube.streams.takeover import leave_all

    storage = _storage(flags)
    cache = Cache(storage, (kind for kind in KINDS if kind.stored and kind.hub is kind))
    admission = Admission(Known(cache), flags.disabled_plugins, flags.toleration_seconds)
    registry = Registry(storage, cache, Allocator(storage, flags.network), admission)
    address = flags.advertise_address or (_own_address() if flags.host in ANY else flags.host)
    try:
        doors = open_doors(flags, storage, cache, address)
    except ValueError as trouble:
        log.error("%s", trouble)
        return 2
    lister = Lister(storage, cache)
    verbs = Verbs(registry, cache, doors.access, Components.beside(address, flags.servers))
    api = ApiServer(
        resources=Resources(verbs, lister),
        legacy=Legacy(registry, lister, cache),
        discovery=Discovery(KINDS, f"{address}:{flags.bound}"),
        openapi=OpenApi(KINDS, GIT_VERSION),
        health=Health(storage, cache),
        tokens=doors.tokens,
        metrics=Metrics(cache, KINDS),
    )
    fronts, servers = [], []
    for door in doors.doors:
        front = api.protocol_factory(door.gate)
        try:
            servers.append(await _listen(door, front))
        except OSError as trouble:
            log.error("cannot listen on %s:%d: %s", door.host, door.port, trouble)
            return 1
        fronts.append(front)
    place = Place(address, flags.secure_bound or flags.bound, str(flags.network[1]))
    work = [
        asyncio.create_task(cache.run(), name="cache"),
        asyncio.create_task(keep(registry, place, doors.roles, ready=daemon.notify_ready), name="bootstrap"),
    ]
    stopping = asyncio.create_task(stop.wait(), name="stop")
    try:
        done, _ = await asyncio.wait({stopping, *work}, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()
        return 0
    finally:
        for server in servers:
            server.close()
        cache.close_watchers()
        leave_all()
        for task in (*work, stopping):
            task.cancel()
        await asyncio.wait({*work, stopping})
        for front in fronts:
            # A connection that is only kept open has nothing to be waited for.
            front.pre_shutdown()
        await asyncio.gather(*(front.shutdown(GRACE) for front in fronts))
        doors.close()
        await storage.close()


async def _listen(door: Door, front: web.Server) -> asyncio.Server:
    """Raises OSError."""
    loop = asyncio.get_running_loop()
    server = await loop.create_server(front, door.host, door.port, ssl=door.tls, reuse_address=True, backlog=1024)
    log.info("serving on %s:%d%s", door.host, door.port, " with TLS" if door.tls else "")
    return server


def _storage(flags: argparse.Namespace) -> Storage:
    if flags.storage == "memory":
        from k8slab.kube.api.storage.memory import MemoryStorage

        return MemoryStorage()
    from k8slab.kube.api.storage.etcd import EtcdStorage

    return EtcdStorage(flags.servers)


def _own_address() -> str:
    """The address that this machine uses towards others; nothing is sent."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))
            return str(probe.getsockname()[0])
        except OSError:
            return "127.0.0.1"
