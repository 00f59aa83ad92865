from __future__ import annotations

import pytest

from tests.daemons.mesos.cluster import Cluster
from tests.daemons.processes import Supervisor


@pytest.fixture
def cluster(supervisor: Supervisor) -> Cluster:
    """Nothing runs yet."""
    return Cluster(supervisor)


@pytest.fixture
def master(cluster: Cluster) -> Cluster:
    """One master that leads alone."""
    cluster.master("--allocation_interval=200ms")
    return cluster


@pytest.fixture
def small(master: Cluster) -> Cluster:
    """One master and one agent."""
    master.agent()
    return master
