"""Makes slices of the endpoints that people write by hand for services without a selector.

So whoever reads slices alone finds those too, such as a database outside of the cluster, or the API server itself.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Mapping
from ipaddress import IPv4Address
from typing import Any, Final

from k8slab.kube.client import KubeClient, Object
from k8slab.kube.controllers.endpoint_slices import (
    MANAGED_BY,
    SERVICE_NAME,
    Head,
    Ports,
    carry_out,
    own_labels,
    reconcile,
)
from k8slab.kube.controllers.endpoints import SETTLE, Port
from k8slab.kube.controllers.informers import SharedInformers
from k8slab.kube.controllers.owned import controller_reference
from k8slab.kube.controllers.workqueue import WorkQueue
from k8slab.kube.informer import key_of

MIRROR: Final = "endpointslicemirroring-controller.k8s.io"
SKIP: Final = "endpointslice.kubernetes.io/skip-mirror"
# Old leader elections kept their record in endpoints that are nobody's.
LEADER: Final = "control-plane.alpha.kubernetes.io/leader"
MOST: Final = 1000


class EndpointMirroring:
    def __init__(self, client: KubeClient, informers: SharedInformers) -> None:
        self._client = client
        self._services = informers.of("services")
        self._endpoints = informers.of("endpoints")
        self._slices = informers.of("endpointslices")
        self._queue = WorkQueue("mirrored endpoints")
        self._services.subscribe(self._changed)
        self._endpoints.subscribe(self._changed)
        self._slices.subscribe(self._slice_changed)

    async def run(self) -> None:
        await asyncio.gather(*(one.synced() for one in (self._services, self._endpoints, self._slices)))
        await self._queue.run(self._sync)

    def _changed(self, kind: str, obj: Object, old: Object | None) -> None:
        self._queue.add_after(key_of(obj), SETTLE)

    def _slice_changed(self, kind: str, found: Object, old: Object | None) -> None:
        labels = found["metadata"].get("labels") or {}
        if labels.get(MANAGED_BY) == MIRROR and SERVICE_NAME in labels:
            self._queue.add_after(f"{found['metadata']['namespace']}/{labels[SERVICE_NAME]}", SETTLE)

    async def _sync(self, key: str) -> None:
        service, written = self._services.cache.get(key), self._endpoints.cache.get(key)
        if written is None:
            # Their slices go by their owner reference.
            return
        meta = written["metadata"]
        mirrored = service is not None and not service["spec"].get("selector") and _is_for_mirroring(written)
        if not mirrored and not self._has_slices(meta):
            return
        own = f"{SERVICE_NAME}={meta['name']},{MANAGED_BY}={MIRROR}"
        present = (await self._client.list("endpointslices", meta["namespace"], label_selector=own)).items
        wanted = endpoints(written) if mirrored else {}
        await carry_out(self._client, meta["namespace"], reconcile(_head(written), present, wanted, MOST))

    def _has_slices(self, meta: Mapping[str, Any]) -> bool:
        own = {SERVICE_NAME: meta["name"], MANAGED_BY: MIRROR}
        return any(
            one["metadata"]["namespace"] == meta["namespace"]
            and own.items() <= (one["metadata"].get("labels") or {}).items()
            for one in self._slices.cache.values()
        )


def endpoints(written: Mapping[str, Any]) -> dict[Ports, list[Object]]:
    """Those of all subsets by their ports; addresses that are not of IPv4 are left out."""
    found: dict[Ports, list[Object]] = defaultdict(list)
    for subset in written.get("subsets") or ():
        ports = tuple(
            sorted(
                Port(port.get("name") or "", port["port"], port.get("protocol") or "TCP", port.get("appProtocol") or "")
                for port in subset.get("ports") or ()
            )
        )
        for kind, ready in (("addresses", True), ("notReadyAddresses", False)):
            found[ports] += [_endpoint(one, ready=ready) for one in subset.get(kind) or () if _is_ipv4(one["ip"])]
    return {ports: some[:MOST] for ports, some in found.items() if some}


def _endpoint(address: Mapping[str, Any], *, ready: bool) -> Object:
    optional = {key: address[key] for key in ("hostname", "nodeName", "targetRef") if address.get(key)}
    return {"addresses": [address["ip"]], "conditions": {"ready": ready}, **optional}


def _is_ipv4(text: str) -> bool:
    try:
        IPv4Address(text)
    except ValueError:
        return False
    return True


def _is_for_mirroring(written: Mapping[str, Any]) -> bool:
    meta = written["metadata"]
    return (meta.get("labels") or {}).get(SKIP) != "true" and LEADER not in (meta.get("annotations") or {})


def _head(written: Mapping[str, Any]) -> Head:
    meta = written["metadata"]
    labels = {**own_labels(written), SERVICE_NAME: meta["name"], MANAGED_BY: MIRROR}
    return Head(meta["name"], labels, controller_reference({**written, "apiVersion": "v1", "kind": "Endpoints"}))
