"""Pods that are files on a node, with a real kubelet in this process, real containers and the real API."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml

from k8slab.kube.client import KubeClient
from k8slab.kube.informer import Informer
from k8slab.kube.kubelet.engine import Engine
from k8slab.kube.kubelet.kubelet import Kubelet
from k8slab.kube.kubelet.static import StaticPods
from tests.daemons.k8sm import images
from tests.daemons.k8sm.cluster import Cluster, Pod, containers_of_node, pod, ready
from tests.daemons.processes import eventually


@dataclass
class Minion:
    name: str
    manifests: Path
    kubelet: Kubelet
    api: KubeClient

    @property
    def pod_name(self) -> str:
        return f"web-{self.name}"

    def write(self, command: str = "exec sleep 3600") -> None:
        (self.manifests / "web.yaml").write_text(yaml.safe_dump(pod("web", command)))

    async def shown(self) -> Pod | None:
        """The mirror, when it is ready."""
        found = await self.api.find("pods", self.pod_name, "default")
        return found if found and ready(found) else None


@pytest.fixture
async def minion(cluster: Cluster, tmp_path: Path) -> AsyncIterator[Minion]:
    name = f"static-test-{random.randrange(16**6):06x}"
    manifests = tmp_path / "manifests"
    manifests.mkdir()
    engine = Engine("unix:///var/run/docker.sock")
    async with KubeClient(cluster.server) as api:
        await api.create("nodes", {"metadata": {"name": name}})
        kubelet = Kubelet(
            api,
            engine,
            node=name,
            address="127.0.0.1",
            image_store=tmp_path / "images",
            infra_image=images.PAUSE,
            root=tmp_path / "kubelet",
        )
        pods = Informer(api, "pods", field_selector=f"spec.nodeName={name}")
        static = StaticPods(kubelet, api, manifests, pods)
        tasks = [asyncio.create_task(work) for work in (kubelet.run(), pods.run(), static.run())]
        yield Minion(name, manifests, kubelet, api)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for uid in list(kubelet.workers):
            await kubelet.kill(uid, 0)
        for one in (await api.list("pods", field_selector=f"spec.nodeName={name}")).items:
            await api.delete("pods", one["metadata"]["name"], "default", grace_period_seconds=0)
        await api.delete("nodes", name)
    await engine.close()


async def test_a_static_pod_runs_and_its_mirror_comes_back(minion: Minion) -> None:
    minion.write()
    mirror = await eventually(minion.shown, what="the mirror is ready")
    assert mirror is not None
    assert mirror["metadata"]["annotations"]["kubernetes.io/config.source"] == "file"
    before = containers_of_node(minion.name)
    assert len(before) == 2
    await minion.api.delete("pods", minion.pod_name, "default")

    async def another() -> bool:
        found = await minion.shown()
        return found is not None and found["metadata"]["uid"] != mirror["metadata"]["uid"]

    await eventually(another, what="the mirror is there again")
    assert containers_of_node(minion.name) == before


async def test_a_static_pod_follows_its_file(minion: Minion) -> None:
    minion.write()
    mirror = await eventually(minion.shown, what="the mirror is ready")
    assert mirror is not None
    before = set(containers_of_node(minion.name))
    minion.write("exec sleep 1800")

    async def replaced() -> bool:
        found = await minion.shown()
        return found is not None and found["spec"]["containers"][0]["command"][2] == "exec sleep 1800"

    await eventually(replaced, what="the changed pod is ready")
    assert not before & set(containers_of_node(minion.name))
    (minion.manifests / "web.yaml").unlink()

    async def gone() -> bool:
        left = (await minion.api.list("pods", field_selector=f"spec.nodeName={minion.name}")).items
        return not left and not containers_of_node(minion.name)

    await eventually(gone, what="pod and mirror are gone")
