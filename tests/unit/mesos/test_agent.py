from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from k8slab.mesos.agent.agent import Agent
from k8slab.mesos.agent.checkpoint import KEPT_RUNS, Checkpoint
from k8slab.mesos.agent.launcher import Launcher, LauncherOptions
from k8slab.mesos.agent.model import Executor, Framework
from k8slab.mesos.agent.options import AgentOptions
from k8slab.mesos.agent.paths import Paths
from k8slab.mesos.resources import Resources


def agent(work_dir: Path, sent: list[dict[str, Any]]) -> Agent:
    launcher = Launcher(LauncherOptions(ip="127.0.0.1", port=5051, shutdown_grace=5.0, recovery_timeout=900.0))
    return Agent(
        {"hostname": "a", "id": {"value": "S0"}},
        pid="slave(1)@127.0.0.1:5051",
        options=AgentOptions(),
        launcher=launcher,
        checkpoint=Checkpoint(Paths(work_dir)),
        send=sent.append,
    )


async def test_an_update_of_a_task_that_is_not_here_is_over_once_acknowledged(tmp_path: Path) -> None:
    sent: list[dict[str, Any]] = []
    here = agent(tmp_path, sent)
    here.updates.resume()
    here.tell_unknown("f", "t")
    status = sent[-1]["status"]
    assert (status["state"], here.updates.waiting("f", "t")) == ("TASK_LOST", True)
    assert not here.updates.add("f", status, journal=None)
    here.acknowledge("f", "t", status["uuid"])
    assert not here.updates.waiting("f", "t")
    assert here.updates.add("f", status, journal=None), "nothing of it is remembered"


def executor(paths: Paths, container: str) -> Executor:
    return Executor(
        framework_id="f",
        executor_id="e",
        info={"executor_id": {"value": "e"}},
        role="*",
        container_id=container,
        directory=paths.sandbox("S0", "f", "e", container),
        resources=Resources(),
        is_command=False,
    )


def test_the_last_runs_of_an_executor_are_kept_and_every_run_that_has_not_ended(tmp_path: Path) -> None:
    paths = Paths(tmp_path)
    checkpoint = Checkpoint(paths)
    checkpoint.write_framework("S0", Framework({"id": {"value": "f"}, "checkpoint": True}))
    names = [f"run-{number}" for number in range(KEPT_RUNS + 3)]
    for number, name in enumerate(names):
        run = executor(paths, name)
        run.directory.mkdir(parents=True)
        checkpoint.write_executor("S0", run)
        if number:
            checkpoint.write_end("S0", run)
            os.utime(paths.run("S0", "f", "e", name) / "executor.sentinel", (number, number))
    checkpoint.prune_runs("S0", run)
    kept = [names[0], *names[-KEPT_RUNS:]]
    for home in (paths.run("S0", "f", "e", "x").parent, run.directory.parent):
        assert sorted(entry.name for entry in home.iterdir() if not entry.is_symlink()) == kept
