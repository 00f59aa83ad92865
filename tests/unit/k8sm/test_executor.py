"""What an executor makes of an engine that fails it, and what it tells of a task that ends early."""

from __future__ import annotations

import asyncio
import base64
from types import SimpleNamespace
from typing import Any

import orjson
import pytest

from k8slab.k8sm.executor import binding
from k8slab.k8sm.executor import executor as module
from k8slab.k8sm.executor.executor import Executor
from k8slab.kube.client import ApiError, ApiUnavailable
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
    executor = Executor(nobody, nobody, kubelet, node="node-0", suicide_timeout=0, launch_grace=1, sign_of_life=1)
    executor._pods._synced.set()
    collecting = asyncio.create_task(executor._collect_forever())
    asked = asyncio.create_task(asked_again.wait())
    await asyncio.wait([collecting, asked], return_when=asyncio.FIRST_COMPLETED)
    assert not collecting.done()
    collecting.cancel()


POD = {"metadata": {"name": "web", "namespace": "default", "uid": "u-1"}, "spec": {"containers": []}}


class Api:
    """Its bindings take until ``may_answer``; a pod that is deleted meanwhile cannot be bound."""

    def __init__(self, answer: Exception | None) -> None:
        self.asked, self.may_answer = asyncio.Event(), asyncio.Event()
        self._answer = answer

    async def bind(self, *what: Any, **how: Any) -> None:
        self.asked.set()
        await self.may_answer.wait()
        if self._answer is not None:
            raise self._answer

    async def get(self, *what: Any) -> Any:
        return POD

    async def delete(self, *what: Any, **how: Any) -> None:
        pass


@pytest.mark.parametrize("answer", [None, ApiError(404, "NotFound", "no such pod"), ApiUnavailable("away")])
async def test_of_a_task_that_is_killed_while_its_pod_is_bound_the_end_is_told_last(
    answer: Exception | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(binding, "TOLD_WITHIN", 0)
    told: list[str] = []

    async def update(task: str, state: str, **what: Any) -> None:
        told.append(state)

    async def kill(uid: str, grace: int) -> None:
        pass

    api: Any = Api(answer)
    agent: Any = SimpleNamespace(update=update)
    kubelet: Any = SimpleNamespace(kill=kill, workers={})
    executor = Executor(agent, api, kubelet, node="node-0", suicide_timeout=0, launch_grace=0.1, sign_of_life=1)
    info = {"task_id": {"value": "t-1"}, "data": base64.b64encode(orjson.dumps(POD)).decode()}
    launching = asyncio.create_task(executor._launch(info))
    await api.asked.wait()
    await executor._kill({"task_id": {"value": "t-1"}})
    api.may_answer.set()
    await launching
    assert told == ["TASK_KILLED"]
