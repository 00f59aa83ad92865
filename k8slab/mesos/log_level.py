"""How much a daemon logs, changed while it runs: level 0 is as started, from 1 on everything is said."""

from __future__ import annotations

import asyncio
import logging

from aiohttp import web

from k8slab.mesos.authentication import Realm
from k8slab.mesos.durations import parse_duration
from k8slab.mesos.http import Routes, refuse

OURS = "k8slab"
MOST_VERBOSE = 3


class LogLevel:
    def __init__(self) -> None:
        self.level = 0
        self._reset: asyncio.TimerHandle | None = None

    def set(self, level: int, seconds: float) -> None:
        """For that long. Raises ValueError for a level there is not."""
        if not 0 <= level <= MOST_VERBOSE:
            raise ValueError(f"Invalid level '{level}'.")
        if self._reset is not None:
            self._reset.cancel()
        self._apply(level)
        self._reset = asyncio.get_running_loop().call_later(min(seconds, 1e8), self._apply, 0)

    def _apply(self, level: int) -> None:
        self.level = level
        logging.getLogger(OURS).setLevel(logging.DEBUG if level else logging.NOTSET)

    def add_to(self, routes: Routes) -> None:
        routes.add("/logging/toggle", self._toggle, realm=Realm.READWRITE)

    async def _toggle(self, request: web.Request) -> web.Response:
        level, duration = request.query.get("level"), request.query.get("duration")
        if level is None and duration is None:
            return web.Response(text=f"{self.level}\n")
        if level is None:
            return refuse(400, "Expecting 'level=value' in query.\n")
        if duration is None:
            return refuse(400, "Expecting 'duration=value' in query.\n")
        try:
            self.set(int(level), parse_duration(duration))
        except ValueError as error:
            return refuse(400, f"{error}\n")
        return web.Response()
