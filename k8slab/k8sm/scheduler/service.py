"""The service under which the scheduler is found, and in whose annotation its framework id outlives it.

`k8sm-scheduler` in the namespace default has no selector: its endpoints are this process, written again whenever
somebody changed them.
"""

from __future__ import annotations

import asyncio
import logging
from typing import Any, Final

from k8slab.k8sm import mapping
from k8slab.kube.client import ApiError, ApiUnavailable, KubeClient, Object

log = logging.getLogger(__name__)

NAME: Final = "k8sm-scheduler"
NAMESPACE: Final = "default"
LABELS: Final = {"component": "scheduler", "provider": "k8sm"}

_PERIOD: Final = 10.0
_RETRY: Final = 0.25
_LONGEST_RETRY: Final = 2.0


class SchedulerService:
    """``address``: where others reach this scheduler; ``framework``: its name, which the kept id belongs to."""

    def __init__(self, client: KubeClient, *, address: str, port: int, framework: str) -> None:
        self._client = client
        self._address = address
        self._port = port
        self._framework = framework
        self._id: str | None = None

    async def claim(self) -> str | None:
        """Make sure that the service exists; the framework id of an earlier life, or None. Waits for the API."""
        pause = _RETRY
        while True:
            try:
                service = await self._ensure_service()
                kept = mapping.annotation(service, mapping.FRAMEWORK_ID)
                name, _, framework_id = kept.partition("=")
                self._id = framework_id if name == self._framework else None
                return self._id or None
            except ApiUnavailable as trouble:
                log.info("waiting for the API: %s", trouble)
            except ApiError as error:
                log.warning("service %s: %s", NAME, error)
            await asyncio.sleep(pause)
            pause = min(pause * 1.5, _LONGEST_RETRY)

    async def keep_id(self, framework_id: str | None) -> None:
        """Remember the id from now on, None to forget it. Returns when it is stored."""
        self._id = framework_id
        while True:
            try:
                await self._ensure_service()
                return
            except (ApiError, ApiUnavailable) as trouble:
                log.warning("framework id not stored yet: %s", trouble)
                await asyncio.sleep(_LONGEST_RETRY)

    async def run(self) -> None:
        """Keep service and endpoints as they should be until cancelled."""
        while True:
            try:
                await self._ensure_service()
                await self._ensure_endpoints()
            except (ApiError, ApiUnavailable) as trouble:
                log.info("service %s not refreshed: %s", NAME, trouble)
            await asyncio.sleep(_PERIOD)

    async def _ensure_service(self) -> Object:
        wanted: dict[str, Any] = {
            "metadata": {"name": NAME, "namespace": NAMESPACE, "labels": LABELS},
            "spec": {"ports": [{"port": self._port, "protocol": "TCP", "targetPort": self._port}]},
        }
        kept = f"{self._framework}={self._id}" if self._id else None
        try:
            service = await self._client.get("services", NAME, NAMESPACE)
        except ApiError as error:
            if not error.is_not_found:
                raise
            if kept:
                wanted["metadata"]["annotations"] = {mapping.FRAMEWORK_ID: kept}
            return await self._client.create("services", wanted, NAMESPACE)
        patch: dict[str, Any] = {}
        labels = service["metadata"].get("labels") or {}
        if any(labels.get(key) != value for key, value in LABELS.items()):
            patch = {"metadata": {"labels": LABELS}}
        if kept and mapping.annotation(service, mapping.FRAMEWORK_ID) != kept:
            patch.setdefault("metadata", {})["annotations"] = {mapping.FRAMEWORK_ID: kept}
        if [one["port"] for one in service["spec"]["ports"]] != [self._port]:
            patch["spec"] = wanted["spec"]
        return await self._client.patch("services", NAME, patch, NAMESPACE) if patch else service

    async def _ensure_endpoints(self) -> None:
        subsets = [{"addresses": [{"ip": self._address}], "ports": [{"port": self._port, "protocol": "TCP"}]}]
        wanted = {"metadata": {"name": NAME, "namespace": NAMESPACE, "labels": LABELS}, "subsets": subsets}
        try:
            present = await self._client.get("endpoints", NAME, NAMESPACE)
        except ApiError as error:
            if not error.is_not_found:
                raise
            await self._client.create("endpoints", wanted, NAMESPACE)
            return
        if _addresses(present) != _addresses(wanted):
            await self._client.patch("endpoints", NAME, {"subsets": subsets}, NAMESPACE)


def _addresses(endpoints: Object) -> list[tuple[list[str], list[int]]]:
    return [
        ([one["ip"] for one in subset.get("addresses") or ()], [one["port"] for one in subset.get("ports") or ()])
        for subset in endpoints.get("subsets") or ()
    ]
