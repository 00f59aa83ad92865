"""One cluster for the whole session; every test cleans its pods away."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import pytest

from k8slab.kube.client import KubeClient
from tests.daemons.k8sm.cluster import Cluster, containers_of_node, finish, start
from tests.daemons.processes import Supervisor, eventually


@pytest.fixture(scope="session")
def cluster(
    pod_images: None, session_supervisor: Supervisor, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Cluster]:
    started = start(session_supervisor, tmp_path_factory.mktemp("k8sm"))
    yield started
    finish(started)


@pytest.fixture
async def client(cluster: Cluster, request: pytest.FixtureRequest) -> AsyncIterator[KubeClient]:
    async with KubeClient(cluster.server) as made:
        yield made
        for pod in (await made.list("pods", "default")).items:
            await made.delete("pods", pod["metadata"]["name"], "default", grace_period_seconds=0)

        async def clean() -> bool:
            return not any(containers_of_node(host) for host in cluster.hosts)

        await eventually(clean, what="all containers are gone")
