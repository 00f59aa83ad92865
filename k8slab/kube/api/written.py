"""What this server has written and its cache has not heard of yet.

Who writes an object often writes it again at once (a pod is bound, and its status follows): a change that started from
the cache would then be refused by the storage, and be made twice.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from k8slab.kube.api.storage.base import Record

MOST: Final = 1024


class Written:
    """``reached`` tells up to which revision the cache knows everything."""

    def __init__(self, reached: Callable[[], int]) -> None:
        self._reached = reached
        self._records: dict[str, Record] = {}

    def keep(self, record: Record) -> None:
        self._records.pop(record.key, None)
        self._records[record.key] = record
        reached = self._reached()
        while self._records:
            oldest = next(iter(self._records.values()))
            if oldest.revision > reached and len(self._records) <= MOST:
                return
            del self._records[oldest.key]

    def forget(self, key: str) -> None:
        """It is no longer what was written here."""
        self._records.pop(key, None)

    def ahead(self, key: str) -> Record | None:
        """What was written there, when the cache cannot have it yet."""
        record = self._records.get(key)
        return record if record is not None and record.revision > self._reached() else None
