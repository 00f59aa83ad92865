"""What other objects say, for those who judge one: from the cache, and from the storage where that may be behind."""

from __future__ import annotations

from k8slab.kube.api.cache import Cache
from k8slab.kube.api.kind import Kind
from k8slab.kube.api.meta import Object

# How long a judgement waits for what was written before it, in seconds.
PATIENCE = 1.0


class Known:
    def __init__(self, cache: Cache) -> None:
        self.cache = cache
        self._written = 0

    def wrote(self, revision: int) -> None:
        """Something was written that later judgements look at."""
        self._written = max(self._written, revision)

    async def up_to_date(self) -> None:
        """Until the cache has what this server has written."""
        if self.cache.revision < self._written:
            await self.cache.wait_for(self._written, PATIENCE)

    async def find(self, kind: Kind, namespace: str, name: str) -> Object | None:
        key = kind.key(namespace, name)
        entry = self.cache.of(kind).entries.get(key)
        if entry is not None:
            return entry.obj
        record, _ = await self.cache.newest(kind, key)
        return kind.decode(record.value, record.revision) if record else None

    def all(self, kind: Kind, namespace: str) -> list[Object]:
        """Those of a namespace, as the cache has them; they must not be changed."""
        return [entry.obj for entry in self.cache.of(kind).scan(kind.scope(namespace))]
