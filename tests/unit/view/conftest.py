from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from rich.console import Console, RenderableType

from k8slab.snapshot import DaemonStatus, NodeStatus, Requirement, Snapshot

Render = Callable[..., list[str]]


def daemon(name: str, alias: str, **truth: Any) -> DaemonStatus:
    return DaemonStatus(name, alias, "ready", pid=42, since=1_000.0, truth=truth)


def node(name: str, role: str, last: int, *daemons: DaemonStatus) -> NodeStatus:
    return NodeStatus(name, role, f"172.17.1.{last}", f"02:0c:ac:11:01:{last:02x}", "running", True, daemons)


@pytest.fixture
def render() -> Render:
    """The lines that a renderable makes on paper of a width, without the blanks at their ends."""

    def rendered(renderable: RenderableType, width: int = 300) -> list[str]:
        console = Console(width=width, highlight=False, color_system=None, legacy_windows=False)
        with console.capture() as captured:
            console.print(renderable)
        return [line.rstrip() for line in captured.get().splitlines()]

    return rendered


@pytest.fixture
def healthy() -> Snapshot:
    """The default lab, with one pod on minion 2."""
    leads = {"leading": True, "agents": 4, "frameworks": ["Kubernetes"], "leader": "172.17.1.6:5050"}
    nodes = [
        *(
            node(f"etcd-{i}", "etcd", 1 + i, daemon("etcd", "etcd", leader=i == 1, term=4, healthy=True))
            for i in range(3)
        ),
        *(
            node(
                f"mesos-master-{i}",
                "mesos-master",
                4 + i,
                daemon("zookeeper", "zk", mode="leader" if i == 2 else "follower"),
                daemon("mesos-master", "mm", **(leads if i == 2 else {"leading": False})),
            )
            for i in range(3)
        ),
        node(
            "kubernetes-mesos",
            "kubernetes-mesos",
            7,
            daemon("apiserver", "api", nodes=4, nodes_ready=4, pods=1),
            daemon("controller-manager", "cm", healthy=True),
            daemon("scheduler", "sd", registered=True, framework="Kubernetes"),
        ),
        *(
            node(
                f"kubernetes-minion-{i}",
                "minion",
                8 + i,
                daemon("docker", "docker"),
                daemon("mesos-slave", "ms", registered=True, pods=int(i == 2)),
            )
            for i in range(4)
        ),
    ]
    names = [
        "3 etcd members, one leader",
        "3 ZooKeeper servers, one leader",
        "3 Mesos masters, one leading",
        "4 Kubernetes nodes Ready",
        "framework registered",
        "4 agents registered",
    ]
    met = tuple(Requirement(name, True, name) for name in names)
    return Snapshot("k8s-mesos", "k8s-mesos", True, tuple(nodes), met)
