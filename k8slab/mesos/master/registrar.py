"""Keeps the registry: one store at a time, what is asked for meanwhile goes into the next one together."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Mapping
from typing import Protocol

from k8slab.mesos.master.registry import Registry

log = logging.getLogger(__name__)

Mutation = Callable[[Registry], None]


class RegistryError(Exception):
    """The registry cannot be read or written: whoever leads on it must end."""


class Storage(Protocol):
    """``fetch`` makes this process the only one that may store; both raise RegistryError when another took over."""

    async def fetch(self) -> Mapping[str, bytes]: ...

    async def store(self, shards: Mapping[str, bytes]) -> None: ...


class Nothing:
    """``--registry=in_memory``."""

    async def fetch(self) -> Mapping[str, bytes]:
        return {}

    async def store(self, shards: Mapping[str, bytes]) -> None:
        """What is in memory is stored."""


class Registrar:
    """``on_failure`` is called once with what went wrong; nothing is stored after it and every waiter is told."""

    def __init__(
        self, storage: Storage, *, fetch_timeout: float, store_timeout: float, on_failure: Callable[[str], None]
    ) -> None:
        """Timeouts in seconds."""
        self._storage = storage
        self._fetch_timeout, self._store_timeout = fetch_timeout, store_timeout
        self._on_failure = on_failure
        self._registry = Registry()
        self._waiting: list[tuple[Mutation, asyncio.Future[None]]] = []
        self._batch: list[asyncio.Future[None]] = []
        self._sizes: dict[str, int] = {}
        self._storing: asyncio.Task[None] | None = None
        self._failure: str | None = None
        self.recovered = False
        self.fetch_ms = self.store_ms = 0.0
        self.stores = 0

    async def recover(self) -> Registry:
        """The registry as the last leader left it, to be read before the next mutation. Raises RegistryError."""
        began = time.perf_counter()
        try:
            async with asyncio.timeout(self._fetch_timeout):
                contents = await self._storage.fetch()
            self._registry = Registry(contents)
        except TimeoutError as error:
            raise RegistryError(f"the registry was not fetched within {self._fetch_timeout:g} s") from error
        except ValueError as error:
            raise RegistryError(str(error)) from error
        self._sizes = {name: len(content) for name, content in contents.items()}
        self.fetch_ms = (time.perf_counter() - began) * 1000
        self.recovered = True
        return self._registry

    async def apply(self, mutation: Mutation) -> None:
        """Returns once it is stored. Raises RegistryError when it may not be."""
        if self._failure is not None:
            raise RegistryError(self._failure)
        done = asyncio.get_running_loop().create_future()
        self._waiting.append((mutation, done))
        if self._storing is None:
            self._storing = asyncio.create_task(self._store_all(), name="registrar")
        await asyncio.shield(done)

    async def _store_all(self) -> None:
        try:
            while self._waiting:
                waiting, self._waiting = self._waiting, []
                self._batch = [done for _, done in waiting]
                for mutation, _ in waiting:
                    mutation(self._registry)
                await self._store(self._registry.take_dirty())
                for done in self._batch:
                    done.set_result(None)
                self._batch = []
            self._storing = None
        except (RegistryError, TimeoutError) as error:
            self._fail(str(error) or f"the registry was not stored within {self._store_timeout:g} s")
        except Exception as error:
            log.exception("the registry is broken")
            self._fail(f"the registry is broken: {error!r}")

    def close(self) -> None:
        """This master ends: what is not stored yet is refused."""
        if self._storing is not None:
            self._storing.cancel()
        if self._failure is None:
            self._refuse("this master ends")

    async def _store(self, shards: Mapping[str, bytes]) -> None:
        began = time.perf_counter()
        async with asyncio.timeout(self._store_timeout):
            await self._storage.store(shards)
        self._sizes |= {name: len(content) for name, content in shards.items()}
        self.store_ms = (time.perf_counter() - began) * 1000
        self.stores += 1

    def _fail(self, reason: str) -> None:
        self._refuse(reason)
        self._on_failure(reason)

    def _refuse(self, reason: str) -> None:
        self._failure = reason
        for done in [*self._batch, *(done for _, done in self._waiting)]:
            if done.done():
                continue
            done.set_exception(RegistryError(reason))
            # Whoever asked may have gone meanwhile; that is no error of its own.
            done.exception()

    def metrics(self) -> dict[str, float]:
        return {
            "registrar/log/recovered": float(self.recovered),
            "registrar/queued_operations": len(self._batch) + len(self._waiting),
            "registrar/registry_size_bytes": sum(self._sizes.values()),
            "registrar/state_fetch_ms": self.fetch_ms,
            "registrar/state_store_ms": self.store_ms,
            "registrar/state_store_ms/count": self.stores,
        }
