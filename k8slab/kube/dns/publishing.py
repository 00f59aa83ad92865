"""The service under which pods find the name server: `kube-dns` in the namespace kube-system.

It has no selector: its endpoints are this server and those others that answer, written again whenever somebody changed
them. Its slices are made of them by whoever mirrors endpoints; proxies forward by the endpoints until then.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Any, Final

from k8slab.kube.client import ApiError, ApiUnavailable, KubeClient, Object
from k8slab.kube.informer import Informer, key_of

log = logging.getLogger(__name__)

NAME: Final = "kube-dns"
NAMESPACE: Final = "kube-system"
LABELS: Final = {
    "k8s-app": "kube-dns",
    "kubernetes.io/cluster-service": "true",
    "kubernetes.io/name": "KubeDNS",
}
PORT: Final = 53
_PROTOCOLS: Final = (("dns", "UDP"), ("dns-tcp", "TCP"))

# How often others are looked at: so long a dead one may be asked.
_PERIOD: Final = 10.0
_RETRY: Final = 1.0
# As many as anybody runs, and few enough to be asked at once.
_MOST_OTHERS: Final = 16


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
        self._client = client
        self._cluster_ip = cluster_ip
        self._address = address
        self._answers = answers
        self._ports = [
            {"name": name, "port": PORT, "protocol": protocol, "targetPort": port} for name, protocol in _PROTOCOLS
        ]
        self._places = [{"name": name, "port": port, "protocol": protocol} for name, protocol in _PROTOCOLS]
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
            rest = _PERIOD
            try:
                await self._ensure_namespace()
                await self._ensure_service()
                await self._ensure_endpoints()
                self.published.set()
                said = ""
            except (ApiError, ApiUnavailable) as trouble:
                rest = _RETRY
                if str(trouble) != said:
                    said = str(trouble)
                    log.warning("service %s/%s is not as it should be: %s; trying again", NAMESPACE, NAME, said)
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
            await self._create("namespaces", {"metadata": {"name": NAMESPACE}}, None)

    async def _ensure_service(self) -> None:
        spec: dict[str, Any] = {"clusterIP": self._cluster_ip, "ports": self._ports}
        metadata = {"name": NAME, "namespace": NAMESPACE, "labels": LABELS}
        service = await self._client.find("services", NAME, NAMESPACE)
        if service is not None and service["spec"].get("clusterIP") != self._cluster_ip:
            # The address of a service cannot be changed, and pods have been given this one.
            log.warning("service %s has the address %s: made anew", NAME, service["spec"].get("clusterIP"))
            await self._client.delete("services", NAME, NAMESPACE, uid=service["metadata"]["uid"])
            service = None
        if service is None:
            await self._create("services", {"metadata": metadata, "spec": spec}, NAMESPACE)
            return
        patch: dict[str, Any] = {}
        labels = service["metadata"].get("labels") or {}
        if not LABELS.items() <= labels.items():
            patch["metadata"] = {"labels": LABELS}
        if _known(service["spec"].get("ports"), self._ports) != self._ports or service["spec"].get("selector"):
            patch["spec"] = {"ports": self._ports, "selector": None}
        if patch:
            await self._client.patch("services", NAME, patch, NAMESPACE)

    async def _ensure_endpoints(self) -> None:
        present = await self._client.find("endpoints", NAME, NAMESPACE)
        addresses = sorted({self._address, *await self._others(present or {})})
        subsets = [{"addresses": [{"ip": one} for one in addresses], "ports": self._places}]
        if present is None:
            metadata = {"name": NAME, "namespace": NAMESPACE, "labels": LABELS}
            await self._create("endpoints", {"metadata": metadata, "subsets": subsets}, NAMESPACE)
        elif _places(present.get("subsets")) != _places(subsets):
            await self._client.patch("endpoints", NAME, {"subsets": subsets}, NAMESPACE)

    async def _others(self, present: Object) -> list[str]:
        """The addresses beside this one at which somebody answers too."""
        found = sorted({address for address, *_ in _places(present.get("subsets"))} - {self._address})[:_MOST_OTHERS]
        answered = await asyncio.gather(*(self._answers(one) for one in found))
        return [one for one, there in zip(found, answered, strict=True) if there]

    async def _create(self, resource: str, obj: Object, namespace: str | None) -> None:
        try:
            await self._client.create(resource, obj, namespace)
        except ApiError as error:
            if not error.is_already_exists:
                raise
            # Somebody was quicker; whether it is right is seen when its change is told.
            log.debug("%s", error)


def _known(ports: Any, wanted: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The ports with what is wanted of them to be something, whatever else the server has put in."""
    return [{key: port.get(key) for key in wanted[0]} for port in ports or ()]


def _places(subsets: Any) -> set[tuple[str, str, int, str]]:
    """Every address with every port: in how many subsets they stand is the server's choice."""
    return {
        (one["ip"], port.get("name") or "", port["port"], port.get("protocol") or "TCP")
        for subset in subsets or ()
        for one in subset.get("addresses") or ()
        for port in subset.get("ports") or ()
    }
