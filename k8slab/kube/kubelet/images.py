"""Getting a container's image into the engine: what it has, what the node's preloaded store has, what can be pulled.

The store is a directory with docker-archive files and ``index.json``: {"k8slab/pause:1": {"id": "sha256:…", "file":
"pause.tar"}}. An image that the engine already has under the store's id is never copied again; one that it has under
another id is older than the store's and is replaced.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import orjson

from k8slab.kube.kubelet.backoff import BackOff
from k8slab.kube.kubelet.engine import Engine, EngineError

log = logging.getLogger(__name__)

ERR_PULL: Final = "ErrImagePull"
PULL_BACK_OFF: Final = "ImagePullBackOff"
NEVER_PULL: Final = "ErrImageNeverPull"


class ImageError(Exception):
    """An image that cannot be had now; ``reason`` is what the container's status shows, ``retry`` in seconds."""

    def __init__(self, reason: str, message: str, retry: float) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message
        self.retry = retry


@dataclass(frozen=True)
class Found:
    """``id``: "sha256:…"; ``how``: a sentence for the event."""

    id: str
    how: str


def policy_of(container: Mapping[str, Any]) -> str:
    """imagePullPolicy, with its default: Always for a mutable tag, IfNotPresent else."""
    if policy := container.get("imagePullPolicy"):
        return str(policy)
    name, _, tag = container["image"].rpartition("/")[2].partition(":")
    return "Always" if "@" not in name and tag in ("", "latest") else "IfNotPresent"


class Images:
    def __init__(self, engine: Engine, store: Path) -> None:
        self._engine = engine
        self._store = store
        self._backoff = BackOff()
        self._failures: dict[str, tuple[float, str]] = {}
        self._locks: dict[str, asyncio.Lock] = {}
        # Engines with another image store give a loaded image an id of their own: what was loaded is remembered.
        self._loaded: dict[str, str] = {}

    async def ensure(self, reference: str, policy: str) -> Found:
        """Have the image in the engine. Raises ImageError, and EngineUnavailable."""
        async with self._locks.setdefault(reference, asyncio.Lock()):
            present = await self._engine.image_id(reference)
            stored = self._stored(reference)
            if stored is not None:
                return await self._from_store(reference, present, stored)
            if present is not None and policy != "Always":
                return Found(present, f'Container image "{reference}" already present on machine')
            if policy == "Never":
                message = f'Container image "{reference}" is not present with pull policy of Never'
                raise ImageError(NEVER_PULL, message, 10.0)
            return await self._pull(reference)

    async def _from_store(self, reference: str, present: str | None, stored: dict[str, str]) -> Found:
        if present is not None and present in (stored["id"], self._loaded.get(stored["id"])):
            return Found(present, f'Container image "{reference}" already present on machine')
        started = time.monotonic()
        archive = self._store / stored["file"]
        try:
            await self._engine.load(archive)
            loaded = await self._engine.image_id(reference)
        except (EngineError, OSError) as error:
            raise ImageError(ERR_PULL, f'Failed to load image "{reference}" from {archive}: {error}', 10.0) from error
        if loaded is None:
            raise ImageError(ERR_PULL, f'{archive} holds no image "{reference}"', 10.0)
        self._loaded[stored["id"]] = loaded
        seconds = time.monotonic() - started
        return Found(loaded, f'Successfully loaded image "{reference}" from the node\'s store in {seconds:.2f}s')

    async def _pull(self, reference: str) -> Found:
        now = time.monotonic()
        failed_at, message = self._failures.get(reference, (now, ""))
        if (remaining := self._backoff.remaining(reference, failed_at, now)) > 0:
            raise ImageError(PULL_BACK_OFF, f'Back-off pulling image "{reference}": {message}', remaining)
        try:
            await self._engine.pull(reference)
            pulled = await self._engine.image_id(reference)
            if pulled is None:
                raise EngineError(404, "the engine does not have it after pulling it")
        except EngineError as error:
            message = f'Failed to pull image "{reference}": {error}'
            now = time.monotonic()
            self._failures[reference] = (now, message)
            delay = self._backoff.failed(reference, now)
            raise ImageError(ERR_PULL, message, min(delay, 1.0)) from error
        self._backoff.forget(reference)
        self._failures.pop(reference, None)
        return Found(pulled, f'Successfully pulled image "{reference}" in {time.monotonic() - now:.2f}s')

    def _stored(self, reference: str) -> dict[str, str] | None:
        # Read anew each time: it is small, and a rebuilt store must count from the next container on.
        try:
            index = orjson.loads((self._store / "index.json").read_bytes())
        except FileNotFoundError:
            return None
        except (OSError, orjson.JSONDecodeError) as error:
            log.warning("the image store %s cannot be read: %s", self._store, error)
            return None
        found = index.get(reference) or index.get(f"{reference}:latest")
        return found if isinstance(found, dict) else None
