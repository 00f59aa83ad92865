"""The service under which pods find the name server: `kube-dns` in the namespace kube-system.

It has no selector: its endpoints are this server and those others that answer, written again whenever somebody changed
them. Its slices are made of them by whoever mirrors endpoints; proxies forward by the endpoints until then.

A service of this name that has a selector, or not the label of the cluster's own, is somebody else's, and left alone.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final

from k8slab.kube.client import ApiError, ApiUnavailable, KubeClient, Object
from k8slab.kube.informer import Informer, key_of
from k8slab.kube.own_service import OwnService, addresses_of, create_unless_there

log = logging.getLogger(__name__)

NAME: Final = "kube-dns"
NAMESPACE: Final = "kube-system"
CLUSTERS_OWN: Final = "kubernetes.io/cluster-service"
LABELS: Final = {"k8s-app": "kube-dns", CLUSTERS_OWN: "true", "kubernetes.io/name": "KubeDNS"}
PORT: Final = 53
_PROTOCOLS: Final = (("dns", "UDP"), ("dns-tcp", "TCP"))

# How often others are looked at: so long a dead one may be asked.
_PERIOD: Final = 10.0
_RETRY: Final = 1.0
# As many as anybody runs, and few enough to be asked at once.
_MOST_OTHERS: Final = 16


class SomebodyElses(Exception):
    """There is a service of the name that is not for this server to change."""


class Publisher:
    """``address``, ``port``: where others reach this server; ``cluster_ip``: the service's own. ``answers``: whether
    there is a name server at an address."""

    def __init__(
        self,
        client: KubeClient,
        *,
        address: str,
        port: int,
        cluster_ip: str,
        answers: Callable[[str], Awaitable[bool]],
    ) -> None:
        ports = [
            {"name": name, "port": PORT, "protocol": protocol, "targetPort": port} for name, protocol in _PROTOCOLS
        ]
        self._client = client
        self._own = OwnService(client, NAME, NAMESPACE, LABELS, ports, cluster_ip)
        self._address = address
        self._answers = answers
        self._wanted = asyncio.Event()
        self.published = asyncio.Event()

    def watch(self, *informers: Informer) -> None:
        """Mend at once what their changes show to be wrong."""
        for informer in informers:
            informer.subscribe(self._changed)

    async def run(self) -> None:
        """Keep service and endpoints as they should be until cancelled."""
        said = ""
        while True:
            self._wanted.clear()
            rest, trouble = _PERIOD, ""
            try:
                await self._ensure_namespace()
                await self._ensure_service()
                await self._ensure_endpoints()
                self.published.set()
            except SomebodyElses as why:
                trouble = f"{why}: left as it is; delete it, or start without --cluster-dns"
            except (ApiError, ApiUnavailable) as error:
                rest, trouble = _RETRY, f"is not as it should be: {error}; trying again"
            if trouble and trouble != said:
                log.warning("service %s/%s %s", NAMESPACE, NAME, trouble)
            said = trouble
            try:
                async with asyncio.timeout(rest):
                    await self._wanted.wait()
            except TimeoutError:
                continue
            # Several changes of a moment are looked at together.
            await asyncio.sleep(_RETRY / 10)

    def _changed(self, kind: str, obj: Object, old: Object | None) -> None:
        if key_of(obj) == f"{NAMESPACE}/{NAME}":
            self._wanted.set()

    async def _ensure_namespace(self) -> None:
        """The API server makes it at its start; somebody may have asked for it a moment sooner."""
        if await self._client.find("namespaces", NAMESPACE) is None:
            await create_unless_there(self._client, "namespaces", {"metadata": {"name": NAMESPACE}})

    async def _ensure_service(self) -> None:
        service = await self._own.service()
        if service is not None:
            _judge(service)
            present = service["spec"].get("clusterIP")
            if present != self._own.cluster_ip:
                # The address of a service cannot be changed, and pods have been given this one.
                log.warning("service %s has the address %s: made anew", NAME, present)
                await self._client.delete("services", NAME, NAMESPACE, uid=service["metadata"]["uid"])
                service = None
        await self._own.keep(service)

    async def _ensure_endpoints(self) -> None:
        present = await self._own.endpoints()
        await self._own.keep_endpoints(present, {self._address, *await self._others(present)})

    async def _others(self, present: Object | None) -> list[str]:
        """The addresses beside this one at which somebody answers too."""
        found = sorted(addresses_of(present) - {self._address})[:_MOST_OTHERS]
        answered = await asyncio.gather(*(self._answers(one) for one in found))
        return [one for one, there in zip(found, answered, strict=True) if there]


def _judge(service: Mapping[str, Any]) -> None:
    if service["spec"].get("selector"):
        raise SomebodyElses("is somebody else's, for it has a selector")
    if (service["metadata"].get("labels") or {}).get(CLUSTERS_OWN) != LABELS[CLUSTERS_OWN]:
        raise SomebodyElses(f"is somebody else's, for it has no label {CLUSTERS_OWN}={LABELS[CLUSTERS_OWN]}")
