"""The fixtures of the daemons' tests: some of their tests have a long form here."""

from __future__ import annotations

from tests.daemons.conftest import etcd_cluster, pytest_runtest_makereport, session_supervisor, supervisor, zookeeper
from tests.daemons.kube.conftest import apis
from tests.daemons.mesos.conftest import cluster

__all__ = [
    "apis",
    "cluster",
    "etcd_cluster",
    "pytest_runtest_makereport",
    "session_supervisor",
    "supervisor",
    "zookeeper",
]
