"""Whether what is known is as new as what is stored: one question to the storage answers all who wait for it.

A read must show every write that was acknowledged before it began, by whichever server. A question that goes out after
the read began tells the revision that it has to show; reads that come together share one question, so that many at once
cost the storage, and the client library, one call.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

from k8slab.kube.api.storage.base import Storage

ASKED: Final = "/registry/revision"
# Seconds that a question waits for the one before it, which gathers those who ask meanwhile. A member that keeps silent
# must not hold up for twice its time those who came after.
GATHERING: Final = 0.02


class Freshness:
    """``reached`` tells up to which revision everything is known."""

    def __init__(self, storage: Storage, reached: Callable[[], int]) -> None:
        self._storage = storage
        self._reached = reached
        self._latest: asyncio.Task[int] | None = None
        self._gathering: asyncio.Task[int] | None = None
        self._behind_at = -1

    async def confirmed(self) -> bool:
        """Whether everything is known that was stored before this was called. Raises what the storage raises."""
        known = self._reached()
        if known == self._behind_at:
            # Nothing has come since: the storage's last change was none that a watch tells of.
            return False
        stored = await self._revision()
        if known <= stored <= self._reached():
            return True
        # A revision lower than one that was known before is of a storage that was put back to an earlier state.
        self._behind_at = self._reached()
        return False

    async def _revision(self) -> int:
        if self._gathering is None:
            self._gathering = self._latest = asyncio.create_task(self._ask(self._latest), name="freshness")
            self._gathering.add_done_callback(_looked_at)
        return await asyncio.shield(self._gathering)

    async def _ask(self, before: asyncio.Task[int] | None) -> int:
        if before is not None:
            await asyncio.wait((before,), timeout=GATHERING)
        self._gathering = None
        _, revision = await self._storage.get(ASKED)
        return revision


def _looked_at(task: asyncio.Task[int]) -> None:
    """All who asked may have left: its failure is then nobody's."""
    if not task.cancelled():
        task.exception()
