"""Whether the server can do its work: /healthz, /livez and /readyz with their checks by name."""

from __future__ import annotations

import asyncio
from typing import Final

from k8slab.kube.api.cache import Cache
from k8slab.kube.api.storage.base import Storage

# A verdict on etcd is good for this long, so that many askers cost one question.
FRESH: Final = 0.5
ENDPOINTS: Final = {
    "healthz": ("ping", "log", "etcd"),
    "livez": ("ping", "log", "etcd"),
    "readyz": ("ping", "log", "etcd", "informer-sync"),
}


class Health:
    def __init__(self, storage: Storage, cache: Cache) -> None:
        self._storage = storage
        self._cache = cache
        self._verdict = False
        self._asked = float("-inf")
        self._asking: asyncio.Task[None] | None = None

    async def report(self, endpoint: str, *, only: str, excluded: frozenset[str], verbose: bool) -> tuple[int, str]:
        """The code and the text: "ok", or one line for each check when one has failed or ``verbose`` asks."""
        checks = [only] if only else [name for name in ENDPOINTS[endpoint] if name not in excluded]
        results = {name: await self._holds(name) for name in checks}
        if all(results.values()) and not verbose:
            return 200, "ok"
        lines = [f"[+]{name} ok" if holds else f"[-]{name} failed: reason withheld" for name, holds in results.items()]
        passed = all(results.values())
        lines.append(f"{endpoint} check {'passed' if passed else 'failed'}")
        return (200 if passed else 500), "\n".join(lines) + "\n"

    async def _holds(self, name: str) -> bool:
        match name:
            case "etcd":
                return await self.storage_answers()
            case "informer-sync":
                return self._cache.loaded.is_set()
        return True

    async def storage_answers(self) -> bool:
        loop = asyncio.get_running_loop()
        if loop.time() - self._asked > FRESH:
            if self._asking is None or self._asking.done():
                self._asking = asyncio.create_task(self._ask(), name="etcd health")
            await asyncio.shield(self._asking)
        return self._verdict

    async def _ask(self) -> None:
        self._verdict = await self._storage.healthy()
        self._asked = asyncio.get_running_loop().time()
