"""Getting a container's image into the engine: what it has, what the node's preloaded store has, what can be pulled.

The store is a directory with docker-archive files and ``index.json``: {"k8slab/pause:1": {"id": "sha256:…", "file":
"pause.tar"}}. An image that the engine already has under the store's id is never copied again; one that it has under
another id is older than the store's and is replaced.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import orjson

from k8slab.kube.events import NORMAL, WARNING
from k8slab.kube.kubelet.backoff import BackOff
from k8slab.kube.kubelet.engine import Engine, EngineError
from k8slab.kube.kubelet.pull_secrets import Credentials
from k8slab.kube.kubelet.references import problem

log = logging.getLogger(__name__)

ERR_PULL: Final = "ErrImagePull"
PULL_BACK_OFF: Final = "ImagePullBackOff"
NEVER_PULL: Final = "ErrImageNeverPull"
INVALID_NAME: Final = "InvalidImageName"

_RETRY: Final = 10.0
# What is wrong with a name stays wrong until it is another one.
_RETRY_NAME: Final = 30.0

Say = Callable[[str, str, str], None]
"""Told an event's type, reason and message."""


def _nobody(kind: str, reason: str, message: str) -> None:
    pass


async def _no_credentials() -> list[Credentials]:
    return []


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

    async def ensure(
        self,
        reference: str,
        policy: str,
        *,
        owner: str = "",
        say: Say = _nobody,
        credentials: Callable[[], Awaitable[list[Credentials]]] = _no_credentials,
    ) -> Found:
        """Have the image in the engine. ``owner``: who waits longer after each failure; ``credentials``: for the
        image's registry, tried in turn.

        Raises ImageError, and EngineUnavailable.
        """
        if why := problem(reference):
            message = (
                f'Failed to apply default image tag "{reference}": couldn\'t parse image name "{reference}": {why}'
            )
            say(WARNING, "InspectFailed", message)
            raise _told(say, ImageError(INVALID_NAME, message, _RETRY_NAME))
        async with self._locks.setdefault(reference, asyncio.Lock()):
            present = await self._engine.image_id(reference)
            stored = self._stored(reference)
            if stored is not None:
                return await self._from_store(reference, present, stored, say)
            if present is not None and policy != "Always":
                return Found(present, f'Container image "{reference}" already present on machine')
            if policy == "Never":
                message = f'Container image "{reference}" is not present with pull policy of Never'
                say(WARNING, NEVER_PULL, message)
                raise _told(say, ImageError(NEVER_PULL, message, _RETRY))
            return await self._pull(reference, f"{owner}_{reference}", say, credentials)

    def forget(self, owner: str) -> None:
        """Its failures count no longer."""
        for key in [key for key in self._failures if key.startswith(f"{owner}_")]:
            del self._failures[key]
            self._backoff.forget(key)

    async def _from_store(self, reference: str, present: str | None, stored: dict[str, str], say: Say) -> Found:
        if present is not None and present in (stored["id"], self._loaded.get(stored["id"])):
            return Found(present, f'Container image "{reference}" already present on machine')
        started = time.monotonic()
        archive = self._store / stored["file"]
        try:
            await self._engine.load(archive)
            loaded = await self._engine.image_id(reference)
        except (EngineError, OSError) as error:
            raise _failed(say, f'Failed to load image "{reference}" from {archive}: {error}', _RETRY) from error
        if loaded is None:
            raise _failed(say, f'{archive} holds no image "{reference}"', _RETRY)
        self._loaded[stored["id"]] = loaded
        seconds = time.monotonic() - started
        return Found(loaded, f'Successfully loaded image "{reference}" from the node\'s store in {seconds:.2f}s')

    async def _pull(
        self, reference: str, key: str, say: Say, credentials: Callable[[], Awaitable[list[Credentials]]]
    ) -> Found:
        began = time.monotonic()
        failed_at, message = self._failures.get(key, (began, ""))
        if (remaining := self._backoff.remaining(key, failed_at, began)) > 0:
            say(NORMAL, "BackOff", f'Back-off pulling image "{reference}"')
            why = f'Back-off pulling image "{reference}": {ERR_PULL}: {message}'
            raise _told(say, ImageError(PULL_BACK_OFF, why, remaining))
        say(NORMAL, "Pulling", f'Pulling image "{reference}"')
        try:
            pulled = await self._pulled(reference, await credentials())
        except EngineError as error:
            now = time.monotonic()
            self._failures[key] = (now, str(error))
            delay = self._backoff.failed(key, now)
            raise _failed(say, f'Failed to pull image "{reference}": {error}', min(delay, 1.0)) from error
        self._backoff.forget(key)
        self._failures.pop(key, None)
        return Found(pulled, f'Successfully pulled image "{reference}" in {time.monotonic() - began:.2f}s')

    async def _pulled(self, reference: str, credentials: list[Credentials]) -> str:
        """Its id. Raises EngineError when nobody may have it, or nobody has it."""
        for number, one in enumerate(credentials or [{}], 1):
            try:
                await self._engine.pull(reference, one)
                break
            except EngineError:
                if number >= len(credentials):
                    raise
        pulled = await self._engine.image_id(reference)
        if pulled is None:
            raise EngineError(404, "the engine does not have it after pulling it")
        return pulled

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


def _failed(say: Say, message: str, retry: float) -> ImageError:
    say(WARNING, "Failed", message)
    return _told(say, ImageError(ERR_PULL, message, retry))


def _told(say: Say, error: ImageError) -> ImageError:
    say(WARNING, "Failed", f"Error: {error.reason}")
    return error
