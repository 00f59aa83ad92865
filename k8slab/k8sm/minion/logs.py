"""A program's output in a file that never grows without end: full ones are set aside, the oldest are removed."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Limits:
    """``size``: bytes of one file; ``backups``: how many are kept besides; ``age``: seconds for which they are."""

    size: int
    backups: int
    age: float


class RotatingFile:
    """``path`` is written to, ``path.1`` is what was before it, and so on."""

    def __init__(self, path: Path, limits: Limits) -> None:
        self._path = path
        self._limits = limits
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file = path.open("ab", buffering=0)

    def write(self, data: bytes) -> None:
        """Raises OSError; what comes after it is written when that can be done again."""
        if self._file.closed:
            self._file = self._path.open("ab", buffering=0)
        if self._file.tell() and self._file.tell() + len(data) > self._limits.size:
            self._rotate()
        self._file.write(data)

    def close(self) -> None:
        self._file.close()

    def _rotate(self) -> None:
        self._file.close()
        kept = self._limits.backups
        for number in range(kept, 0, -1):
            older = self._path if number == 1 else self._backup(number - 1)
            if older.exists():
                older.replace(self._backup(number))
        oldest = time.time() - self._limits.age
        for number in range(1, kept + 1):
            backup = self._backup(number)
            if backup.exists() and backup.stat().st_mtime < oldest:
                backup.unlink()
        self._file = self._path.open("wb", buffering=0)

    def _backup(self, number: int) -> Path:
        return self._path.with_name(f"{self._path.name}.{number}")
