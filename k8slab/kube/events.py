"""Events about objects, as `kubectl describe` shows them: written in the background, repeated ones counted up."""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from time import monotonic
from typing import Any, Final
from uuid import uuid4

from k8slab.kube.client import ApiError, ApiUnavailable, KubeClient, Object
from k8slab.kube.clock import rfc3339

log = logging.getLogger(__name__)

NORMAL: Final = "Normal"
WARNING: Final = "Warning"

# How much one process says of one object: so many events at once, one more every so many seconds.
BURST: Final = 25
REFILL: Final = 300.0

_REMEMBERED: Final = 1024
_WAITING: Final = 1000
_RETRY: Final = 1.0


@dataclass(frozen=True)
class _Said:
    reference: tuple[tuple[str, str], ...]
    type: str
    reason: str
    message: str
    component: str


@dataclass
class _Allowance:
    """Events that may still be said of one object; one more every ``REFILL`` seconds."""

    left: float
    at: float

    def take(self, now: float) -> bool:
        self.left = min(BURST, self.left + (now - self.at) / REFILL)
        self.at = now
        if self.left < 1:
            return False
        self.left -= 1
        return True


class EventRecorder:
    """Says things about objects, never in its caller's way: events wait in a bounded queue, the oldest fall out."""

    def __init__(self, client: KubeClient, component: str, *, host: str = "") -> None:
        self._client = client
        self._source = {"component": component, **({"host": host} if host else {})}
        self._queue: asyncio.Queue[_Said] = asyncio.Queue()
        self._seen: OrderedDict[_Said, tuple[str, int]] = OrderedDict()
        self._allowances: OrderedDict[tuple[str, str], _Allowance] = OrderedDict()

    def say(
        self,
        obj: Mapping[str, Any],
        type: str,
        reason: str,
        message: str,
        *,
        container: str = "",
        component: str = "",
    ) -> None:
        """``type``: "Normal" or "Warning"; ``reason``: a CamelCase word; ``container``: the pod's one it is about;
        ``component``: who says so, when it is a part of the recorder's own."""
        involved, component = reference(obj, container), component or self._source["component"]
        if not self._allowed(involved, component):
            return
        while self._queue.qsize() >= _WAITING:
            self._queue.get_nowait()
        self._queue.put_nowait(_Said(tuple(involved.items()), type, reason, message, component))

    def _allowed(self, involved: Mapping[str, str], component: str) -> bool:
        """Whether as much may be said of this object: a burst, then now and then, as the original's clients do."""
        key = (component, involved.get("uid") or f"{involved.get('namespace')}/{involved['name']}")
        allowance = self._allowances.setdefault(key, _Allowance(BURST, monotonic()))
        self._allowances.move_to_end(key)
        if len(self._allowances) > _REMEMBERED:
            self._allowances.popitem(last=False)
        return allowance.take(monotonic())

    async def run(self) -> None:
        """Write what is said until cancelled."""
        while True:
            said = await self._queue.get()
            while True:
                try:
                    await self._write(said)
                    break
                except ApiUnavailable:
                    await asyncio.sleep(_RETRY)
                except ApiError as error:
                    if error.is_temporary:
                        await asyncio.sleep(_RETRY)
                        continue
                    log.info("event %s not written: %s", said.reason, error)
                    break

    async def drain(self, seconds: float) -> None:
        """Write what still waits, for at most so long."""
        try:
            async with asyncio.timeout(seconds):
                while not self._queue.empty():
                    await self._write(self._queue.get_nowait())
        except (TimeoutError, ApiError, ApiUnavailable) as trouble:
            log.info("some events were not written: %s", trouble)

    async def _write(self, said: _Said) -> None:
        namespace = dict(said.reference).get("namespace") or "default"
        if said in self._seen:
            name, count = self._seen[said]
            self._seen[said] = (name, count + 1)
            self._seen.move_to_end(said)
            try:
                await self._client.patch("events", name, {"count": count + 1, "lastTimestamp": rfc3339()}, namespace)
                return
            except ApiError as error:
                if not error.is_not_found:
                    raise
        event = self._event(said, namespace)
        await self._client.create("events", event, namespace)
        self._seen[said] = (event["metadata"]["name"], 1)
        if len(self._seen) > _REMEMBERED:
            self._seen.popitem(last=False)

    def _event(self, said: _Said, namespace: str) -> Object:
        involved = dict(said.reference)
        moment = rfc3339()
        return {
            "metadata": {"name": f"{involved['name']}.{uuid4().hex[:16]}", "namespace": namespace},
            "involvedObject": involved,
            "type": said.type,
            "reason": said.reason,
            "message": said.message,
            "source": {**self._source, "component": said.component},
            "reportingComponent": said.component,
            "reportingInstance": self._source.get("host", ""),
            "firstTimestamp": moment,
            "lastTimestamp": moment,
            "count": 1,
        }


def reference(obj: Mapping[str, Any], container: str = "") -> dict[str, str]:
    """An ObjectReference to a typed object, and to a container in it."""
    meta = obj["metadata"]
    full = {
        "kind": obj.get("kind", ""),
        "apiVersion": obj.get("apiVersion", ""),
        "namespace": meta.get("namespace", ""),
        "name": meta["name"],
        "uid": meta.get("uid", ""),
        "fieldPath": _path(obj, container) if container else "",
    }
    return {key: text for key, text in full.items() if text}


def _path(pod: Mapping[str, Any], container: str) -> str:
    initial = any(one["name"] == container for one in pod["spec"].get("initContainers") or ())
    return f"spec.{'initContainers' if initial else 'containers'}{{{container}}}"
