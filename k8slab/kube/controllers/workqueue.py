"""Keys of things to look at: each at most once in the queue, never by two workers at a time, later after a failure."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final

from k8slab.kube.client import ApiError, ApiUnavailable

log = logging.getLogger(__name__)

FIRST_RETRY: Final = 0.05
LONGEST_RETRY: Final = 30.0


@dataclass(frozen=True)
class _Timer:
    """``moment``: of the loop's clock; uvloop's handles do not know theirs."""

    moment: float
    handle: asyncio.Handle


class WorkQueue:
    """``name`` is for the log."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._ready: asyncio.Queue[str] = asyncio.Queue()
        self._queued: set[str] = set()
        self._working: set[str] = set()
        self._again: set[str] = set()
        self._failures: dict[str, int] = {}
        self._timers: dict[str, _Timer] = {}

    def __len__(self) -> int:
        return self._ready.qsize()

    def add(self, key: str) -> None:
        """Have ``key`` handled soon; once more afterwards when it is being handled right now."""
        if timer := self._timers.pop(key, None):
            timer.handle.cancel()
        if key in self._working:
            self._again.add(key)
        elif key not in self._queued:
            self._queued.add(key)
            self._ready.put_nowait(key)

    def add_after(self, key: str, seconds: float) -> None:
        """Have ``key`` handled in so many seconds at the latest: what is to be handled before stays so."""
        if key in self._queued:
            return
        loop = asyncio.get_running_loop()
        moment, timer = loop.time() + seconds, self._timers.get(key)
        if timer and timer.moment <= moment:
            return
        if timer:
            timer.handle.cancel()
        self._timers[key] = _Timer(moment, loop.call_later(seconds, self.add, key))

    async def run(self, handle: Callable[[str], Awaitable[None]], *, workers: int = 1) -> None:
        """Handle keys until cancelled. A key whose handling fails comes again, each time later."""
        async with asyncio.TaskGroup() as group:
            for number in range(workers):
                group.create_task(self._work(handle), name=f"{self._name} {number}")

    async def _work(self, handle: Callable[[str], Awaitable[None]]) -> None:
        while True:
            key = await self._ready.get()
            self._queued.discard(key)
            self._working.add(key)
            try:
                await handle(key)
                self._failures.pop(key, None)
            except (ApiError, ApiUnavailable) as trouble:
                level = logging.DEBUG if isinstance(trouble, ApiError) and trouble.is_conflict else logging.WARNING
                log.log(level, "%s: %s: %s; trying again", self._name, key, trouble)
                self._retry(key)
            except Exception:
                # A mistake over one object must not end the care for all others.
                log.exception("%s: %s", self._name, key)
                self._retry(key)
            finally:
                self._working.discard(key)
                if key in self._again:
                    self._again.discard(key)
                    self.add(key)

    def _retry(self, key: str) -> None:
        failures = self._failures[key] = self._failures.get(key, 0) + 1
        self.add_after(key, min(FIRST_RETRY * 2 ** (failures - 1), LONGEST_RETRY))
