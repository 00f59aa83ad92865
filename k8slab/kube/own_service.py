"""A service without a selector, under which a daemon is found, and its endpoints, which the daemon itself says."""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from k8slab.kube.client import ApiError, KubeClient, Object

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class OwnService:
    """``ports``: those of the service, all with the same fields, ``targetPort`` where the daemon serves.
    ``cluster_ip``: the address that it is made with, "" for any."""

    client: KubeClient
    name: str
    namespace: str
    labels: Mapping[str, str]
    ports: Sequence[Mapping[str, Any]]
    cluster_ip: str = ""

    async def service(self) -> Object | None:
        return await self.client.find("services", self.name, self.namespace)

    async def endpoints(self) -> Object | None:
        return await self.client.find("endpoints", self.name, self.namespace)

    async def keep(self, present: Object | None) -> None:
        """Make what there is of the service as it should be. Of its address and annotations others decide."""
        if present is None:
            address = {"clusterIP": self.cluster_ip} if self.cluster_ip else {}
            wanted = {"metadata": self._metadata(), "spec": {**address, "ports": self.ports}}
            await create_unless_there(self.client, "services", wanted, self.namespace)
            return
        patch: Object = {}
        if not self.labels.items() <= (present["metadata"].get("labels") or {}).items():
            patch["metadata"] = {"labels": self.labels}
        spec = present["spec"]
        if self._known(spec.get("ports")) != self.ports or spec.get("selector"):
            patch["spec"] = {"ports": self.ports, "selector": None}
        if patch:
            await self.client.patch("services", self.name, patch, self.namespace)

    async def keep_endpoints(self, present: Object | None, addresses: Collection[str]) -> None:
        """Make what there is of the endpoints these addresses, each with all ports."""
        ports = [_place(port) for port in self.ports]
        subsets = [{"addresses": [{"ip": one} for one in sorted(addresses)], "ports": ports}]
        if present is None:
            wanted = {"metadata": self._metadata(), "subsets": subsets}
            await create_unless_there(self.client, "endpoints", wanted, self.namespace)
        elif _places(present) != _places({"subsets": subsets}):
            await self.client.patch("endpoints", self.name, {"subsets": subsets}, self.namespace)

    def _metadata(self) -> Object:
        return {"name": self.name, "namespace": self.namespace, "labels": self.labels}

    def _known(self, ports: Any) -> list[Object]:
        """The ports with what is wanted of them to be something, whatever else the server has put in."""
        return [{key: port.get(key) for key in self.ports[0]} for port in ports or ()]


async def create_unless_there(client: KubeClient, resource: str, obj: Object, namespace: str | None = None) -> None:
    try:
        await client.create(resource, obj, namespace)
    except ApiError as error:
        if not error.is_already_exists:
            raise
        # Somebody was quicker; whether it is right is seen at the next look.
        log.debug("%s", error)


def addresses_of(endpoints: Object | None) -> set[str]:
    return {address for address, *_ in _places(endpoints or {})}


def _place(port: Mapping[str, Any]) -> Object:
    name = {"name": port["name"]} if "name" in port else {}
    return {**name, "port": port["targetPort"], "protocol": port["protocol"]}


def _places(endpoints: Object) -> set[tuple[str, str, int, str]]:
    """Every address with every port: in how many subsets they stand is the server's choice."""
    return {
        (one["ip"], port.get("name") or "", port["port"], port.get("protocol") or "TCP")
        for subset in endpoints.get("subsets") or ()
        for one in subset.get("addresses") or ()
        for port in subset.get("ports") or ()
    }
