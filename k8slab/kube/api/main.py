"""``km apiserver``: flags, start, readiness, end."""

from __future__ import annotations

import argparse
import asyncio
import logging
import socket
from collections.abc import Sequence
from ipaddress import IPv4Network
from typing import Any

from k8slab import daemon
from k8slab.kube.api.bootstrap import Place, keep
from k8slab.kube.api.storage.base import Storage

log = logging.getLogger(__name__)

DESCRIPTION = "Serves the Kubernetes API from objects kept in etcd."
GRACE = 2.0
DEFAULT_RANGE = "10.0.0.0/24"
ANY = ("0.0.0.0", "::", "")


def parse_flags(argv: Sequence[str]) -> argparse.Namespace:
    parser = daemon.FlagParser(prog="km apiserver", description=DESCRIPTION, allow_abbrev=False)
    for name in ("address", "insecure-bind-address"):
        parser.flag(name, "the address to listen on (default 127.0.0.1)")
    for name in ("port", "insecure-port"):
        parser.flag(name, "the port to listen on (default 8080)")
    parser.flag("etcd-servers", "etcd's client addresses: http://host:port, separated by commas")
    for name in ("service-cluster-ip-range", "portal-net"):
        parser.flag(name, "the addresses that services get (default 10.0.0.0/24)")
    parser.flag("advertise-address", "the address at which pods reach this server")
    parser.flag("cloud-provider", "the cloud that the cluster runs on", default="")
    parser.flag("storage", "where objects are kept: etcd or memory", default="etcd")
    parser.flag("v", "how much to log: 0, or more for debugging", default="0")
    flags = parser.parse_args(list(argv))
    flags.host = flags.address or flags.insecure_bind_address or "127.0.0.1"
    given = {
        "--port": (int, flags.port or flags.insecure_port or "8080"),
        "--service-cluster-ip-range": (
            IPv4Network,
            flags.service_cluster_ip_range or flags.portal_net or DEFAULT_RANGE,
        ),
        "--v": (int, flags.v),
    }
    values: dict[str, Any] = {}
    for name, (read, text) in given.items():
        try:
            values[name] = read(text)
        except ValueError as trouble:
            parser.error(f"{name}: {trouble}")
    flags.bound, flags.network, flags.verbosity = values.values()
    if flags.network.num_addresses < 8:
        parser.error(f"the service range {flags.network} is too small: it needs eight addresses")
    if flags.storage not in ("etcd", "memory"):
        parser.error(f"--storage is etcd or memory, not {flags.storage!r}")
    servers = [one for one in (flags.etcd_servers or "").split(",") if one]
    if flags.storage == "etcd" and not servers:
        parser.error("--etcd-servers is required")
    if any(one.startswith("https://") for one in servers):
        parser.error("--etcd-servers: only http:// is spoken")
    flags.servers = servers
    return flags


def run(argv: Sequence[str]) -> int:
    flags = parse_flags(argv)
    daemon.configure_logging(1 if flags.verbosity >= 4 else 0)
    return daemon.run(lambda stop: serve(flags, stop))


async def serve(flags: argparse.Namespace, stop: asyncio.Event) -> int:
    """Serve until ``stop``; returns the exit code."""
    from k8slab.kube.api.allocation import Allocator
    from k8slab.kube.api.cache import Cache
    from k8slab.kube.api.discovery import Discovery
    from k8slab.kube.api.health import Health
    from k8slab.kube.api.kinds import KINDS
    from k8slab.kube.api.lists import Lister
    from k8slab.kube.api.openapi import OpenApi
    from k8slab.kube.api.registry import Registry
    from k8slab.kube.api.resources import Resources
    from k8slab.kube.api.server import ApiServer
    from k8slab.kube.api.version import GIT_VERSION

    storage = _storage(flags)
    cache = Cache(storage, KINDS)
    registry = Registry(storage, cache, Allocator(storage, flags.network))
    address = flags.advertise_address or (_own_address() if flags.host in ANY else flags.host)
    api = ApiServer(
        resources=Resources(registry, Lister(storage, cache), cache),
        discovery=Discovery(KINDS, f"{address}:{flags.bound}"),
        openapi=OpenApi(KINDS, GIT_VERSION),
        health=Health(storage, cache),
    )
    front = api.protocol_factory()
    server = await asyncio.get_running_loop().create_server(
        front, flags.host, flags.bound, reuse_address=True, backlog=1024
    )
    log.info("serving on %s:%d", flags.host, flags.bound)
    place = Place(address, flags.bound, str(flags.network[1]))
    work = [
        asyncio.create_task(cache.run(), name="cache"),
        asyncio.create_task(keep(registry, place, ready=daemon.notify_ready), name="bootstrap"),
    ]
    stopping = asyncio.create_task(stop.wait(), name="stop")
    try:
        done, _ = await asyncio.wait({stopping, *work}, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()
        return 0
    finally:
        server.close()
        cache.close_watchers()
        for task in (*work, stopping):
            task.cancel()
        await asyncio.wait({*work, stopping})
        await front.shutdown(GRACE)
        await storage.close()


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
