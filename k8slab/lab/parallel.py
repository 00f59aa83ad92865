"""Asking many nodes the same question at once."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

WORKERS = 16

T = TypeVar("T")
R = TypeVar("R")


def in_parallel(function: Callable[[T], R], items: Iterable[T]) -> list[R]:
    listed = list(items)
    if not listed:
        return []
    with ThreadPoolExecutor(min(WORKERS, len(listed))) as workers:
        return list(workers.map(function, listed))
