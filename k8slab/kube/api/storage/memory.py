"""Storage in memory: for tests and ``--storage=memory``; it forgets everything with its process."""

from __future__ import annotations

import asyncio
from bisect import bisect_right, insort
from collections.abc import AsyncIterator, Sequence

from k8slab.kube.api.storage.base import Batch, Change, Check, Compacted, FutureRevision, Page, Record, Refused, Write


class MemoryStorage:
    def __init__(self) -> None:
        self._records: dict[str, Record] = {}
        self._keys: list[str] = []
        self._history: list[Change] = []
        self._revision = 1
        self._compacted = 0
        self._changed = asyncio.Condition()

    async def get(self, key: str) -> tuple[Record | None, int]:
        return self._records.get(key), self._revision

    async def page(self, prefix: str, *, after: str = "", limit: int = 0, revision: int = 0) -> Page:
        if revision > self._revision:
            raise FutureRevision
        if 0 < revision < self._compacted:
            raise Compacted(self._compacted)
        records = self._records if revision in (0, self._revision) else self._as_of(revision)
        keys = self._keys if records is self._records else sorted(records)
        start = bisect_right(keys, after) if after > prefix else bisect_right(keys, prefix)
        found = []
        for key in keys[start:]:
            if not key.startswith(prefix):
                break
            found.append(records[key])
        page = found[:limit] if limit else found
        return Page(page, revision or self._revision, len(found) - len(page))

    async def commit(self, checks: Sequence[Check], writes: Sequence[Write]) -> int:
        found = {check.key: self._records.get(check.key) for check in checks}
        for check in checks:
            record = found[check.key]
            if (record.revision if record else 0) != check.revision:
                raise Refused(found)
        self._revision += 1
        for write in writes:
            self._apply(write)
        async with self._changed:
            self._changed.notify_all()
        return self._revision

    async def watch(self, prefix: str, *, after: int) -> AsyncIterator[Batch]:
        if after < self._compacted:
            raise Compacted(self._compacted)
        while True:
            async with self._changed:
                while self._revision <= after:
                    await self._changed.wait()
            start = bisect_right(self._history, after, key=lambda change: change.revision)
            news = [change for change in self._history[start:] if change.key.startswith(prefix)]
            after = self._revision
            yield Batch(news, after)

    async def healthy(self) -> bool:
        return True

    async def close(self) -> None:
        return None

    def compact(self, revision: int) -> None:
        """Forget what was before ``revision``, as etcd's compaction does."""
        self._compacted = revision

    def _apply(self, write: Write) -> None:
        if write.value is None:
            if self._records.pop(write.key, None) is None:
                return
            del self._keys[bisect_right(self._keys, write.key) - 1]
        else:
            if write.key not in self._records:
                insort(self._keys, write.key)
            record = Record(write.key, write.value, self._revision)
            self._records[write.key] = record
            if write.ttl:
                asyncio.get_running_loop().call_later(write.ttl, self._expire, record)
        self._history.append(Change(write.key, write.value, self._revision))

    def _expire(self, record: Record) -> None:
        if self._records.get(record.key) is record:
            task = asyncio.ensure_future(self.commit((), (Write(record.key, None),)))
            task.add_done_callback(lambda done: done.result())

    def _as_of(self, revision: int) -> dict[str, Record]:
        records: dict[str, Record] = {}
        for change in self._history:
            if change.revision > revision:
                break
            if change.value is None:
                records.pop(change.key, None)
            else:
                records[change.key] = Record(change.key, change.value, change.revision)
        return records
