from __future__ import annotations

from pathlib import Path
from typing import Any

from k8slab.mesos.agent.agent import Agent, AgentOptions
from k8slab.mesos.agent.checkpoint import Checkpoint
from k8slab.mesos.agent.launcher import Launcher, LauncherOptions
from k8slab.mesos.agent.paths import Paths


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
