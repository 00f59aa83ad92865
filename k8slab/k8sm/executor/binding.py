"""Binding pods to this node: by their binding, and by taking over what an earlier executor of the node has bound."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from typing import Any, Final

from k8slab.k8sm import mapping
from k8slab.kube.client import ApiError, ApiUnavailable, KubeClient, Object
from k8slab.kube.informer import Informer

log = logging.getLogger(__name__)

RETRY: Final = 0.5
# A pod that was bound is told by the watch at once, or somebody has to ask.
TOLD_WITHIN: Final = 1.0

Pod = Mapping[str, Any]


class NotBound(Exception):
    """The pod is not this node's to run; the message says why."""


class Binder:
    """``node``: this node's name; ``pods``: the copy of its pods."""

    def __init__(self, client: KubeClient, node: str, pods: Informer) -> None:
        self._client = client
        self._node = node
        self._pods = pods
        self._waiting: dict[str, asyncio.Future[Object]] = {}
        pods.subscribe(self._pod_event)

    async def bind(self, pod: Pod) -> Object:
        """Make this node the pod's; the pod as the API then has it. Raises NotBound."""
        meta = pod["metadata"]
        name, namespace = meta["name"], meta["namespace"]
        annotations = mapping.own_annotations(pod)
        while True:
            try:
                try:
                    await self._client.bind(namespace, name, self._node, annotations, uid=meta["uid"])
                except ApiError as error:
                    if not error.is_conflict:
                        raise
                    return await self._take_over(pod, annotations, error)
                bound = await self._told_bound(meta) or await self._client.get("pods", name, namespace)
                if bound["metadata"]["uid"] != meta["uid"]:
                    raise NotBound("another pod has taken its name")
                return bound
            except ApiUnavailable as trouble:
                log.info("binding of pod %s/%s waits: %s", namespace, name, trouble)
            except ApiError as error:
                if not error.is_temporary:
                    raise NotBound(str(error)) from error
                log.info("binding of pod %s/%s waits: %s", namespace, name, error)
            await asyncio.sleep(RETRY)

    async def _told_bound(self, meta: Mapping[str, Any]) -> Object | None:
        """The pod as the watch has told it, or soon does, for it is this node's now; None when it does not."""
        uid = meta["uid"]
        present = self._pods.cache.get(f"{meta['namespace']}/{meta['name']}")
        if present is not None and present["metadata"]["uid"] == uid:
            return present
        told: asyncio.Future[Object] = asyncio.get_running_loop().create_future()
        self._waiting[uid] = told
        try:
            async with asyncio.timeout(TOLD_WITHIN):
                return await told
        except TimeoutError:
            return None
        finally:
            del self._waiting[uid]

    async def _take_over(self, pod: Pod, annotations: Mapping[str, str], refusal: ApiError) -> Object:
        """A pod that is bound already: fine when it is to this node, whose earlier executor did it."""
        meta = pod["metadata"]
        present = await self._client.get("pods", meta["name"], meta["namespace"])
        if present["metadata"]["uid"] != meta["uid"] or present["spec"].get("nodeName") != self._node:
            raise NotBound(str(refusal))
        if all(mapping.annotation(present, key) == value for key, value in annotations.items()):
            return present
        patch = {"metadata": {"uid": meta["uid"], "annotations": dict(annotations)}}
        return await self._client.patch("pods", meta["name"], patch, meta["namespace"])

    def _pod_event(self, kind: str, pod: Object, old: Object | None) -> None:
        told = self._waiting.get(pod["metadata"]["uid"])
        if kind != "DELETED" and told is not None and not told.done():
            told.set_result(pod)
