"""The storage seam: keys, values and one sequence of revisions, as etcd has them.

Every write is a ``commit``: all its checks hold and all its writes happen, or nothing does and ``Refused`` says what
was found instead.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Record:
    """``revision`` is of the last change."""

    key: str
    value: bytes
    revision: int


@dataclass(frozen=True, slots=True)
class Check:
    """The key's last change must be ``revision``; 0 means that the key must not be there."""

    key: str
    revision: int


@dataclass(frozen=True, slots=True)
class Write:
    """A put, or a deletion when ``value`` is None. ``ttl`` in seconds; 0 keeps the key for ever."""

    key: str
    value: bytes | None
    ttl: int = 0


@dataclass(frozen=True, slots=True)
class Change:
    """What a watch tells: the new value, or None for a deletion, and the revision that made it so."""

    key: str
    value: bytes | None
    revision: int


@dataclass(frozen=True, slots=True)
class Batch:
    """Changes in order; ``revision`` is the point up to which everything has been told."""

    changes: Sequence[Change]
    revision: int


@dataclass(frozen=True, slots=True)
class Page:
    """Records in key order as of ``revision``; ``remaining`` counts those after the last one."""

    records: Sequence[Record]
    revision: int
    remaining: int


class Refused(Exception):
    """A check did not hold. ``found`` maps every checked key to what is there now, None for nothing."""

    def __init__(self, found: Mapping[str, Record | None]) -> None:
        super().__init__(f"refused: {', '.join(found)}")
        self.found = found


class Compacted(Exception):
    """The asked revision is no longer kept; ``revision`` is the oldest that is, 0 when unknown."""

    def __init__(self, revision: int = 0) -> None:
        super().__init__(f"compacted at {revision}")
        self.revision = revision


class FutureRevision(Exception):
    """The asked revision does not exist yet."""


class StorageUnavailable(Exception):
    """The storage cannot answer. ``said`` holds its own words, empty when it said nothing in time; ``met`` is what was
    met instead on the way to it, for those who run it."""

    def __init__(self, said: str = "", met: str = "") -> None:
        super().__init__(said or "no answer from the storage in time" + (f" ({met})" if met else ""))
        self.said = said


class StorageRejected(Exception):
    """The storage understood and will not do it, such as a request too large or a full database."""


class Storage(Protocol):
    async def get(self, key: str) -> tuple[Record | None, int]:
        """The newest record and the revision of the whole store."""
        ...

    async def page(self, prefix: str, *, after: str = "", limit: int = 0, revision: int = 0) -> Page:
        """Records below ``prefix`` with keys greater than ``after``, as of ``revision`` (0: now; limit 0: all).

        Raises Compacted and FutureRevision.
        """
        ...

    async def commit(self, checks: Sequence[Check], writes: Sequence[Write]) -> int:
        """All or nothing; returns the new revision. Raises Refused, StorageUnavailable, StorageRejected."""
        ...

    def watch(self, prefix: str, *, after: int) -> AsyncIterator[Batch]:
        """Every change below ``prefix`` later than ``after``, endlessly, through outages. Raises Compacted."""
        ...

    async def healthy(self) -> bool:
        """Whether a quorum answers, told within two seconds."""
        ...

    async def close(self) -> None: ...
