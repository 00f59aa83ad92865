"""What a worker makes of an engine and an API that fail it."""

from __future__ import annotations

import asyncio
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from k8slab.kube.client import ApiUnavailable, Object
from k8slab.kube.kubelet import worker as module
from k8slab.kube.kubelet.backoff import BackOff
from k8slab.kube.kubelet.context import Context
from k8slab.kube.kubelet.engine import EngineError
from k8slab.kube.kubelet.observation import Observed, Seen
from k8slab.kube.kubelet.resolver import DnsConfig
from k8slab.kube.kubelet.worker import PodWorker
from tests.unit.kubelet.pods import a_pod, dead, observed, sandbox


class Engine:
    def __init__(self) -> None:
        self.refuses = False
        self.started: list[str] = []

    async def create(self, name: str, config: Any) -> str:
        return name

    async def start(self, name: str) -> None:
        if self.refuses:
            raise EngineError(500, "no such program")
        self.started.append(name)


class Node:
    """A node whose containers are what ``seen`` says."""

    def __init__(self, root: Path, monkeypatch: pytest.MonkeyPatch, *seen: Seen) -> None:
        self.seen = observed(*seen)
        self.engine = Engine()
        self.restarts = BackOff()
        self.away = False
        self.events: list[tuple[str, str]] = []
        self.statuses: list[Object] = []
        monkeypatch.setattr(module, "observe", self._observe)
        context: Any = SimpleNamespace(
            engine=self.engine,
            images=SimpleNamespace(ensure=self._ensure),
            recorder=SimpleNamespace(say=self._say),
            node="node-0",
            address="10.0.0.1",
            services=self._services,
            supplies=SimpleNamespace(),
            publish=lambda pod, status: self.statuses.append(status),
            root=root,
            dns=DnsConfig(),
            restarts=self.restarts,
        )
        self.context: Context = context

    async def _observe(self, engine: Any, uid: str) -> Observed:
        return self.seen

    async def _ensure(self, reference: str, policy: str, **how: Any) -> Any:
        return SimpleNamespace(how="present")

    async def _services(self) -> list[Object]:
        if self.away:
            raise ApiUnavailable("away")
        return []

    def _say(self, pod: Any, kind: str, reason: str, message: str, *, container: str = "") -> None:
        self.events.append((reason, message))


async def test_a_try_that_never_reached_the_engine_is_no_restart(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    node = Node(tmp_path, monkeypatch, sandbox(), dead())
    worker = PodWorker(node.context, a_pod())
    node.away = True
    for _ in range(3):
        with pytest.raises(ApiUnavailable):
            await worker._sync()
    assert node.restarts.delay("u-1/web") == 0
    node.away = False
    await worker._sync()
    assert len(node.engine.started) == 1
    assert node.restarts.delay("u-1/web") == 10


async def test_a_start_that_the_engine_refuses_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    node = Node(tmp_path, monkeypatch, sandbox(), dead())
    node.engine.refuses = True
    await PodWorker(node.context, a_pod())._sync()
    assert node.restarts.delay("u-1/web") == 10


async def test_the_first_start_is_no_restart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    node = Node(tmp_path, monkeypatch, sandbox())
    await PodWorker(node.context, a_pod())._sync()
    assert node.engine.started
    assert node.restarts.delay("u-1/web") == 0


async def test_nothing_unexpected_ends_a_worker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    node = Node(tmp_path, monkeypatch, sandbox())
    troubles: list[Exception] = [OSError(28, "No space left on device"), ValueError("what")]
    slept: list[float] = []

    async def create(name: str, config: Any) -> str:
        if troubles:
            raise troubles.pop(0)
        worker.finished = True
        return name

    async def sleep(seconds: float) -> None:
        slept.append(seconds)

    monkeypatch.setattr(asyncio, "sleep", sleep)
    monkeypatch.setattr(node.engine, "create", create)
    worker = PodWorker(node.context, a_pod())
    await worker._run()
    assert slept == [1, 2]
    assert ("Failed", "Error: [Errno 28] No space left on device") in node.events
    assert len(node.engine.started) == 1


async def test_nothing_unexpected_keeps_a_pod_from_being_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    node = Node(tmp_path, monkeypatch, sandbox())
    troubles: list[Exception] = [EngineError(500, "busy"), ValueError("what the engine says makes no sense")]

    async def remove(container: str) -> None:
        if troubles:
            raise troubles.pop(0)
        node.seen = observed()

    async def sleep(seconds: float) -> None:
        pass

    monkeypatch.setattr(asyncio, "sleep", sleep)
    monkeypatch.setattr(node.engine, "remove", remove, raising=False)
    monkeypatch.setattr(node.context.images, "forget", lambda uid: None, raising=False)
    worker = PodWorker(node.context, a_pod())
    await worker.kill(0)
    assert worker.finished


async def test_what_the_disk_refuses_is_why_a_container_waits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "pods").write_text("a file where a directory has to be")
    node = Node(tmp_path, monkeypatch, sandbox())
    await PodWorker(node.context, a_pod())._sync()
    assert node.engine.started == []
    assert [reason for reason, _ in node.events if reason == "FailedMount"] == ["FailedMount"]
    assert node.statuses[-1]["containerStatuses"][0]["state"]["waiting"]["reason"] == "ContainerCreating"


async def test_a_volumes_limit_that_is_no_quantity_is_why_a_container_waits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    node = Node(tmp_path, monkeypatch, sandbox())
    volumes = [{"name": "v", "emptyDir": {"medium": "Memory", "sizeLimit": "abc"}}]
    await PodWorker(node.context, a_pod(volumes=volumes))._sync()
    why = """MountVolume.SetUp failed for volume "v" : 'abc' is not a quantity"""
    assert ("FailedMount", why) in node.events
