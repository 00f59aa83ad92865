"""The shared fixtures themselves: what they start is real and serves."""

from __future__ import annotations

from collections.abc import Callable

from tests.daemons.processes import Etcd, ZooKeeper, zookeeper_serves


def test_etcd_is_healthy(etcd: Etcd) -> None:
    assert all(member.returncode is None for member in etcd.members)
    assert etcd.servers.startswith("http://127.0.0.1:")


def test_an_etcd_cluster_of_three(etcd_cluster: Callable[[int], Etcd]) -> None:
    cluster = etcd_cluster(3)
    assert len(cluster.endpoints) == 3
    assert all(member.ready and member.ready() for member in cluster.members)


def test_zookeeper_serves(zookeeper: ZooKeeper) -> None:
    assert zookeeper_serves(int(zookeeper.hosts.rpartition(":")[2]))
    assert zookeeper.url("/mesos") == f"zk://{zookeeper.hosts}/mesos"
