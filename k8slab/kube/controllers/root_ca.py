"""Gives every namespace the certificate by which its pods know the API server, and again when somebody changes it."""

from __future__ import annotations

from typing import Final

from k8slab.kube.client import ApiError, KubeClient, Object
from k8slab.kube.controllers.informers import SharedInformers
from k8slab.kube.controllers.workqueue import WorkQueue

NAME: Final = "kube-root-ca.crt"
KEY: Final = "ca.crt"
DESCRIPTION: Final = {
    "kubernetes.io/description": "Contains a CA bundle that can be used to verify the kube-apiserver when using "
    "internal endpoints such as the internal service IP or kubernetes.default.svc. No other usage is guaranteed "
    "across distributions of Kubernetes clusters."
}


class RootCaPublisher:
    """``certificate``: PEM, empty where pods reach the server without TLS."""

    def __init__(self, client: KubeClient, informers: SharedInformers, certificate: str) -> None:
        self._client = client
        self._wanted = {KEY: certificate}
        self._namespaces = informers.of("namespaces")
        self._maps = informers.of("configmaps")
        self._queue = WorkQueue("root certificates")
        self._namespaces.subscribe(self._namespace_changed)
        self._maps.subscribe(self._map_changed)

    async def run(self) -> None:
        await self._namespaces.synced()
        await self._maps.synced()
        await self._queue.run(self._sync)

    def _namespace_changed(self, kind: str, namespace: Object, old: Object | None) -> None:
        if kind == "ADDED":
            self._queue.add(namespace["metadata"]["name"])

    def _map_changed(self, kind: str, found: Object, old: Object | None) -> None:
        if found["metadata"]["name"] == NAME:
            self._queue.add(found["metadata"]["namespace"])

    async def _sync(self, name: str) -> None:
        namespace = self._namespaces.cache.get(name)
        if namespace is None or namespace["metadata"].get("deletionTimestamp"):
            return
        present = self._maps.cache.get(f"{name}/{NAME}")
        try:
            if present is None:
                made = {"metadata": {"name": NAME, "annotations": DESCRIPTION}, "data": self._wanted}
                await self._client.create("configmaps", made, name)
            elif present.get("data") != self._wanted:
                annotations = {**(present["metadata"].get("annotations") or {}), **DESCRIPTION}
                metadata = {**present["metadata"], "annotations": annotations}
                await self._client.update("configmaps", {**present, "metadata": metadata, "data": self._wanted})
        except ApiError as error:
            # Made by another, or the namespace went in between.
            if not (error.is_already_exists or error.is_not_found or error.reason == "Forbidden"):
                raise
