"""How a kubelet follows its engine."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from k8slab.kube.kubelet import kubelet as module
from k8slab.kube.kubelet import naming
from k8slab.kube.kubelet.engine import EngineError
from k8slab.kube.kubelet.kubelet import Kubelet


class Engine:
    """Its first stream breaks with ``trouble``, the second tells that a container of the pod u-1 has died."""

    def __init__(self, trouble: Exception) -> None:
        self.troubles = [trouble]
        self.asked_for: list[set[str]] = []

    async def events(self, labels: Mapping[str, str], actions: Iterable[str]) -> AsyncIterator[dict[str, Any]]:
        self.asked_for.append(set(actions))
        if self.troubles:
            raise self.troubles.pop()
        yield {"Action": "die", "Actor": {"Attributes": {naming.LABEL_UID: "u-1"}}}
        await asyncio.Event().wait()


@pytest.mark.parametrize("trouble", [ValueError("Chunk too big"), EngineError(500, "no")])
async def test_a_stream_of_events_that_cannot_be_understood_is_begun_anew(
    trouble: Exception, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_RECONNECT", 0)
    engine, poked = Engine(trouble), asyncio.Event()
    nobody: Any = SimpleNamespace()
    at: Any = engine
    kubelet = Kubelet(nobody, at, node="n", address="10.0.0.1", image_store=tmp_path)
    worker: Any = SimpleNamespace(poke=poked.set)
    kubelet._workers["u-1"] = worker
    following = asyncio.create_task(kubelet._follow_engine())
    told = asyncio.create_task(poked.wait())
    await asyncio.wait([following, told], return_when=asyncio.FIRST_COMPLETED)
    assert not following.done()
    # Never what is executed in containers, as probes are: its words may be of any length, and nobody asks for them.
    assert {"die", "oom"} <= engine.asked_for[-1]
    assert not any(action.startswith("exec") for action in engine.asked_for[-1])
    following.cancel()
