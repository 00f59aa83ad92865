from __future__ import annotations

import os
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import pytest

from k8slab.mesos.agent.agent import Agent
from k8slab.mesos.agent.checkpoint import KEPT_RUNS, Checkpoint
from k8slab.mesos.agent.launcher import Launcher, LauncherOptions
from k8slab.mesos.agent.launches import Launches
from k8slab.mesos.agent.master_link import MasterLink
from k8slab.mesos.agent.model import Executor, Framework, Task
from k8slab.mesos.agent.options import AgentOptions
from k8slab.mesos.agent.paths import Paths, read_json
from k8slab.mesos.agent.updates import StatusUpdates
from k8slab.mesos.master.validation import id_error
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
    here.tell_unknown("f", "t", partition_aware=True)
    assert sent[-1]["status"]["state"] == "TASK_GONE"
    here.updates.forget("f", "t")
    here.tell_unknown("f", "t", partition_aware=False)
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


class Stream:
    """An executor's subscription, as far as the agent uses it."""

    def __init__(self) -> None:
        self.sent: list[dict[str, Any]] = []
        self.closed = False

    def send(self, event: dict[str, Any]) -> None:
        self.sent.append(event)

    def close(self) -> None:
        self.closed = True


def running(here: Agent, *, checkpoint: bool = True) -> tuple[Executor, Stream]:
    """A framework's executor with one task that it has been given."""
    framework = here.frameworks["f"] = Framework({"id": {"value": "f"}, "checkpoint": checkpoint})
    one = framework.executors["e"] = executor(here.checkpoint.paths, "c")
    here.checkpoint.write_framework("S0", framework)
    here.checkpoint.write_executor("S0", one)
    stream = Stream()
    one.state, one.stream = "running", cast(Any, stream)
    one.tasks["t"] = Task("t", {"task_id": {"value": "t"}}, "*", Resources())
    return one, stream


def told(uuid: str, state: str = "TASK_RUNNING") -> dict[str, Any]:
    return {"task_id": {"value": "t"}, "uuid": uuid, "state": state, "source": "SOURCE_EXECUTOR"}


@contextmanager
def full_disk(room: int) -> Iterator[None]:
    """No file may grow beyond ``room`` bytes."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (room, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


async def test_an_update_that_cannot_be_kept_is_not_confirmed_and_comes_again(tmp_path: Path) -> None:
    sent: list[dict[str, Any]] = []
    here = agent(tmp_path, sent)
    here.updates.resume()
    one, stream = running(here)
    here.update(one, told("a"))
    journal = here.checkpoint.journal("S0", one, "t")
    size = journal.stat().st_size
    with full_disk(size + 20):
        here.update(one, told("b", "TASK_FINISHED"))
    assert journal.stat().st_size == size, "nothing of it stays"
    assert (one.tasks["t"].state, stream.closed) == ("TASK_RUNNING", True)
    assert [event["acknowledged"]["uuid"] for event in stream.sent] == ["a"]
    here.update(one, told("b", "TASK_FINISHED"))
    assert one.tasks["t"].state == "TASK_FINISHED"
    assert [event["acknowledged"]["uuid"] for event in stream.sent] == ["a", "b"]
    restored = StatusUpdates(lambda framework, status: None).restore("f", "t", journal)
    assert [status["uuid"] for status in restored] == ["a", "b"]


async def test_what_the_agent_says_itself_is_told_even_on_a_full_disk(tmp_path: Path) -> None:
    sent: list[dict[str, Any]] = []
    here = agent(tmp_path, sent)
    here.updates.resume()
    one, _ = running(here)
    with full_disk(0):
        here.end_task(one, one.tasks["t"], "TASK_FAILED", "EXECUTOR_TERMINATED", "gone")
    assert sent[-1]["status"]["state"] == "TASK_FAILED"
    assert one.tasks["t"].terminal


@pytest.mark.parametrize(("capable", "state"), [(True, "TASK_DROPPED"), (False, "TASK_LOST")])
async def test_a_task_that_cannot_be_written_down_is_not_begun(tmp_path: Path, capable: bool, state: str) -> None:
    sent: list[dict[str, Any]] = []
    here = agent(tmp_path, sent)
    here.updates.resume()
    framework = {"id": {"value": "f"}, "checkpoint": True, "user": "root"}
    if capable:
        framework["capabilities"] = [{"type": "PARTITION_AWARE"}]
    info = {"task_id": {"value": "t"}, "name": "t", "command": {"value": "true"}, "resources": []}
    with full_disk(0):
        Launches(here).run_task(framework, info, "*")
    [call] = sent
    assert (call["status"]["state"], "cannot write down" in call["status"]["message"]) == (state, True)
    assert here.frameworks == {}
    assert list(here.checkpoint.recover_executors("S0", same_boot=True)) == []


async def test_an_ended_task_that_is_told_again_is_over(tmp_path: Path) -> None:
    sent: list[dict[str, Any]] = []
    here = agent(tmp_path, sent)
    here.updates.resume()
    one, stream = running(here)
    here.update(one, told("a", "TASK_FINISHED"))
    here.acknowledge("f", "t", "a")
    assert len(sent) == 1
    here.update(one, told("a", "TASK_FINISHED"))
    assert len(sent) == 1
    assert [event["acknowledged"]["uuid"] for event in stream.sent] == ["a", "a"]


async def test_a_repeated_update_does_not_turn_back_the_task(tmp_path: Path) -> None:
    here = agent(tmp_path, [])
    one, _ = running(here)
    for uuid, state in (("a", "TASK_STARTING"), ("b", "TASK_RUNNING"), ("a", "TASK_STARTING")):
        here.update(one, told(uuid, state))
    assert one.tasks["t"].state == "TASK_RUNNING"


async def test_of_many_words_in_the_same_state_the_last_is_remembered(tmp_path: Path) -> None:
    here = agent(tmp_path, [])
    one, _ = running(here, checkpoint=False)
    for number in range(50):
        here.update(one, told(f"u{number}"))
    assert [status["uuid"] for status in one.tasks["t"].statuses] == ["u49"]


async def test_a_framework_of_which_nothing_runs_is_completed_and_may_come_again(tmp_path: Path) -> None:
    here = agent(tmp_path, [])
    here.updates.resume()
    one, _ = running(here)
    here.update(one, told("a", "TASK_FINISHED"))
    here.executor_exited(one, 0)
    assert "f" in here.frameworks, "an update of it is owed"
    here.acknowledge("f", "t", "a")
    assert here.frameworks == {}
    [known] = here.completed_frameworks
    assert [ended.executor_id for ended in known.completed_executors] == ["e"]


def test_a_boot_id_is_whole_or_not_there(tmp_path: Path) -> None:
    checkpoint = Checkpoint(Paths(tmp_path))
    assert checkpoint.same_boot("one")
    with full_disk(0), pytest.raises(OSError, match=r"."):
        checkpoint.same_boot("two")
    assert checkpoint.same_boot("one"), "what was there is still there"


async def test_an_event_that_cannot_be_carried_out_is_no_trouble_of_the_link(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    here = agent(tmp_path, [])
    link = MasterLink(cast(Any, None), backoff=1.0, on_registered=lambda: None)
    link._carry_out(link._handlers(here, Launches(here))["RUN_TASK"], {"type": "RUN_TASK", "task": {}}, here)
    assert "RUN_TASK could not be carried out" in caplog.text


def test_an_id_is_as_long_as_its_bytes() -> None:
    assert id_error("x" * 255) is None
    assert id_error("\u00e4" * 127) is None
    assert id_error("\u00e4" * 128) is not None


@pytest.mark.parametrize("kind", ["RUN_TASK", "RUN_TASK_GROUP"])
async def test_a_task_the_agent_fails_over_has_an_end(tmp_path: Path, kind: str) -> None:
    sent: list[dict[str, Any]] = []
    here = agent(tmp_path, sent)
    here.updates.resume()
    task = {"task_id": {"value": "t"}, "resources": [{"type": "SCALAR"}]}
    event = {"type": kind, "framework_info": {"id": {"value": "f"}}, "role": "*", "task": task}
    event |= {"executor": {"executor_id": {"value": "e"}}, "task_group": {"tasks": [task]}}
    link = MasterLink(cast(Any, None), backoff=1.0, on_registered=lambda: None)
    link._carry_out(link._handlers(here, Launches(here))[kind], event, here)
    status = sent[-1]["status"]
    assert (status["task_id"]["value"], status["state"]) == ("t", "TASK_FAILED")
    assert (status["reason"], "KeyError" in status["message"]) == ("REASON_CONTAINER_LAUNCH_FAILED", True)
    assert not here.frameworks


@pytest.mark.parametrize(("state", "after"), [("registering", "terminating"), ("running", "running")])
async def test_a_killed_queued_task_ends_only_an_executor_that_never_came(
    tmp_path: Path, state: Any, after: str
) -> None:
    here = agent(tmp_path, [])
    framework = here.frameworks["f"] = Framework({"id": {"value": "f"}})
    run = framework.executors["e"] = executor(Paths(tmp_path), "c")
    run.state = state
    run.queued["t"] = Task(task_id="t", info={}, role="*", resources=Resources())
    here.kill_task("f", "t", None)
    assert (run.tasks["t"].state, run.state) == ("TASK_KILLED", after)


async def test_nobody_waits_for_acknowledgements_of_a_framework_that_is_shut_down(tmp_path: Path) -> None:
    here = agent(tmp_path, [])
    here.tell_unknown("f", "t", partition_aware=False)
    here.shutdown_framework("f")
    assert not here.updates.waiting("f", "t")


async def test_a_framework_that_comes_again_is_no_completed_one_and_keeps_its_past(tmp_path: Path) -> None:
    here = agent(tmp_path, [])
    run = executor(Paths(tmp_path), "c")
    here.know_framework({"id": {"value": "f"}}).completed_executors.append(run)
    here.forget_if_idle(here.frameworks["f"])
    assert len(here.completed_frameworks) == 1
    assert list(here.know_framework({"id": {"value": "f"}}).completed_executors) == [run]
    assert not here.completed_frameworks


def test_a_description_that_a_crash_emptied_is_none(tmp_path: Path) -> None:
    path = tmp_path / "task.info"
    path.write_bytes(b"")
    assert read_json(path) is None


async def test_a_framework_changed_on_a_full_disk_is_written_down_later(tmp_path: Path) -> None:
    here = agent(tmp_path, [])
    running(here)
    changed = {"id": {"value": "f"}, "checkpoint": True, "name": "renamed"}
    info = {"task_id": {"value": "t2"}, "executor": {"executor_id": {"value": "e"}}}
    # With a second executor the framework's description is written only when it differs.
    here.frameworks["f"].executors["other"] = executor(here.checkpoint.paths, "d")
    with full_disk(0):
        Launches(here).run_task(changed, info, "*")
    Launches(here).run_task(changed, info, "*")
    assert read_json(here.checkpoint.paths.framework("S0", "f") / "framework.info") == changed
