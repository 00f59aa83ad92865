"""Gives every namespace its default service account, and again when somebody takes it away."""

from __future__ import annotations

from typing import Final

from k8slab.kube.client import ApiError, KubeClient, Object
from k8slab.kube.controllers.informers import SharedInformers
from k8slab.kube.controllers.workqueue import WorkQueue

NAME: Final = "default"


class ServiceAccountsController:
    def __init__(self, client: KubeClient, informers: SharedInformers) -> None:
        self._client = client
        self._namespaces = informers.of("namespaces")
        self._accounts = informers.of("serviceaccounts")
        self._queue = WorkQueue("service accounts")
        self._namespaces.subscribe(self._namespace_changed)
        self._accounts.subscribe(self._account_changed)

    async def run(self) -> None:
        await self._namespaces.synced()
        await self._accounts.synced()
        await self._queue.run(self._sync)

    def _namespace_changed(self, kind: str, namespace: Object, old: Object | None) -> None:
        if kind != "DELETED":
            self._queue.add(namespace["metadata"]["name"])

    def _account_changed(self, kind: str, account: Object, old: Object | None) -> None:
        if kind == "DELETED" and account["metadata"]["name"] == NAME:
            self._queue.add(account["metadata"]["namespace"])

    async def _sync(self, name: str) -> None:
        namespace = self._namespaces.cache.get(name)
        if namespace is None or namespace["metadata"].get("deletionTimestamp"):
            return
        if f"{name}/{NAME}" in self._accounts.cache:
            return
        try:
            await self._client.create("serviceaccounts", {"metadata": {"name": NAME}}, name)
        except ApiError as error:
            # Made by another, or the namespace went in between.
            if not (error.is_already_exists or error.is_not_found or error.reason == "Forbidden"):
                raise
