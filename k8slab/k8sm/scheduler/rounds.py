"""The rhythm of all that is told to Mesos: act when something changed or is due, then pause until the next thing is."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Final

from k8slab.mesos.client import MesosError
from k8slab.mesos.client.scheduler import SchedulerClient

log = logging.getLogger(__name__)

# After a call that did not reach the master.
RETRY: Final = 0.5


class Rounds:
    """``act``: one round, which may raise MesosError; ``pause``: seconds until something is due by itself, None for
    never; ``spacing``: seconds to wait for more of the same after a wake. With no subscription nothing is done."""

    def __init__(
        self,
        client: SchedulerClient,
        act: Callable[[], Awaitable[None]],
        pause: Callable[[], float | None],
        *,
        spacing: float = 0.0,
    ) -> None:
        self._client = client
        self._act = act
        self._pause = pause
        self._spacing = spacing
        self._wake = asyncio.Event()

    def wake(self) -> None:
        """Something changed that a round may be about."""
        self._wake.set()

    async def run(self) -> None:
        while True:
            self._wake.clear()
            timeout = None
            if self._client.subscribed:
                try:
                    await self._act()
                    timeout = self._pause()
                except MesosError as error:
                    log.warning("what Mesos was to hear of it comes later: %s", error)
                    await asyncio.sleep(RETRY)
                    continue
            try:
                await asyncio.wait_for(self._wake.wait(), timeout)
            except TimeoutError:
                continue
            await asyncio.sleep(self._spacing)
