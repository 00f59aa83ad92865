"""What an executor makes of an engine that fails it."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest

from k8slab.k8sm.executor import executor as module
from k8slab.k8sm.executor.executor import Executor
from k8slab.kube.kubelet.engine import EngineError, EngineUnavailable


@pytest.mark.parametrize("trouble", [EngineError(500, "no"), EngineUnavailable("away"), NotADirectoryError("pods")])
async def test_an_engine_that_cannot_list_its_containers_is_asked_again(
    trouble: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "COLLECT_PERIOD", 0)
    troubles, asked_again = [trouble], asyncio.Event()

    async def collect(wanted: set[str]) -> None:
        if troubles:
            raise troubles.pop()
        asked_again.set()

    kubelet: Any = SimpleNamespace(collect=collect)
    nobody: Any = SimpleNamespace()
    executor = Executor(nobody, nobody, kubelet, node="node-0", suicide_timeout=0, launch_grace=1)
    executor._pods._synced.set()
    collecting = asyncio.create_task(executor._collect_forever())
    asked = asyncio.create_task(asked_again.wait())
    await asyncio.wait([collecting, asked], return_when=asyncio.FIRST_COMPLETED)
    assert not collecting.done()
    collecting.cancel()
