"""``k8slab package`` over an engine in memory."""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from memory import MemoryRuntime

from k8slab.errors import LabChanged
from k8slab.lab.lab import Lab, state_directory
from k8slab.lab.lock import FILE
from k8slab.topology import store


@pytest.fixture
def dcos(shell: Any) -> Any:
    shell("run", "dcos")
    return shell


def created(shell: Any) -> list[str]:
    return [call.removeprefix("create ") for call in shell.runtime.calls if call.startswith("create ")]


def test_a_package_is_listed_before_and_after_it_is_installed(dcos: Any) -> None:
    assert dcos("package", "list").stdout.splitlines()[1].split()[2:4] == ["not", "installed"]
    dcos("package", "install", "kubernetes")
    row = dcos("package", "list").stdout.splitlines()[1].split()
    assert (row[0], row[2], row[3]) == ("kubernetes", "ready", "http://10.143.0.31:25502")
    (listed,) = dcos.json("package", "list")["packages"]
    assert (listed["installed"], listed["node"], listed["options"]["log-level"]) == (True, "kubernetes", 1)
    dcos("kill", "sd")
    assert "3 of 4 daemons ready" in dcos("package", "list").stdout


def test_installing_makes_one_machine_and_touches_no_other(dcos: Any) -> None:
    dcos.runtime.calls.clear()
    done = dcos("package", "install", "kubernetes")
    assert sorted(created(dcos)) == ["k8slab-switch-dcos", "kubernetes"]
    assert "export KUBERNETES_MASTER=http://10.143.0.31:25502" in done.stdout
    assert "what it keeps is gone when that machine is" in done.stderr


def test_options_come_from_a_file(dcos: Any, tmp_path: Path) -> None:
    file = tmp_path / "options.json"
    file.write_text(json.dumps({"kubernetes": {"apiserver-port": 8888, "etcd-servers": "http://etcd:2379"}}))
    form = dcos.json("package", "install", "kubernetes", "--options", str(file))
    assert form["ready"]
    assert form["package"]["options"]["apiserver-port"] == 8888
    assert "--port=8888" in dcos("manual", "api").stdout
    assert "KUBERNETES_MASTER=http://10.143.0.31:8888" in dcos("env", "--shell", "bash").stdout
    assert "is still" not in dcos("package", "list").stdout
    assert "are still at http://etcd:2379" in dcos("package", "uninstall", "kubernetes").stderr


def test_wrong_options_change_nothing(dcos: Any, tmp_path: Path) -> None:
    file = tmp_path / "options.json"
    file.write_text('{"kubernetes": {"apiserver-port": "x"}}')
    dcos.runtime.calls.clear()
    error = dcos("package", "install", "kubernetes", "--options", str(file), code=2).stderr
    assert "kubernetes.apiserver-port: input should be a valid integer" in error
    assert "k8slab package describe kubernetes" in error
    assert created(dcos) == []


def test_what_is_installed_is_there_when_the_lab_is_run_again(dcos: Any) -> None:
    dcos("package", "install", "kubernetes")
    assert "Nothing to do: lab dcos is up." in dcos("run", "dcos").stderr
    dcos.runtime.remove("machine", "kubernetes")
    assert "created kubernetes" in dcos("run", "dcos").stderr
    assert "Nothing to do: kubernetes is installed already." in dcos("package", "install", "kubernetes").stderr


def test_uninstalling_ends_the_framework_and_then_the_machine(dcos: Any) -> None:
    dcos("package", "install", "kubernetes")
    dcos.runtime.calls.clear()
    done = dcos.json("package", "uninstall", "kubernetes")
    assert {(one["verb"], one["subject"]) for one in done["changes"]} >= {
        ("killed", "kubernetes/scheduler"),
        ("removed", "kubernetes"),
    }
    calls = dcos.runtime.calls
    stop = next(index for index, call in enumerate(calls) if call.endswith(" stop scheduler"))
    (end,) = [index for index, call in enumerate(calls) if "km teardown" in call]
    assert calls[end] == (
        "kubernetes: km teardown --mesos-master=zk://10.143.0.11:2181/mesos"
        " --framework-name=kubernetes --framework-hostname=kubernetes"
    )
    assert stop < end < calls.index("remove kubernetes")
    assert "kubernetes" not in dcos.runtime.machines_by_name
    again = dcos("package", "uninstall", "kubernetes")
    assert "Nothing to do: kubernetes is not installed." in again.stdout + again.stderr
    assert "Nothing to do" in dcos("run", "dcos").stderr


def test_a_package_whose_machine_is_off_is_ended_from_a_master(dcos: Any) -> None:
    dcos("package", "install", "kubernetes")
    dcos("node", "stop", "kubernetes")
    assert "its machine is stopped" in dcos("package", "list").stdout
    dcos("kill", "etcd")
    dcos("package", "uninstall", "kubernetes")
    assert any(call.startswith("master: km teardown ") for call in dcos.runtime.calls)
    assert dcos.runtime.daemons["etcd"]["etcd"] == "down", "nothing else is touched"


def test_a_package_and_its_options_are_described(shell: Any) -> None:
    lines = shell("package", "describe", "kubernetes").stdout.splitlines()
    assert any(line.split()[:3] == ["apiserver-port", "integer", "25502"] for line in lines)
    schema = shell.json("package", "describe", "kubernetes")["options"]
    assert schema["properties"]["kubernetes"]["properties"]["enable-dns"]["type"] == "boolean"


def test_what_cannot_be_installed_is_told_so(up: Any) -> None:
    assert "no place for the package kubernetes" in up("package", "install", "kubernetes", code=2).stderr
    assert "Did you mean kubernetes?" in up("package", "install", "kubernets", code=2).stderr
    assert "has no place for packages" in up("package", "list").stdout


class CutOff:
    """Interrupts a command when it has changed the engine ``after`` times; whoever works beside it gets no further."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, after: int) -> None:
        self.left, self.active, self.happened = after, True, False
        for name in ("create", "power", "remove", "execute"):
            monkeypatch.setattr(MemoryRuntime, name, self._counted(getattr(MemoryRuntime, name)))

    def _counted(self, original: Any) -> Any:
        def call(runtime: MemoryRuntime, *words: Any) -> Any:
            asks_only = len(words) == 2 and words[1][-1:] == ["status"]
            if self.active and not asks_only:
                if self.left <= 0:
                    self.happened = True
                    raise KeyboardInterrupt
                self.left -= 1
            return original(runtime, *words)

        return call


@pytest.mark.parametrize("after", range(9))
def test_an_installation_that_was_cut_off_goes_on_when_asked_for_again(
    dcos: Any, monkeypatch: pytest.MonkeyPatch, after: int
) -> None:
    cut = CutOff(monkeypatch, after)
    assert "the same command goes on from there" in dcos("package", "install", "kubernetes", code=130).stderr
    assert cut.happened
    cut.active = False
    assert dcos.json("package", "install", "kubernetes")["ready"]
    (listed,) = dcos.json("package", "list")["packages"]
    assert (listed["installed"], listed["state"]) == (True, "ready")
    assert "Nothing to do: kubernetes is installed already." in dcos("package", "install", "kubernetes").stderr


def test_an_installation_whose_daemon_died_goes_on_when_asked_for_again(dcos: Any, tmp_path: Path) -> None:
    file = tmp_path / "options.json"
    file.write_text('{"kubernetes": {"log-level": 2}}')
    dcos.runtime.broken.add("apiserver")
    dcos("package", "install", "kubernetes", "--options", str(file), code=1)
    said = dcos("package", "install", "kubernetes", code=2).stderr
    assert "It was installed with other options (log-level: 2)." in said
    assert "`k8slab package uninstall kubernetes` first" in said
    dcos.runtime.broken.clear()
    assert dcos.json("package", "install", "kubernetes", "--options", str(file))["ready"]


@pytest.mark.parametrize("after", range(8))
def test_taking_out_that_was_cut_off_goes_on_when_asked_for_again(
    dcos: Any, monkeypatch: pytest.MonkeyPatch, after: int
) -> None:
    dcos("package", "install", "kubernetes")
    cut = CutOff(monkeypatch, after)
    dcos("package", "uninstall", "kubernetes", code=130)
    assert cut.happened
    cut.active = False
    dcos("package", "uninstall", "kubernetes")
    assert "kubernetes" not in dcos.runtime.machines_by_name
    assert "Nothing to do" in dcos("run", "dcos").stderr


def test_who_waited_for_an_installation_does_not_take_its_machine_away(dcos: Any) -> None:
    without = dict(dcos.runtime.machines_by_name)
    dcos("package", "install", "kubernetes")
    with_it = dict(dcos.runtime.machines_by_name)
    dcos.runtime.machines_by_name = dict(without)
    said: list[str] = []

    def the_other_has_installed(text: str) -> None:
        said.append(text)
        dcos.runtime.machines_by_name = dict(with_it)
        os.close(held)

    held = os.open(state_directory() / "dcos" / FILE, os.O_RDWR)
    fcntl.flock(held, fcntl.LOCK_EX)
    lab = Lab(dcos.runtime, store.load("dcos"))
    with pytest.raises(LabChanged, match="is not what it was when this command began"):
        lab.run(listener=lambda event: the_other_has_installed(event.text))
    assert len(said) == 1
    assert "waiting" in said[0]
    assert "kubernetes" in dcos.runtime.machines_by_name


def test_who_waited_for_the_same_goes_on(dcos: Any) -> None:
    held = os.open(state_directory() / "dcos" / FILE, os.O_RDWR)
    fcntl.flock(held, fcntl.LOCK_EX)
    topology = store.load("dcos")
    there = dict(dcos.runtime.machines_by_name)
    dcos.runtime.machines_by_name = {}

    def the_other_is_done(_: object) -> None:
        if not dcos.runtime.machines_by_name:
            dcos.runtime.machines_by_name = there
            os.close(held)

    assert Lab(dcos.runtime, topology).run(listener=the_other_is_done).changes == ()


def test_who_waited_for_a_removal_begins_anew(dcos: Any) -> None:
    nodes = set(dcos.runtime.machines_by_name)
    told = waiting_for_a_removal(dcos, Lab(dcos.runtime, store.load("dcos")).run)
    assert "waiting" in told[0]
    assert set(dcos.runtime.machines_by_name) == nodes


def test_who_waited_for_a_removal_to_take_something_out_leaves_nothing(dcos: Any) -> None:
    lab = Lab(dcos.runtime, store.load("dcos"))
    with pytest.raises(LabChanged):
        waiting_for_a_removal(dcos, partial(lab.shed, "kubernetes"))
    assert dcos.runtime.machines_by_name == {}


def waiting_for_a_removal(dcos: Any, what: Callable[..., object]) -> list[str]:
    """What is said while the lab is removed by somebody else, and then done."""
    held = os.open(state_directory() / "dcos" / FILE, os.O_RDWR)
    fcntl.flock(held, fcntl.LOCK_EX)
    told: list[str] = []

    def the_other_has_removed_it(text: str) -> None:
        if not told:
            dcos.runtime.machines_by_name = {}
            os.close(held)
        told.append(text)

    what(listener=lambda event: the_other_has_removed_it(event.text))
    return told
