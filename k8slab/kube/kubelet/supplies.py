"""What one kubelet's pods are supplied with by the API: objects that are followed, tokens that are renewed."""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

from k8slab.kube import clock
from k8slab.kube.client import ApiError, ApiUnavailable, KubeClient, Object
from k8slab.kube.informer import Informer

log = logging.getLogger(__name__)

# Long enough for a server that restarts; what is not there then is asked for again by the pod's next try.
PATIENCE: Final = 10.0
_NODE_KEPT: Final = 60.0
_OLDEST_TOKEN: Final = 24 * 3600.0
_JITTER: Final = 10.0
# A token is renewed when less than this part of its life is left.
_LEFT: Final = 0.2


@dataclass
class _Followed:
    informer: Informer
    task: asyncio.Task[None]
    users: set[str] = field(default_factory=set)
    known: bool = False


@dataclass(frozen=True)
class _Token:
    text: str
    renew: float
    expires: float


class ApiSupplies:
    """The ``Supplies`` of objects.py. ``changed(uid)``: something that the pod's files are made of is another now."""

    def __init__(
        self,
        client: KubeClient,
        node: str,
        changed: Callable[[str], None],
        *,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._client = client
        self._node = node
        self._changed = changed
        self._now = now
        self._followed: dict[tuple[str, str, str], _Followed] = {}
        self._tokens: dict[str, dict[tuple[str, int], _Token]] = {}
        self._allocatable: tuple[float, Mapping[str, Any]] = (0.0, {})

    async def close(self) -> None:
        tasks = [followed.task for followed in self._followed.values()]
        self._followed.clear()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def forget(self, uid: str) -> None:
        """The pod is gone: what only it has used is not followed any more."""
        self._tokens.pop(uid, None)
        for key, followed in list(self._followed.items()):
            followed.users.discard(uid)
            if not followed.users:
                followed.task.cancel()
                del self._followed[key]

    async def find(self, pod: Mapping[str, Any], resource: str, name: str) -> Object | None:
        meta = pod["metadata"]
        namespace = meta["namespace"]
        followed = self._follow((resource, namespace, name))
        followed.users.add(meta["uid"])
        try:
            async with asyncio.timeout(PATIENCE):
                await followed.informer.synced()
        except TimeoutError:
            raise ApiUnavailable(f"failed to sync {resource[:-1]} cache: timed out waiting for the condition") from None
        followed.known = True
        return followed.informer.cache.get(f"{namespace}/{name}")

    async def token(self, pod: Mapping[str, Any], audience: str, seconds: int) -> str:
        uid = pod["metadata"]["uid"]
        known = self._tokens.get(uid, {}).get((audience, seconds))
        if known is not None and self._now() < known.renew:
            return known.text
        try:
            answer = await self._ask(pod, audience, seconds)
        except (ApiError, ApiUnavailable) as trouble:
            if known is not None and self._now() < known.expires:
                log.info("token of pod %s not renewed yet: %s", pod["metadata"]["name"], trouble)
                return known.text
            raise
        expires = _seconds(answer["status"]["expirationTimestamp"])
        life = float(answer["spec"].get("expirationSeconds") or seconds)
        renew = min(expires - _LEFT * life, expires - life + _OLDEST_TOKEN) - random.uniform(0, _JITTER)
        made = _Token(str(answer["status"]["token"]), renew, expires)
        self._tokens.setdefault(uid, {})[audience, seconds] = made
        return made.text

    async def allocatable(self) -> Mapping[str, Any]:
        read, amounts = self._allocatable
        if self._now() - read > _NODE_KEPT:
            node = await self._client.get("nodes", self._node)
            amounts = (node.get("status") or {}).get("allocatable") or {}
            self._allocatable = (self._now(), amounts)
        return amounts

    async def _ask(self, pod: Mapping[str, Any], audience: str, seconds: int) -> Object:
        meta = pod["metadata"]
        account = pod["spec"].get("serviceAccountName") or "default"
        bound = {"kind": "Pod", "apiVersion": "v1", "name": meta["name"], "uid": meta["uid"]}
        spec = {
            "audiences": [audience] if audience else [],
            "expirationSeconds": seconds,
            "boundObjectRef": bound,
        }
        return await self._client.request_token(meta["namespace"], account, spec)

    def _follow(self, key: tuple[str, str, str]) -> _Followed:
        if key in self._followed:
            return self._followed[key]
        resource, namespace, name = key
        informer = Informer(self._client, resource, namespace=namespace, field_selector=f"metadata.name={name}")
        followed = _Followed(informer, asyncio.create_task(informer.run(), name=f"{resource} {namespace}/{name}"))
        self._followed[key] = followed

        def tell(kind: str, obj: Object, old: Object | None) -> None:
            if followed.known:
                for uid in tuple(followed.users):
                    self._changed(uid)

        informer.subscribe(tell)
        return followed


def _seconds(moment: str) -> float:
    parsed: datetime = clock.parse(moment)
    return parsed.timestamp()
