"""Nodes of the tests' own, which say that they are ready for as long as they are told to."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from k8slab.kube.client import ApiError, KubeClient
from k8slab.kube.clock import rfc3339_micro

BEAT = 0.3


class Nodes:
    """Nodes that beat while they are in ``beating``."""

    def __init__(self, client: KubeClient) -> None:
        self._client = client
        self.beating: set[str] = set()

    async def add(self, name: str, **labels: str) -> None:
        await self._client.create("nodes", {"metadata": {"name": name, "labels": labels}})
        self.beating.add(name)
        await self._beat(name)

    async def run(self) -> None:
        while True:
            await asyncio.sleep(BEAT)
            for name in sorted(self.beating):
                await self._beat(name)

    async def _beat(self, name: str) -> None:
        ready = {"type": "Ready", "status": "True", "lastHeartbeatTime": rfc3339_micro()}
        await self._client.patch("nodes", name, {"status": {"conditions": [ready]}}, subresource="status")


@asynccontextmanager
async def beating_nodes(client: KubeClient, *names: str) -> AsyncIterator[Nodes]:
    """All nodes of the cluster are gone afterwards."""
    nodes = Nodes(client)
    for name in names:
        await nodes.add(name)
    beats = asyncio.create_task(nodes.run())
    yield nodes
    beats.cancel()
    await asyncio.gather(beats, return_exceptions=True)
    for node in (await client.list("nodes")).items:
        with contextlib.suppress(ApiError):
            await client.delete("nodes", node["metadata"]["name"])
