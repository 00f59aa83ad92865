from __future__ import annotations

from pathlib import Path

import pytest

from k8slab.mesos.agent.agent import Agent
from k8slab.mesos.agent.collector import SandboxCollector
from k8slab.mesos.agent.model import Framework
from k8slab.mesos.agent.paths import Paths
from tests.unit.mesos.test_agent import agent as an_agent

WEEK = 7 * 86400.0


def here(work_dir: Path) -> Agent:
    return an_agent(work_dir, [])


@pytest.mark.parametrize(("used", "allowed"), [(0.0, 0.9 * WEEK), (0.4, 0.5 * WEEK), (0.9, 0.0), (0.97, 0.0)])
def test_the_fuller_the_disk_the_sooner(tmp_path: Path, used: float, allowed: float) -> None:
    collector = SandboxCollector(Paths(tmp_path), delay=WEEK, headroom=0.1, interval=60.0)
    assert collector.allowed_age(used) == pytest.approx(allowed)


def test_only_what_ended_long_enough_ago_goes(tmp_path: Path) -> None:
    paths = Paths(tmp_path)
    collector = SandboxCollector(paths, delay=WEEK, headroom=-1.0, interval=60.0)
    for name in ("ended", "running"):
        paths.run("S0", "f", name, "c").mkdir(parents=True)
        paths.sandbox("S0", "f", name, "c").mkdir(parents=True)
    mark = paths.run("S0", "f", "ended", "c") / "executor.sentinel"
    mark.touch()
    ended = mark.stat().st_mtime
    agent = here(tmp_path)
    assert collector.sweep("S0", now=ended) == []
    assert mark.exists()
    [gone] = collector.sweep("S0", now=ended + 3 * WEEK)
    collector.remove_empty(gone, agent)
    assert not paths.executor("S0", "f", "ended").exists()
    assert not paths.sandbox("S0", "f", "ended", "c").exists()
    assert paths.sandbox("S0", "f", "running", "c").exists()
    assert paths.run("S0", "f", "running", "c").exists()


def test_what_lives_keeps_its_description(tmp_path: Path) -> None:
    """An executor that ran before, and a framework that runs something else now."""
    paths = Paths(tmp_path)
    collector = SandboxCollector(paths, delay=WEEK, headroom=-1.0, interval=60.0)
    agent = here(tmp_path)
    framework = agent.frameworks["f"] = Framework({"id": {"value": "f"}})
    agent.checkpoint.write_framework("S0", framework)
    run = paths.run("S0", "f", "e", "c")
    run.mkdir(parents=True)
    (run / "executor.sentinel").touch()
    [gone] = collector.sweep("S0", now=run.stat().st_mtime + 3 * WEEK)
    collector.remove_empty(gone, agent)
    assert not paths.executor("S0", "f", "e").exists()
    assert (paths.framework("S0", "f") / "framework.info").exists()
    del agent.frameworks["f"]
    collector.remove_empty(gone, agent)
    assert not paths.framework("S0", "f").exists()


def test_what_an_agent_of_another_id_left_goes_too(tmp_path: Path) -> None:
    paths = Paths(tmp_path)
    collector = SandboxCollector(paths, delay=WEEK, headroom=-1.0, interval=60.0)
    for agent_id in ("S0", "S1"):
        paths.agent(agent_id).mkdir(parents=True)
        (tmp_path / "slaves" / agent_id).mkdir(parents=True)
    collector.sweep("S1", now=paths.agent("S0").stat().st_mtime + 3 * WEEK)
    assert sorted(path.name for path in (tmp_path / "slaves").iterdir()) == ["S1"]
    assert sorted(path.name for path in paths.agent("S1").parent.iterdir()) == ["S1"]
