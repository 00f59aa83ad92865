"""Containers in the node's engine end with their executors, and stay for a while to be looked at."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Collection
from pathlib import Path

import aiodocker
import aiohttp
import orjson

log = logging.getLogger(__name__)

# Every container of ours is marked with its sandbox, which tells whose it is.
SANDBOX_LABEL = "org.apache.mesos.sandbox"
NOT_FOUND = 404
ENGINE_ERRORS = (aiodocker.DockerError, aiohttp.ClientError, OSError, TimeoutError)


def connect(socket: Path) -> aiodocker.Docker:
    return aiodocker.Docker(url=f"unix://{socket}")


class DockerCleaner:
    def __init__(self, socket: Path, *, remove_delay: float, kill_orphans: bool = True) -> None:
        """``remove_delay``: seconds between the end of a container and its removal."""
        self._kill_orphans = kill_orphans
        self._socket = socket
        self._delay = remove_delay
        self._work: set[asyncio.Task[None]] = set()

    def remove(self, name: str) -> None:
        """Kill it at once, remove it after the delay."""
        working = asyncio.create_task(self._remove(name))
        self._work.add(working)
        working.add_done_callback(self._work.discard)

    async def _remove(self, name: str) -> None:
        try:
            async with connect(self._socket) as docker:
                await _kill(docker, name)
            await asyncio.sleep(self._delay)
            async with connect(self._socket) as docker:
                await docker.containers.container(name).delete(force=True, v=True)
        except ENGINE_ERRORS as error:
            if getattr(error, "status", None) != NOT_FOUND:
                log.warning("container %s: %s", name, error)

    async def end_strays(self, work_dir: Path, known: Collection[str]) -> None:
        """What earlier agents in ``work_dir`` left in the engine: killed unless ``known``, and removed in time."""
        if not self._kill_orphans:
            return
        filters = orjson.dumps({"label": [SANDBOX_LABEL]}).decode()
        try:
            async with connect(self._socket) as docker:
                found = await docker.containers.list(all=True, filters=filters)
        except ENGINE_ERRORS as error:
            log.warning("the engine at %s does not list containers: %s", self._socket, error)
            return
        for container in found:
            shown = container._container
            name = shown["Names"][0].lstrip("/")
            if Path(shown["Labels"][SANDBOX_LABEL]).is_relative_to(work_dir) and name not in known:
                self.remove(name)

    async def close(self) -> None:
        for working in self._work:
            working.cancel()
        await asyncio.gather(*self._work, return_exceptions=True)


async def _kill(docker: aiodocker.Docker, name: str) -> None:
    try:
        await docker.containers.container(name).kill()
    except aiodocker.DockerError as error:
        # Not running is what was wanted; that it does not exist is for the caller.
        if error.status == NOT_FOUND:
            raise
