"""To whom a kubelet tells how its pods are."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from k8slab.kube.client import ApiUnavailable, Object, ObjectList
from k8slab.kube.kubelet import kubelet as module
from k8slab.kube.kubelet.kubelet import Kubelet
from tests.unit.kubelet.pods import a_pod


class Client:
    """Keeps what is written; its watches never say anything."""

    def __init__(self) -> None:
        self.written: list[tuple[str, str, str]] = []
        self.services: list[Object] | None = None

    async def patch(self, resource: str, name: str, patch: Any, namespace: str, **how: Any) -> Object:
        self.written.append((name, patch["metadata"]["uid"], patch["status"]["phase"]))
        return {}

    async def list(self, resource: str, *_: Any, **__: Any) -> ObjectList:
        if self.services is None:
            raise ApiUnavailable("away")
        return ObjectList(self.services, "1")

    async def watch(self, resource: str, *_: Any, **__: Any) -> AsyncIterator[Any]:
        await asyncio.Event().wait()
        yield None


def kubelet_of(client: Client, root: Path) -> Kubelet:
    anything: Any = client
    engine: Any = SimpleNamespace()
    return Kubelet(anything, engine, node="node-0", address="10.0.0.1", image_store=root, root=root)


async def test_a_static_pod_is_told_of_by_its_mirror(tmp_path: Path) -> None:
    client = Client()
    kubelet = kubelet_of(client, tmp_path)
    writing = asyncio.create_task(kubelet._writer.run())
    pod = a_pod()
    pod["metadata"]["annotations"] = {"kubernetes.io/config.source": "file"}
    repeated: list[str] = []

    def repeat() -> None:
        repeated.append("once more")
        kubelet._publish(pod, {"phase": "Running"})

    kubelet._workers["u-1"] = SimpleNamespace(update=lambda shown: None, repeat=repeat)  # type: ignore[assignment]
    kubelet._publish(pod, {"phase": "Pending"})
    await asyncio.sleep(0)
    assert client.written == []
    mirror = {"metadata": {**pod["metadata"], "uid": "m-1"}}
    kubelet.mirrored(pod, mirror)
    kubelet.mirrored(pod, mirror)
    await kubelet._writer.flushed()
    assert client.written == [("nginx", "m-1", "Running")]
    assert repeated == ["once more"]
    writing.cancel()
    await asyncio.wait([writing])


async def test_services_are_known_until_the_api_is_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_PATIENCE", 0.01)
    client = Client()
    kubelet = kubelet_of(client, tmp_path)
    with pytest.raises(ApiUnavailable, match="not known yet"):
        await kubelet._context.services()
    client.services = [{"metadata": {"name": "db", "namespace": "default", "resourceVersion": "1"}}]
    await kubelet._services._relist()
    assert [one["metadata"]["name"] for one in await kubelet._context.services()] == ["db"]
    client.services = None
    assert [one["metadata"]["name"] for one in await kubelet._context.services()] == ["db"]


async def test_nothing_is_followed_for_a_pod_that_has_ended(tmp_path: Path) -> None:
    client = Client()
    client.services = []
    kubelet = kubelet_of(client, tmp_path)
    pod = a_pod()
    await kubelet._supplies.find(pod, "configmaps", "conf")
    kubelet._publish(pod, {"phase": "Running"})
    assert kubelet._supplies._followed
    kubelet._publish(pod, {"phase": "Succeeded"})
    assert not kubelet._supplies._followed
