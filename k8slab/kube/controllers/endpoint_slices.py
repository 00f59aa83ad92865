"""Keeps, for every service that has a selector, slices of the addresses of the pods it selects.

What a slice holds of what is wanted stays where it is: those who watch slices are told of what changed and no more.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from k8slab.kube.client import ApiError, KubeClient, Object
from k8slab.kube.controllers.endpoints import SETTLE, Port, ports_of, selects
from k8slab.kube.controllers.informers import SharedInformers
from k8slab.kube.controllers.node_lifecycle import condition
from k8slab.kube.controllers.owned import controller_reference
from k8slab.kube.controllers.workqueue import WorkQueue
from k8slab.kube.informer import key_of

MANAGED_BY: Final = "endpointslice.kubernetes.io/managed-by"
MANAGER: Final = "endpointslice-controller.k8s.io"
SERVICE_NAME: Final = "kubernetes.io/service-name"
HEADLESS: Final = "service.kubernetes.io/headless"
ZONE: Final = "topology.kubernetes.io/zone"
OVER: Final = ("Succeeded", "Failed")

Ports = tuple[Port, ...]


@dataclass(frozen=True)
class Head:
    """Of what the slices are: ``name`` they begin with, and whose they are."""

    name: str
    labels: Mapping[str, str]
    owner: Object


@dataclass(frozen=True)
class Changes:
    create: list[Object]
    update: list[Object]
    delete: list[Object]


class EndpointSlicesController:
    """``most``: endpoints in one slice."""

    def __init__(self, client: KubeClient, informers: SharedInformers, *, most: int) -> None:
        self._client = client
        self._most = most
        self._services = informers.of("services")
        self._pods = informers.of("pods")
        self._nodes = informers.of("nodes")
        self._slices = informers.of("endpointslices")
        self._queue = WorkQueue("endpoint slices")
        self._services.subscribe(self._service_changed)
        self._pods.subscribe(self._pod_changed)
        self._slices.subscribe(self._slice_changed)

    async def run(self) -> None:
        await asyncio.gather(*(one.synced() for one in (self._services, self._pods, self._nodes, self._slices)))
        await self._queue.run(self._sync)

    def _service_changed(self, kind: str, service: Object, old: Object | None) -> None:
        self._queue.add(key_of(service))

    def _pod_changed(self, kind: str, pod: Object, old: Object | None) -> None:
        for key, service in self._services.cache.items():
            if any(selects(service, one) for one in (pod, old) if one is not None):
                self._queue.add_after(key, SETTLE)

    def _slice_changed(self, kind: str, found: Object, old: Object | None) -> None:
        labels = found["metadata"].get("labels") or {}
        if labels.get(MANAGED_BY) == MANAGER and SERVICE_NAME in labels:
            self._queue.add_after(f"{found['metadata']['namespace']}/{labels[SERVICE_NAME]}", SETTLE)

    async def _sync(self, key: str) -> None:
        service = self._services.cache.get(key)
        # Slices of a service that is gone go by their owner reference.
        if service is None or service["metadata"].get("deletionTimestamp"):
            return
        if not service["spec"].get("selector") or service["spec"].get("type") == "ExternalName":
            return
        meta = service["metadata"]
        # Asked of the server: a slice made a moment ago must not be made again.
        own = f"{SERVICE_NAME}={meta['name']},{MANAGED_BY}={MANAGER}"
        present = (await self._client.list("endpointslices", meta["namespace"], label_selector=own)).items
        zones = {name: (node["metadata"].get("labels") or {}).get(ZONE, "") for name, node in self._nodes.cache.items()}
        wanted = endpoints(service, self._pods.cache.values(), zones)
        await carry_out(self._client, meta["namespace"], reconcile(head_of(service), present, wanted, self._most))


async def carry_out(client: KubeClient, namespace: str, changes: Changes) -> None:
    for one in changes.create:
        await client.create("endpointslices", one, namespace)
    for one in changes.update:
        await client.update("endpointslices", one)
    for one in changes.delete:
        meta = one["metadata"]
        try:
            await client.delete("endpointslices", meta["name"], namespace, uid=meta["uid"])
        except ApiError as error:
            if not error.is_not_found:
                raise


def endpoints(
    service: Mapping[str, Any], pods: Iterable[Mapping[str, Any]], zones: Mapping[str, str]
) -> dict[Ports, list[Object]]:
    """The service's endpoints by the ports they have, in the order of their addresses; ``zones`` by node."""
    found: dict[Ports, list[Object]] = defaultdict(list)
    for pod in pods:
        status = pod.get("status") or {}
        if not selects(service, pod) or not status.get("podIP") or status.get("phase") in OVER:
            continue
        ports = ports_of(service, pod)
        if ports or not service["spec"].get("ports"):
            found[ports].append(endpoint(service, pod, zones.get(pod["spec"].get("nodeName") or "", "")))
    # A service without any endpoint has one empty slice, which says so.
    return {ports: sorted(some, key=lambda one: one["addresses"]) for ports, some in found.items()} or {(): []}


def endpoint(service: Mapping[str, Any], pod: Mapping[str, Any], zone: str) -> Object:
    meta, spec = pod["metadata"], pod["spec"]
    serving = condition(pod, "Ready").get("status") == "True"
    terminating = bool(meta.get("deletionTimestamp"))
    publish_all = bool(service["spec"].get("publishNotReadyAddresses"))
    conditions = {
        "ready": publish_all or (serving and not terminating),
        "serving": serving,
        "terminating": terminating,
    }
    target = {"kind": "Pod", "namespace": meta["namespace"], "name": meta["name"], "uid": meta["uid"]}
    made: Object = {"addresses": [pod["status"]["podIP"]], "conditions": conditions, "targetRef": target}
    named = spec.get("hostname") and spec.get("subdomain") == service["metadata"]["name"]
    optional = {"nodeName": spec.get("nodeName"), "zone": zone, "hostname": spec.get("hostname") if named else ""}
    return {**made, **{key: text for key, text in optional.items() if text}}


def reconcile(head: Head, present: Sequence[Object], wanted: Mapping[Ports, list[Object]], most: int) -> Changes:
    """What makes the slices that are there hold what is wanted, with as few of them changed as can be."""
    changes = Changes([], [], [])
    by_ports: dict[Ports, list[Object]] = defaultdict(list)
    for one in present:
        if one.get("addressType") == "IPv4" and not one["metadata"].get("deletionTimestamp"):
            by_ports[_ports_of_slice(one)].append(one)
        else:
            changes.delete.append(one)
    for ports in {**by_ports, **wanted}:
        _fill(changes, head, ports, by_ports.get(ports, []), wanted.get(ports), most)
    return changes


def _fill(
    changes: Changes,
    head: Head,
    ports: Ports,
    present: Sequence[Object],
    wanted: list[Object] | None,
    most: int,
) -> None:
    left = {_identity(one): one for one in wanted or ()}
    kept = {
        one["metadata"]["name"]: [
            left.pop(_identity(end)) for end in one.get("endpoints") or () if _identity(end) in left
        ]
        for one in present
    }
    new = list(left.values())
    # Into those that change anyway first, the fullest first of all.
    for one in sorted(present, key=lambda one: (not _differs(one, kept, head), -len(kept[one["metadata"]["name"]]))):
        held = kept[one["metadata"]["name"]]
        room = max(most - len(held), 0)
        held += new[:room]
        new = new[room:]
    empty_one = wanted == []
    for one in present:
        held = kept[one["metadata"]["name"]]
        if not held and not empty_one:
            changes.delete.append(one)
            continue
        empty_one = empty_one and bool(held)
        if _differs(one, kept, head):
            metadata = {**one["metadata"], "labels": dict(head.labels)}
            changes.update.append({**one, "metadata": metadata, "endpoints": held})
    while new or empty_one:
        changes.create.append(_slice(head, ports, new[:most]))
        new, empty_one = new[most:], False


def _differs(one: Object, kept: Mapping[str, list[Object]], head: Head) -> bool:
    meta = one["metadata"]
    return (one.get("endpoints") or []) != kept[meta["name"]] or (meta.get("labels") or {}) != head.labels


def _identity(one: Mapping[str, Any]) -> tuple[str, ...]:
    return (*one["addresses"], (one.get("targetRef") or {}).get("uid", ""))


def _ports_of_slice(one: Mapping[str, Any]) -> Ports:
    return tuple(
        sorted(
            Port(port.get("name") or "", port.get("port") or 0, port["protocol"], port.get("appProtocol") or "")
            for port in one.get("ports") or ()
        )
    )


def head_of(service: Mapping[str, Any]) -> Head:
    """Slices have the service's own labels, and those by which they are found."""
    meta = service["metadata"]
    headless = {HEADLESS: ""} if service["spec"].get("clusterIP") == "None" else {}
    labels = {**own_labels(service), **headless, SERVICE_NAME: meta["name"], MANAGED_BY: MANAGER}
    return Head(meta["name"], labels, controller_reference({**service, "apiVersion": "v1", "kind": "Service"}))


def own_labels(obj: Mapping[str, Any]) -> dict[str, str]:
    reserved = {MANAGED_BY, SERVICE_NAME, HEADLESS}
    return {key: text for key, text in (obj["metadata"].get("labels") or {}).items() if key not in reserved}


def _slice(head: Head, ports: Ports, held: list[Object]) -> Object:
    metadata = {"generateName": f"{head.name}-", "labels": dict(head.labels), "ownerReferences": [head.owner]}
    written = [{"name": "", **port.written()} for port in ports]
    return {"metadata": metadata, "addressType": "IPv4", "endpoints": held, "ports": written}
