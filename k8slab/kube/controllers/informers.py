"""One copy of each resource for all controllers of the process."""

from __future__ import annotations

import asyncio

from k8slab.kube.client import KubeClient
from k8slab.kube.informer import Informer


class SharedInformers:
    def __init__(self, client: KubeClient) -> None:
        self._client = client
        self._informers: dict[str, Informer] = {}

    def of(self, resource: str) -> Informer:
        """The informer of a resource, over all namespaces; ask before run()."""
        if resource not in self._informers:
            self._informers[resource] = Informer(self._client, resource)
        return self._informers[resource]

    async def run(self) -> None:
        async with asyncio.TaskGroup() as group:
            for resource, informer in self._informers.items():
                group.create_task(informer.run(), name=resource)

    async def synced(self) -> None:
        await asyncio.gather(*(informer.synced() for informer in self._informers.values()))
