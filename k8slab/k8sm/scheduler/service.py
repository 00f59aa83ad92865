"""The service under which the scheduler is found, and which keeps its framework id when no etcd was named.

`k8sm-scheduler` in the namespace default has no selector: its endpoints are this process, written again whenever
somebody changed them.
"""

from __future__ import annotations

import asyncio
import logging
from typing import Final

from k8slab.kube.client import ApiError, ApiUnavailable, KubeClient
from k8slab.kube.own_service import OwnService

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
        ports = [{"port": port, "protocol": "TCP", "targetPort": port}]
        self._own = OwnService(client, NAME, NAMESPACE, LABELS, ports, cluster_ip)
        self._address = address

    async def run(self) -> None:
        """Keep service and endpoints as they should be until cancelled."""
        while True:
            try:
                await self._own.keep(await self._own.service())
                await self._own.keep_endpoints(await self._own.endpoints(), {self._address})
            except (ApiError, ApiUnavailable) as trouble:
                log.info("service %s not refreshed: %s", NAME, trouble)
                await asyncio.sleep(_RETRY)
                continue
            await asyncio.sleep(_PERIOD)


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
