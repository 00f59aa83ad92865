from __future__ import annotations

import json
from typing import Any

import pytest

from k8slab.cli import mesos_cluster
from k8slab.cli.mesos_run import find, task_command
from k8slab.errors import AmbiguousTask, UnknownTask
from k8slab.lab.probes.http import NoAnswer
from k8slab.view.mesos_cluster import read

STATE = {
    "cluster": "k8s-mesos",
    "pid": "master@172.17.1.5:5050",
    "slaves": [],
    "frameworks": [{"id": "m-0000", "name": "Kubernetes", "role": "*", "active": True, "connected": True}],
}


def masters(answers: dict[str, tuple[int, bytes]], monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Masters that answer as told; who was asked for what."""
    asked: list[str] = []

    def ask(host: str, port: int, path: str) -> tuple[int, bytes]:
        asked.append(f"{host}:{port}{path}")
        if path == "/weights":
            return 200, b'[{"role": "*", "weight": 3.0}]'
        if host not in answers:
            raise NoAnswer("[Errno 111] Connection refused")
        return answers[host]

    monkeypatch.setattr(mesos_cluster, "ask", ask)
    return asked


@pytest.fixture
def led(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    return masters({"172.17.1.4": (307, b""), "172.17.1.5": (200, json.dumps(STATE).encode())}, monkeypatch)


def test_the_labs_masters_are_asked(up: Any, led: list[str]) -> None:
    answer = up.json("mesos", "frameworks")
    assert [framework["name"] for framework in answer["frameworks"]] == ["Kubernetes"]
    assert answer["frameworks"][0]["weight"] == 3.0
    assert sorted(led) == [
        "172.17.1.4:5050/state",
        "172.17.1.5:5050/state",
        "172.17.1.5:5050/weights",
        "172.17.1.6:5050/state",
    ]
    states = {master["name"]: master["state"] for master in up.json("mesos", "masters")["masters"]}
    assert states == {"mesos-master-0": "standby", "mesos-master-1": "leading", "mesos-master-2": "down"}


def test_alone_it_shows_everything(up: Any, led: list[str]) -> None:
    text = up("mesos").stdout
    for word in ("k8s-mesos", "mesos-master-2", "down", "No agents.", "Kubernetes"):
        assert word in text
    assert set(up.json("mesos")) == {"schema", "cluster", "masters", "agents", "frameworks", "tasks", "offers"}


def test_another_cluster_needs_no_lab(shell: Any, led: list[str]) -> None:
    assert "Kubernetes" in shell("mesos", "frameworks", "--masters", "172.17.1.4,172.17.1.5:5050").stdout
    for wrong in ("172.17.1.4:x", "172.17.1.4:5²"):
        assert "no master's address" in shell("mesos", "frameworks", "--masters", wrong, code=2).stderr
    assert "There is no lab" in shell("mesos", "frameworks", code=2).stderr


def test_options_before_the_verb_hold_for_it(shell: Any, led: list[str]) -> None:
    assert "Kubernetes" in shell("mesos", "--masters", "172.17.1.5", "frameworks").stdout
    shell("run", "k8s-mesos", "--lab", "one")
    assert "There is no lab 'two'" in shell("mesos", "--lab", "two", "frameworks", code=2).stderr
    assert "Kubernetes" in shell("mesos", "--lab", "two", "frameworks", "--lab", "one").stdout
    assert "Kubernetes" in shell("mesos", "--lab", "one", "frameworks").stdout
    assert "Kubernetes" in shell("mesos", "--masters", "172.17.1.5", "frameworks", K8SLAB_LAB="two").stdout


def test_without_a_leader_it_says_what_each_master_says(up: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    masters({"172.17.1.4": (503, b"No leader elected")}, monkeypatch)
    for words in (("agents",), (), ("logs", "x"), ("execute", "--", "true")):
        error = up("mesos", *words, code=1).stderr
        assert "No Mesos master leads." in error
        assert "`k8slab start zk mm`" in error
        assert "mesos-master-0 (172.17.1.4:5050): answers 503 No leader elected" in error
        assert "mesos-master-1 (172.17.1.5:5050): does not answer" in error
    assert up.json("mesos", "offers", code=1)["error"] == "no-leading-master"
    states = [master["state"] for master in up.json("mesos", "masters")["masters"]]
    assert states == ["standby", "down", "down"]


def test_a_lab_without_mesos_has_no_masters(shell: Any, tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    shell("topology", "new", "other")
    shell("run", "other", "--no-start")
    assert "Lab other has no mesos-master." in shell("mesos", "agents", code=2).stderr


@pytest.mark.parametrize(("option", "value"), [("--cpus", "inf"), ("--cpus", "nan"), ("--mem", "inf"), ("--cpus", "0")])
def test_amounts_that_nobody_can_have_are_refused(up: Any, led: list[str], option: str, value: str) -> None:
    assert "Invalid value" in up("mesos", "execute", option, value, "--", "true", code=2).stderr


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (("--", "echo hi; sleep 2"), "echo hi; sleep 2"),
        (("echo", "-n", "a b"), "echo -n 'a b'"),
        (("--cpus", "2", "--", "echo", "--name", "x"), "echo --name x"),
        (("--cpus", "2", "seq", "--", "3"), "seq -- 3"),
    ],
)
def test_once_the_command_has_begun_every_word_is_its_own(
    up: Any, led: list[str], monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...], line: str
) -> None:
    ran: list[Any] = []
    monkeypatch.setattr("k8slab.cli.mesos_run.run", lambda session, masters, command: ran.append(command) or 7)
    up("mesos", "execute", *words, code=7)
    assert [command.value for command in ran] == [line]
    assert ran[0].name == "execute"


def test_what_is_to_be_run() -> None:
    options: dict[str, Any] = {"name": "hi", "cpus": 0.5, "mem": 64, "role": "*", "docker_image": ""}
    assert task_command(["echo hi; sleep 2"], **options).value == "echo hi; sleep 2"
    words = task_command(["echo", "a b", "$HOME"], **options)
    assert words.value == "echo 'a b' '$HOME'"
    assert words.task_id.startswith("hi.")
    assert words.task_info({"value": "S0"}, []).get("container") is None
    boxed = task_command(["true"], **{**options, "docker_image": "alpine"}).task_info({"value": "S0"}, [])
    assert boxed["container"] == {"type": "DOCKER", "docker": {"image": "alpine"}}
    assert task_command(["true"], **{**options, "role": "batch"}).framework_info()["role"] == "batch"


def test_a_task_is_found_by_its_id_its_beginning_or_its_name() -> None:
    def task(task_id: str, state: str, when: float) -> dict[str, Any]:
        status = {"state": state, "timestamp": when}
        return {
            "id": task_id,
            "name": task_id.partition(".")[0],
            "slave_id": "S0",
            "state": state,
            "statuses": [status],
        }

    tasks = [
        task("hi.1", "TASK_FINISHED", 1),
        task("hi.2", "TASK_FINISHED", 2),
        task("ho.1", "TASK_RUNNING", 3),
        task("ho.2", "TASK_RUNNING", 4),
        task("he.1", "TASK_RUNNING", 5),
        task("he.2", "TASK_KILLED", 6),
        task("hello.1", "TASK_RUNNING", 7),
    ]
    cluster = read({"frameworks": [{"id": "m-0", "name": "f", "tasks": tasks}]})
    assert find(cluster, "hi.1").id == "hi.1"
    assert find(cluster, "hi").id == "hi.2", "of those that ended the last"
    assert find(cluster, "he").id == "he.1", "of several with the name the living one"
    assert find(cluster, "hel").id == "hello.1"
    with pytest.raises(AmbiguousTask, match="ho"):
        find(cluster, "ho")
    with pytest.raises(UnknownTask) as caught:
        find(cluster, "h.1")
    assert "Did you mean" in caught.value.remedy
