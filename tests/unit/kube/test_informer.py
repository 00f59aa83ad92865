"""How often an informer asks a server that fails it."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from typing import Any

import pytest

from k8slab.kube.client import ApiError, ApiUnavailable, Object, ObjectList, WatchEvent
from k8slab.kube.informer import FIRST_PAUSE, LONGEST_PAUSE, Informer


def node(version: int) -> Object:
    return {"metadata": {"name": "node-0", "resourceVersion": str(version)}}


class Server:
    """Lists one node; each watch brings ``events`` and then ``trouble``, or the end of the stream."""

    def __init__(self, trouble: Exception | None) -> None:
        self.trouble = trouble
        self.events: list[WatchEvent] = []

    async def list(self, resource: str, namespace: str | None, **selectors: str) -> ObjectList:
        return ObjectList([node(1)], "1")

    async def watch(self, resource: str, namespace: str | None, **options: Any) -> AsyncIterator[WatchEvent]:
        for event in self.events:
            yield event
        if self.trouble:
            raise self.trouble


async def pauses(server: Server, monkeypatch: pytest.MonkeyPatch, *, count: int = 8) -> list[float]:
    """The first so many pauses, in seconds."""
    seen: list[float] = []

    async def sleep(seconds: float) -> None:
        seen.append(seconds)
        if len(seen) == count:
            raise asyncio.CancelledError

    monkeypatch.setattr(asyncio, "sleep", sleep)
    monkeypatch.setattr(random, "uniform", lambda low, high: 1.0)
    with pytest.raises(asyncio.CancelledError):
        await Informer(server, "nodes").run()  # type: ignore[arg-type]
    return seen


@pytest.mark.parametrize("trouble", [ApiError(500, "", ""), ApiError(410, "Expired", ""), ApiUnavailable(""), None])
async def test_a_watch_that_brings_nothing_is_asked_for_less_and_less(
    trouble: Exception | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = await pauses(Server(trouble), monkeypatch)
    assert seen[0] == FIRST_PAUSE
    assert seen == sorted(seen)
    assert seen[-1] == LONGEST_PAUSE


async def test_a_watch_that_brings_something_is_asked_for_again_soon(monkeypatch: pytest.MonkeyPatch) -> None:
    server = Server(ApiUnavailable(""))
    server.events = [WatchEvent("BOOKMARK", node(2))]
    assert await pauses(server, monkeypatch) == [FIRST_PAUSE] * 8
