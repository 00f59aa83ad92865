"""The service under which the scheduler is found, and which keeps its framework id when no etcd was named.

`k8sm-scheduler` in the namespace default has no selector: its endpoints are this process, written again whenever
somebody changed them.
"""

from __future__ import annotations

import asyncio
import logging
from typing import Any, Final

from k8slab.kube.client import ApiError, ApiUnavailable, KubeClient, Object

log = logging.getLogger(__name__)

NAME: Final = "k8sm-scheduler"
NAMESPACE: Final = "default"
LABELS: Final = {"component": "scheduler", "provider": "k8sm"}

FRAMEWORK_ID: Final = "k8s.mesosphere.io/frameworkId"

_PERIOD: Final = 10.0
_RETRY: Final = 1.0
# The service is made at the moment when the id comes.
_SOON: Final = 0.1


class SchedulerService:
    """``address``: where others reach this scheduler; ``cluster_ip``: the service's own, "" for any."""

    def __init__(self, client: KubeClient, *, address: str, port: int, cluster_ip: str = "") -> None:
        self._client = client
        self._address = address
        self._port = port
        self._cluster_ip = cluster_ip

    async def run(self) -> None:
        """Keep service and endpoints as they should be until cancelled."""
        while True:
            try:
                await self._ensure_service()
                await self._ensure_endpoints()
            except (ApiError, ApiUnavailable) as trouble:
                log.info("service %s not refreshed: %s", NAME, trouble)
                await asyncio.sleep(_RETRY)
                continue
            await asyncio.sleep(_PERIOD)

    async def _ensure_service(self) -> Object:
        spec: dict[str, Any] = {"ports": [{"port": self._port, "protocol": "TCP", "targetPort": self._port}]}
        if self._cluster_ip:
            spec["clusterIP"] = self._cluster_ip
        wanted = {"metadata": {"name": NAME, "namespace": NAMESPACE, "labels": LABELS}, "spec": spec}
        service = await self._client.find("services", NAME, NAMESPACE)
        if service is None:
            return await self._client.create("services", wanted, NAMESPACE)
        patch: dict[str, Any] = {}
        labels = service["metadata"].get("labels") or {}
        if any(labels.get(key) != value for key, value in LABELS.items()):
            patch = {"metadata": {"labels": LABELS}}
        if [one["port"] for one in service["spec"]["ports"]] != [self._port]:
            patch["spec"] = {"ports": spec["ports"]}
        return await self._client.patch("services", NAME, patch, NAMESPACE) if patch else service

    async def _ensure_endpoints(self) -> None:
        subsets = [{"addresses": [{"ip": self._address}], "ports": [{"port": self._port, "protocol": "TCP"}]}]
        wanted = {"metadata": {"name": NAME, "namespace": NAMESPACE, "labels": LABELS}, "subsets": subsets}
        present = await self._client.find("endpoints", NAME, NAMESPACE)
        if present is None:
            await self._client.create("endpoints", wanted, NAMESPACE)
            return
        if _addresses(present) != _addresses(wanted):
            await self._client.patch("endpoints", NAME, {"subsets": subsets}, NAMESPACE)


class ServiceAnnotation:
    """The framework id as an annotation of the service: <framework name>=<id>."""

    def __init__(self, client: KubeClient, framework_name: str) -> None:
        self._client = client
        self._framework_name = framework_name

    async def framework_id(self) -> str | None:
        """The id of an earlier life. Waits for the API."""
        while True:
            try:
                service = await self._client.find("services", NAME, NAMESPACE)
                if service is None:
                    return None
                kept = (service["metadata"].get("annotations") or {}).get(FRAMEWORK_ID, "")
                name, _, framework_id = kept.partition("=")
                return framework_id if name == self._framework_name else None
            except ApiUnavailable as trouble:
                log.info("waiting for the API: %s", trouble)
            except ApiError as error:
                log.warning("service %s: %s", NAME, error)
            await asyncio.sleep(_RETRY)

    async def keep_id(self, framework_id: str) -> None:
        """Returns when it is stored."""
        patch = {"metadata": {"annotations": {FRAMEWORK_ID: f"{self._framework_name}={framework_id}"}}}
        while True:
            try:
                await self._client.patch("services", NAME, patch, NAMESPACE)
                return
            except (ApiError, ApiUnavailable) as trouble:
                log.info("framework id not stored yet: %s", trouble)
            await asyncio.sleep(_SOON)


def _addresses(endpoints: Object) -> list[tuple[list[str], list[int]]]:
    return [
        ([one["ip"] for one in subset.get("addresses") or ()], [one["port"] for one in subset.get("ports") or ()])
        for subset in endpoints.get("subsets") or ()
    ]
