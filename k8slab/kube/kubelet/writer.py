"""Takes the pods' statuses to the API server: the newest of each pod, again until it is there or the pod is gone."""

from __future__ import annotations

import asyncio
import logging
from typing import Final

from k8slab.kube.client import STRATEGIC_PATCH, ApiError, ApiUnavailable, KubeClient, Object
from k8slab.kube.kubelet import naming
from k8slab.kube.kubelet.context import Pod
from k8slab.kube.kubelet.status import OWN_CONDITIONS

log = logging.getLogger(__name__)

_RETRY: Final = 1.0
_ATTEMPTS: Final = 5


class StatusWriter:
    def __init__(self, client: KubeClient) -> None:
        self._client = client
        self._pending: dict[str, tuple[Pod, Object]] = {}
        self._awake = asyncio.Event()
        self._idle = asyncio.Event()
        self._idle.set()
        self._step = asyncio.Event()

    def publish(self, pod: Pod, status: Object) -> None:
        self._pending[pod["metadata"]["uid"]] = (pod, status)
        self._idle.clear()
        self._awake.set()

    def forget(self, uid: str) -> None:
        self._pending.pop(uid, None)

    async def flushed(self) -> None:
        """Wait until all that was published is written or has been given up."""
        await self._idle.wait()

    async def written(self, uid: str) -> None:
        """The same for one pod alone."""
        while uid in self._pending:
            await self._step.wait()

    async def run(self) -> None:
        """Write until cancelled."""
        refused: dict[str, int] = {}
        while True:
            if not self._pending:
                self._idle.set()
                self._awake.clear()
                await self._awake.wait()
                continue
            uid, (pod, status) = next(iter(self._pending.items()))
            try:
                await self._write(pod, status)
            except ApiUnavailable as trouble:
                log.info("pod statuses wait: %s", trouble)
                await self._wait_behind(uid)
                continue
            except ApiError as error:
                if error.is_temporary:
                    log.info("status of pod %s waits: %s", naming.display_name(pod), error)
                    await self._wait_behind(uid)
                    continue
                refused[uid] = refused.get(uid, 0) + 1
                log.warning("status of pod %s not written: %s", naming.display_name(pod), error)
                if not error.is_not_found and refused[uid] < _ATTEMPTS:
                    await asyncio.sleep(_RETRY)
                    continue
            refused.pop(uid, None)
            # A newer one may have come while this one was on its way.
            if self._pending.get(uid, (None, None))[1] is status:
                del self._pending[uid]
            self._step.set()
            self._step = asyncio.Event()

    async def _wait_behind(self, uid: str) -> None:
        """Let the other pods' statuses go first: the server's trouble may be with this one alone."""
        if uid in self._pending:
            self._pending[uid] = self._pending.pop(uid)
        await asyncio.sleep(_RETRY)

    async def _write(self, pod: Pod, status: Object) -> None:
        meta = pod["metadata"]
        # The uid makes it fail for another pod of the same name.
        patch = {"metadata": {"uid": meta["uid"]}, "status": patch_of(status)}
        await self._client.patch(
            "pods", meta["name"], patch, meta["namespace"], subresource="status", content_type=STRATEGIC_PATCH
        )


def patch_of(status: Object) -> Object:
    """A strategic patch that leaves the conditions that others set as they are, and no old address beside a new one."""
    nothing = {"reason": None, "message": None}
    own = [nothing | one for one in status.get("conditions") or () if one["type"] in OWN_CONDITIONS]
    addresses = {field: [{"$patch": "replace"}, *status[field]] for field in ("podIPs", "hostIPs") if status.get(field)}
    return {**status, "conditions": own, **addresses}
