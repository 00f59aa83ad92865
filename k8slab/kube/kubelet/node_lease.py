"""The node's own sign of life: a Lease in kube-node-lease that is renewed for as long as this process can.

It needs nobody else's word: a node stays ready while masters, frameworks or agents are replaced.
"""

from __future__ import annotations

import asyncio
import logging
from typing import Final

from k8slab.kube.client import ApiError, ApiUnavailable, KubeClient, Object
from k8slab.kube.clock import rfc3339_micro

log = logging.getLogger(__name__)

NAMESPACE: Final = "kube-node-lease"
# As the original's kubelet: a lease lives for four of its renewals.
RENEWALS: Final = 4
_RETRY: Final = 1.0


async def keep_lease(client: KubeClient, node: str, *, frequency: float) -> None:
    """Renew the node's lease every ``frequency`` seconds, for ever; it is made when it, or its node, comes to be."""
    while True:
        pause = frequency
        try:
            async with asyncio.timeout(frequency * RENEWALS):
                await _renew(client, node, frequency)
        except (ApiUnavailable, ApiError, TimeoutError) as trouble:
            log.info("the lease of node %s is not renewed: %s", node, str(trouble) or "no answer in time")
            pause = min(frequency, _RETRY)
        await asyncio.sleep(pause)


async def _renew(client: KubeClient, node: str, frequency: float) -> None:
    spec: Object = {
        "holderIdentity": node,
        "leaseDurationSeconds": max(1, round(frequency * RENEWALS)),
        "renewTime": rfc3339_micro(),
    }
    try:
        await client.patch("leases", node, {"spec": spec}, NAMESPACE)
    except ApiError as error:
        if not error.is_not_found:
            raise
        # Owned by its node, so that it goes with it.
        owner = await client.get("nodes", node)
        reference = {"apiVersion": "v1", "kind": "Node", "name": node, "uid": owner["metadata"]["uid"]}
        lease = {"metadata": {"name": node, "ownerReferences": [reference]}, "spec": spec}
        await client.create("leases", lease, NAMESPACE)
