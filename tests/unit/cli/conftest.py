from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from memory import MemoryRuntime
from typer.testing import CliRunner

from k8slab.cli.app import app
from k8slab.cli.session import Session
from k8slab.lab.lab import Lab
from k8slab.lab.switch import survey
from k8slab.topology.resolved import Daemon, Topology


def everybody_is_well(topology: Topology, asked: Sequence[Daemon]) -> dict[str, dict[str, Any]]:
    truths = {}
    minions = len(topology.with_daemon("mesos-slave"))
    for daemon in asked:
        first = daemon.node.endswith("-0") or not daemon.node[-1].isdigit()
        member = {"healthy": True, "leader": first, "leader_id": "1", "term": 2}
        truths[daemon.target] = {
            "etcd": member,
            "etcd-server": member,
            "zookeeper": {"mode": "leader" if first else "follower"},
            "mesos-master": {"leading": first, "agents": minions, "frameworks": ["Kubernetes"]},
            "mesos-slave": {"registered": True, "pods": 0},
            "scheduler": {"registered": True, "framework": "Kubernetes"},
            "apiserver": {"nodes": minions, "nodes_ready": minions, "pods": 0},
        }.get(daemon.name, {})
    return truths


@dataclass
class FakeConsole:
    """Stands where terminals are: remembers what was run, answers with ``code`` and ``output``."""

    code: int = 0
    output: list[bytes] = field(default_factory=list)
    calls: list[Any] = field(default_factory=list)

    def attach(self, name: str, command: Sequence[str], *, terminal: bool) -> int:
        self.calls.append((name, tuple(command), terminal))
        return self.code

    def follow(self, name: str, command: Sequence[str]) -> Any:
        self.calls.append((name, tuple(command)))
        yield from self.output
        return self.code

    def run_aside(self, spec: Any, *, network_of: str, terminal: bool, user: str, workdir: str) -> int:
        self.calls.append((spec, network_of, user, workdir))
        return self.code


@dataclass
class Shell:
    """The command line over an engine in memory."""

    runtime: MemoryRuntime = field(default_factory=MemoryRuntime)
    console: FakeConsole = field(default_factory=FakeConsole)
    error: Exception | None = None

    def __call__(self, *words: str, code: int = 0, **variables: str) -> Any:
        session = Session(self._connect)
        session.__dict__["attached"] = self.console
        result = CliRunner().invoke(app, list(words), obj=session, env=variables)
        assert result.exit_code == code, (result.stdout, result.stderr, result.exception)
        assert "Traceback" not in result.output
        return result

    def json(self, *words: str, code: int = 0, **variables: str) -> Any:
        return json.loads(self(*words, "-o", "json", code=code, **variables).stdout)

    def _connect(self) -> MemoryRuntime:
        if self.error is not None:
            raise self.error
        return self.runtime


@pytest.fixture
def shell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Shell:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    for name in ("K8SLAB_SET", "K8SLAB_LAB", "FORCE_COLOR", "K8SLAB_TOPOLOGIES"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(survey, "routes", list)
    monkeypatch.setattr(survey, "marked_links", lambda lab: [])
    monkeypatch.setitem(Lab.__init__.__kwdefaults__, "ask", everybody_is_well)
    return Shell()


@pytest.fixture
def up(shell: Shell) -> Shell:
    """The same with the default lab up."""
    shell("run")
    return shell
