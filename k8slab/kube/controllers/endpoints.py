"""Keeps, for every service that has a selector, the addresses of the pods it selects."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from k8slab.kube.client import ApiError, KubeClient, Object
from k8slab.kube.controllers.informers import SharedInformers
from k8slab.kube.controllers.node_lifecycle import condition
from k8slab.kube.controllers.workqueue import WorkQueue

# Pods of a rollout change in bursts: one write for each burst is enough.
SETTLE: Final = 0.1


@dataclass(frozen=True, order=True)
class Port:
    """``number`` as pods listen on it; ``name`` and ``application`` may be empty."""

    name: str
    number: int
    protocol: str
    application: str = ""

    def written(self) -> Object:
        full = {"name": self.name, "port": self.number, "protocol": self.protocol, "appProtocol": self.application}
        return {key: value for key, value in full.items() if value}


class EndpointsController:
    def __init__(self, client: KubeClient, informers: SharedInformers) -> None:
        self._client = client
        self._services = informers.of("services")
        self._pods = informers.of("pods")
        self._endpoints = informers.of("endpoints")
        self._queue = WorkQueue("endpoints")
        self._services.subscribe(self._service_changed)
        self._pods.subscribe(self._pod_changed)
        self._endpoints.subscribe(self._endpoints_changed)

    async def run(self) -> None:
        await asyncio.gather(self._services.synced(), self._pods.synced(), self._endpoints.synced())
        await self._queue.run(self._sync)

    def _service_changed(self, kind: str, service: Object, old: Object | None) -> None:
        self._queue.add(_key(service))

    def _pod_changed(self, kind: str, pod: Object, old: Object | None) -> None:
        for service in self._services.cache.values():
            if any(selects(service, one) for one in (pod, old) if one is not None):
                self._queue.add_after(_key(service), SETTLE)

    def _endpoints_changed(self, kind: str, endpoints: Object, old: Object | None) -> None:
        if kind == "DELETED" and _key(endpoints) in self._services.cache:
            self._queue.add(_key(endpoints))

    async def _sync(self, key: str) -> None:
        service, present = self._services.cache.get(key), self._endpoints.cache.get(key)
        namespace, _, name = key.partition("/")
        if service is None:
            if present is not None:
                await self._remove(name, namespace)
            return
        if not service["spec"].get("selector") or service["spec"].get("type") == "ExternalName":
            return
        wanted = subsets(service, self._pods.cache.values())
        labels = service["metadata"].get("labels") or {}
        if present is None:
            metadata = {"name": name, "namespace": namespace, "labels": labels}
            await self._client.create("endpoints", {"metadata": metadata, "subsets": wanted}, namespace)
        elif (present.get("subsets") or []) != wanted or (present["metadata"].get("labels") or {}) != labels:
            metadata = {**present["metadata"], "labels": labels}
            await self._client.update("endpoints", {"metadata": metadata, "subsets": wanted})

    async def _remove(self, name: str, namespace: str) -> None:
        try:
            await self._client.delete("endpoints", name, namespace)
        except ApiError as error:
            if not error.is_not_found:
                raise


def selects(service: Mapping[str, Any], pod: Mapping[str, Any]) -> bool:
    selector = service["spec"].get("selector") or {}
    labels = pod["metadata"].get("labels") or {}
    same = service["metadata"].get("namespace") == pod["metadata"].get("namespace")
    return bool(selector) and same and all(labels.get(key) == value for key, value in selector.items())


def subsets(service: Mapping[str, Any], pods: Iterable[Mapping[str, Any]]) -> list[Object]:
    """The endpoints' subsets: one for each set of ports, as named target ports may differ from pod to pod."""
    groups: dict[tuple[Port, ...], dict[str, list[Object]]] = defaultdict(lambda: defaultdict(list))
    publish_all = bool(service["spec"].get("publishNotReadyAddresses"))
    for pod in pods:
        status = pod.get("status") or {}
        over = status.get("phase") in ("Succeeded", "Failed")
        if not selects(service, pod) or not status.get("podIP") or over:
            continue
        if pod["metadata"].get("deletionTimestamp") and not publish_all:
            continue
        ports = ports_of(service, pod)
        if not ports and service["spec"].get("ports"):
            continue
        ready = publish_all or condition(pod, "Ready").get("status") == "True"
        groups[ports]["addresses" if ready else "notReadyAddresses"].append(_address(pod))
    return [
        {
            **{kind: sorted(members, key=lambda one: one["ip"]) for kind, members in sorted(addresses.items())},
            "ports": [port.written() for port in ports],
        }
        for ports, addresses in sorted(groups.items())
    ]


def ports_of(service: Mapping[str, Any], pod: Mapping[str, Any]) -> tuple[Port, ...]:
    """The service's ports as this pod has them, sorted; without named ones that it does not have."""
    result = []
    for port in service["spec"].get("ports") or ():
        protocol = port.get("protocol") or "TCP"
        target = _target(port.get("targetPort") or port["port"], protocol, pod)
        if target is not None:
            result.append(Port(port.get("name") or "", target, protocol, port.get("appProtocol") or ""))
    return tuple(sorted(result))


def _target(target: int | str, protocol: str, pod: Mapping[str, Any]) -> int | None:
    if isinstance(target, int) or target.isdigit():
        return int(target)
    for container in pod["spec"]["containers"]:
        for port in container.get("ports") or ():
            if port.get("name") == target and (port.get("protocol") or "TCP") == protocol:
                return int(port["containerPort"])
    return None


def _address(pod: Mapping[str, Any]) -> Object:
    meta = pod["metadata"]
    target = {"kind": "Pod", "namespace": meta["namespace"], "name": meta["name"], "uid": meta["uid"]}
    return {"ip": pod["status"]["podIP"], "nodeName": pod["spec"].get("nodeName") or "", "targetRef": target}


def _key(obj: Mapping[str, Any]) -> str:
    return f"{obj['metadata']['namespace']}/{obj['metadata']['name']}"
