"""One cluster for the whole session; every test cleans its pods away."""

from __future__ import annotations

import subprocess
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from k8slab.kube.client import KubeClient
from tests.daemons.k8sm import images
from tests.daemons.k8sm.cluster import Cluster, start
from tests.daemons.processes import Supervisor, eventually


@pytest.fixture(scope="session")
def pod_images() -> Iterator[None]:
    images.build()
    yield
    images.remove()


@pytest.fixture(scope="session")
def cluster(
    pod_images: None, session_supervisor: Supervisor, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Cluster]:
    started = start(session_supervisor, tmp_path_factory.mktemp("k8sm"))
    yield started
    for daemon in (started.scheduler, *started.agents):
        daemon.stop()
    for agent in range(len(started.agents)):
        for pid in started.executors(agent):
            _end(pid)
    for host in started.hosts:
        _remove_containers(host)


@pytest.fixture
async def client(cluster: Cluster, request: pytest.FixtureRequest) -> AsyncIterator[KubeClient]:
    async with KubeClient(cluster.server) as made:
        yield made
        for pod in (await made.list("pods", "default")).items:
            await made.delete("pods", pod["metadata"]["name"], "default", grace_period_seconds=0)

        async def clean() -> bool:
            return not any(_containers(host) for host in cluster.hosts)

        await eventually(clean, what="all containers are gone")


def _containers(host: str) -> list[str]:
    command = ["docker", "ps", "-aq", "--filter", f"label=io.kubernetes.node.name={host}"]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()


def _remove_containers(host: str) -> None:
    if left := _containers(host):
        subprocess.run(["docker", "rm", "-f", *left], check=True, capture_output=True)


def _end(pid: int) -> None:
    Path(f"/proc/{pid}").exists() and subprocess.run(["kill", "-KILL", str(pid)], check=False)
