from __future__ import annotations

from typing import Any

import pytest

from k8slab.errors import EngineUnreachable


@pytest.fixture
def offered(monkeypatch: pytest.MonkeyPatch) -> Any:
    """What bash would offer after ``words`` (the last one half typed)."""
    from typer.testing import CliRunner

    from k8slab.cli.app import app

    def offered(line: str) -> list[str]:
        words = line.split(" ")
        variables = {"_K8SLAB_COMPLETE": "complete_bash", "COMP_WORDS": line, "COMP_CWORD": str(len(words) - 1)}
        result = CliRunner().invoke(app, [], prog_name="k8slab", env=variables)
        assert "Traceback" not in result.output
        return sorted(result.stdout.split())

    return offered


def test_verbs(shell: Any, offered: Any) -> None:
    assert offered("k8slab st") == ["start", "status"]


def test_targets_and_nodes_of_the_lab(up: Any, offered: Any) -> None:
    assert offered("k8slab kill etcd-1") == ["etcd-1", "etcd-1/etcd"]
    assert offered("k8slab kill etcd-1 etcd-1") == ["etcd-1/etcd"]
    assert offered("k8slab kill z") == ["zk", "zookeeper"]
    assert offered("k8slab exec kubernetes-me") == ["kubernetes-mesos"]
    assert offered("k8slab node pause etcd-") == ["etcd-0", "etcd-1", "etcd-2"]


def test_labs_and_topologies(shell: Any, offered: Any) -> None:
    shell("run", "k8s-mesos", "--lab", "demo")
    assert offered("k8slab status --lab ") == ["demo"]
    assert offered("k8slab run k8s") == ["k8s-mesos"]
    assert offered("k8slab shell --lab demo etcd-2") == ["etcd-2"]


def test_images(shell: Any, offered: Any) -> None:
    assert "etcd" in offered("k8slab build e")


def test_silent_when_the_engine_is_down(shell: Any, offered: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def down() -> None:
        raise EngineUnreachable("There is no socket.")

    monkeypatch.setattr("k8slab.lab.lab.open_engine", down)
    assert offered("k8slab status --lab x") == []
