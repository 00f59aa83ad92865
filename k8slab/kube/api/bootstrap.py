"""What the server makes for itself and keeps: the first namespaces, and the service by which pods find it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from k8slab.kube.api.auth import policy
from k8slab.kube.api.errors import ApiFailure
from k8slab.kube.api.kind import Kind
from k8slab.kube.api.kinds.namespace import NAMESPACE
from k8slab.kube.api.kinds.rbac import CLUSTER_ROLE, CLUSTER_ROLE_BINDING
from k8slab.kube.api.kinds.scheduling import BUILT_IN, PRIORITY_CLASS
from k8slab.kube.api.kinds.service import ENDPOINTS, SERVICE
from k8slab.kube.api.meta import Object
from k8slab.kube.api.registry import Registry
from k8slab.kube.api.storage.base import StorageUnavailable, Write

log = logging.getLogger(__name__)

NAMESPACES: Final = ("default", "kube-node-lease", "kube-public", "kube-system")
SERVICE_NAME: Final = "kubernetes"
SERVICE_PORT: Final = 443
KEEP_EVERY: Final = 15.0
FIRST_PAUSE: Final = 0.3
LEASES: Final = "/registry/masterleases/"
LEASE_SECONDS: Final = 30
LABELS: Final = {"component": "apiserver", "provider": "kubernetes"}


@dataclass(frozen=True)
class Place:
    """Where the server is: the address and port that pods reach, and the first address of the service range."""

    address: str
    port: int
    service_address: str


async def prepare(registry: Registry, place: Place, roles: bool) -> None:
    """Make what is missing."""
    for name in NAMESPACES:
        await _ensure(registry, NAMESPACE, {"metadata": {"name": name}})
    if roles:
        for role in policy.cluster_roles():
            await _ensure(registry, CLUSTER_ROLE, role)
        for binding in policy.cluster_role_bindings():
            await _ensure(registry, CLUSTER_ROLE_BINDING, binding)
    for name, value in BUILT_IN.items():
        await _ensure(registry, PRIORITY_CLASS, {"metadata": {"name": name}, "value": value})
    await _ensure_service(registry, place)
    await _ensure_endpoints(registry, place)


async def keep(registry: Registry, place: Place, roles: bool, *, ready: Callable[[], None]) -> None:
    """Call ``ready`` when everything is there, and repair for ever what somebody removes or changes."""
    await registry.cache.loaded.wait()
    pause = FIRST_PAUSE
    told = False
    while True:
        try:
            await prepare(registry, place, roles)
            pause = KEEP_EVERY
            if not told:
                told = True
                ready()
        except (ApiFailure, StorageUnavailable) as trouble:
            log.warning("keeping the %s service: %s", SERVICE_NAME, trouble)
        await asyncio.sleep(pause)


async def _ensure(registry: Registry, kind: Kind, obj: Object) -> None:
    if kind.key("", obj["metadata"]["name"]) not in registry.cache.of(kind).entries:
        await _create(registry, kind, "", obj)


async def _ensure_service(registry: Registry, place: Place) -> None:
    if SERVICE.key("default", SERVICE_NAME) in registry.cache.of(SERVICE).entries:
        return
    ports = [{"name": "https", "port": SERVICE_PORT, "protocol": "TCP", "targetPort": place.port}]
    spec = {"type": "ClusterIP", "clusterIP": place.service_address, "ports": ports, "sessionAffinity": "None"}
    await _create(
        registry, SERVICE, "default", {"metadata": {"name": SERVICE_NAME, "labels": dict(LABELS)}, "spec": spec}
    )


async def _ensure_endpoints(registry: Registry, place: Place) -> None:
    """The endpoints are the servers that live: each keeps a key that outlives it only shortly."""
    await registry.storage.commit((), (Write(LEASES + place.address, b"{}", ttl=LEASE_SECONDS),))
    page = await registry.storage.page(LEASES)
    addresses = [{"ip": ip} for ip in sorted({record.key.removeprefix(LEASES) for record in page.records})]
    subsets = [{"addresses": addresses, "ports": _ports(place.port)}]
    entry = registry.cache.of(ENDPOINTS).entries.get(ENDPOINTS.key("default", SERVICE_NAME))
    if entry is None:
        await _create(registry, ENDPOINTS, "default", {"metadata": {"name": SERVICE_NAME}, "subsets": subsets})
    elif entry.obj.get("subsets") != subsets:
        await registry.change(ENDPOINTS, "default", SERVICE_NAME, lambda old: {**old, "subsets": subsets})


def _ports(port: int) -> list[dict[str, Any]]:
    return [{"name": "https", "port": port, "protocol": "TCP"}]


async def _create(registry: Registry, kind: Kind, namespace: str, obj: Object) -> None:
    try:
        await registry.create(kind, namespace, obj)
    except ApiFailure as failure:
        if failure.reason != "AlreadyExists":
            raise
