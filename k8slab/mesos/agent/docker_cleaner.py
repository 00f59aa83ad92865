"""Containers in the node's engine end with their executors, and stay for a while to be looked at."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Collection, Coroutine, Mapping
from pathlib import Path
from typing import Any, TypeVar

import aiodocker
import aiohttp
import orjson

log = logging.getLogger(__name__)

# Every container of ours is marked with its sandbox, which tells whose it is.
SANDBOX_LABEL = "org.apache.mesos.sandbox"
NOT_FOUND = 404
SERVER_ERROR = 500
ENGINE_ERRORS = (aiodocker.DockerError, aiohttp.ClientError, OSError, TimeoutError)
SHORTEST_PAUSE_SECONDS = 0.5
LONGEST_PAUSE_SECONDS = 15.0

T = TypeVar("T")


def connect(socket: Path) -> aiodocker.Docker:
    return aiodocker.Docker(url=f"unix://{socket}")


async def patiently(ask: Callable[[], Awaitable[T]], *, what: str) -> T:
    """The engine's answer, asked again as long as it does not give any: what it runs outlives it, or ends with it.

    Raises DockerError and ClientResponseError, which are answers; those that say it is unwell (5xx) are not.
    """
    pause = SHORTEST_PAUSE_SECONDS
    while True:
        try:
            return await ask()
        except ENGINE_ERRORS as error:
            if 0 < getattr(error, "status", 0) < SERVER_ERROR:
                raise
            log.warning("%s: the engine does not answer, asked again in %g s: %s", what, pause, error)
        await asyncio.sleep(pause)
        pause = min(2 * pause, LONGEST_PAUSE_SECONDS)


class DockerCleaner:
    def __init__(self, socket: Path, *, remove_delay: float, kill_orphans: bool = True) -> None:
        """``remove_delay``: seconds between the end of a container and its removal."""
        self._kill_orphans = kill_orphans
        self._socket = socket
        self._delay = remove_delay
        self._work: set[asyncio.Task[None]] = set()

    def remove(self, name: str) -> None:
        """Kill it at once, remove it after the delay."""
        self._start(self._remove(name))

    def _start(self, work: Coroutine[Any, Any, None]) -> None:
        working = asyncio.create_task(work)
        self._work.add(working)
        working.add_done_callback(self._work.discard)

    async def _remove(self, name: str) -> None:
        async def kill() -> None:
            async with connect(self._socket) as docker:
                await docker.containers.container(name).kill()

        try:
            await patiently(kill, what=f"container {name}")
        except aiodocker.DockerError as error:
            if error.status == NOT_FOUND:
                return
            # Anything else says that it is not running, which is what was wanted.
        await asyncio.sleep(self._delay)
        await self._delete(name)

    async def _delete(self, name: str) -> None:
        async def delete() -> None:
            async with connect(self._socket) as docker:
                await docker.containers.container(name).delete(force=True, v=True)

        try:
            await patiently(delete, what=f"container {name}")
        except aiodocker.DockerError as error:
            if error.status != NOT_FOUND:
                log.warning("container %s: %s", name, error)

    def end_strays(self, work_dir: Path, known: Collection[str]) -> None:
        """What earlier agents in ``work_dir`` left in the engine: killed unless ``known``, and removed in time."""
        if self._kill_orphans:
            self._start(self._end_strays(work_dir, known, before=int(time.time())))

    async def _end_strays(self, work_dir: Path, known: Collection[str], *, before: int) -> None:
        """The engine may be long in coming: what has been created since is not stray."""
        for shown in await patiently(lambda: self._list(work_dir), what="stray containers"):
            name = _name(shown)
            if shown["Created"] < before and name not in known:
                self.remove(name)

    async def remove_all(self, work_dir: Path) -> None:
        """At once, and nothing is left to do afterwards. Raises OSError when the engine cannot be asked."""
        try:
            found = await self._list(work_dir)
        except ENGINE_ERRORS as error:
            raise OSError(str(error)) from error
        for shown in found:
            await self._delete(_name(shown))

    async def _list(self, work_dir: Path) -> list[dict[str, Any]]:
        """As the engine shows them: all that agents in ``work_dir`` have ever made."""
        filters = orjson.dumps({"label": [SANDBOX_LABEL]}).decode()
        async with connect(self._socket) as docker:
            found = [container._container for container in await docker.containers.list(all=True, filters=filters)]
        return [shown for shown in found if Path(shown["Labels"][SANDBOX_LABEL]).is_relative_to(work_dir)]

    async def close(self) -> None:
        for working in self._work:
            working.cancel()
        await asyncio.gather(*self._work, return_exceptions=True)


def _name(shown: Mapping[str, Any]) -> str:
    return str(shown["Names"][0]).lstrip("/")
