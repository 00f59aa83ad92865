from __future__ import annotations

from k8slab.cli.watch import essence
from k8slab.snapshot import DaemonStatus, NodeStatus, Snapshot


def snapshot(since: float, state: str = "ready") -> Snapshot:
    daemon = DaemonStatus("etcd", "etcd", state, pid=1, since=since)  # type: ignore[arg-type]
    node = NodeStatus("etcd-0", "etcd", "172.17.1.1", "02:00:00:00:00:01", "running", True, (daemon,))
    return Snapshot("k8s-mesos", "k8s-mesos", True, (node,))


def test_a_second_more_or_less_is_no_news() -> None:
    assert essence(snapshot(10.0)) == essence(snapshot(11.0))
    assert essence(snapshot(10.0)) != essence(snapshot(10.0, "down"))
    assert essence(None) is None
