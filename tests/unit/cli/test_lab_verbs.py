from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from k8slab.cli.signals import checked_signal
from k8slab.errors import EngineUnreachable


def test_run_brings_everything_up_and_says_what_to_do_next(shell: Any) -> None:
    done = shell("run")
    assert done.stdout.startswith("k8s-mesos  ✓ ready  11 nodes · 20 daemons\n")
    assert "✓ created etcd-0" in done.stderr
    assert "k8slab kubectl create -f topologies/k8s-mesos/nginx.yaml" in done.stderr
    assert "\x1b" not in done.output


def test_run_again_says_that_there_was_nothing_to_do(up: Any) -> None:
    assert "Nothing to do: lab k8s-mesos is up." in up("run").stderr
    assert up.json("run")["changes"] == []


def test_run_repairs_and_names_what_it_did(up: Any) -> None:
    up.runtime.remove("machine", "etcd-1")
    planned = up("run", "--dry-run").stdout.splitlines()
    assert planned[0].split()[:3] == ["nodes", "create", "etcd-1"]
    assert planned[-1] == "3 steps; nothing was done."
    assert "etcd-1" not in up.runtime.machines_by_name
    changes = up.json("run")["changes"]
    assert [(one["verb"], one["subject"]) for one in changes] == [
        ("created", "etcd-1"),
        ("wired", "etcd-1"),
        ("started", "etcd-1/etcd"),
    ]


def test_run_as_json_is_the_documented_form(shell: Any) -> None:
    form = shell.json("run")
    assert (form["schema"], form["lab"], form["topology"], form["ready"]) == (1, "k8s-mesos", "k8s-mesos", True)
    assert {phase["name"] for phase in form["timings"]["phases"]} == {"checks", "nodes", "wires", "daemons"}
    node = form["nodes"][0]
    assert set(node) >= {"name", "role", "address", "mac", "state", "wired", "daemons"}
    assert set(node["daemons"][0]) >= {"name", "alias", "state", "pid", "since", "restarts", "truth"}
    assert len(form["changes"]) == 43


def test_explain_prints_what_one_would_type_and_does_nothing(shell: Any) -> None:
    lines = shell("run", "--explain").stdout.splitlines()
    assert any(line.startswith("docker create --name=etcd-0 ") for line in lines)
    assert "# wire etcd-0" in lines
    assert not any("…" in line for line in lines)
    assert shell.runtime.calls == []
    steps = shell.json("run", "--explain")["steps"]
    assert all(step["commands"] for step in steps)


def test_no_start_stops_at_wired_nodes(shell: Any) -> None:
    form = shell.json("run", "--no-start")
    assert all(node["wired"] for node in form["nodes"])
    assert {daemon["state"] for node in form["nodes"] for daemon in node["daemons"]} == {"down"}
    assert "start the daemons too" in shell("run", "--no-start").stderr


def test_settings_come_from_the_line_and_from_the_environment(shell: Any) -> None:
    fewer = ("--set", "nodes.etcd.count=1", "--set", "nodes.kubernetes-minion.count=1")
    assert len(shell.json("run", *fewer)["nodes"]) == 6
    # Without a name it is the lab that is there, as it was last run.
    assert len(shell.json("run")["nodes"]) == 6
    assert "takes its topology's file anew" in shell("run").stderr
    assert len(shell.json("run", K8SLAB_SET="nodes.etcd.count=3")["nodes"]) == 8
    assert len(shell.json("run", "k8s-mesos")["nodes"]) == 11


def test_a_lab_stays_one_of_its_topology(up: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    up("topology", "new", "other")
    done = up("run", "other", "--lab", "k8s-mesos", code=2)
    assert "Lab k8s-mesos is a lab of topology k8s-mesos, not other." in done.stderr
    assert "`k8slab rm --lab k8s-mesos` first" in done.stderr
    assert up.json("status")["topology"] == "k8s-mesos"


def test_beside_a_topology_only_a_typed_lab_counts(shell: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    shell("topology", "new", "other")
    assert shell.json("run", "other", "--no-start", K8SLAB_LAB="k8s-mesos")["lab"] == "other"
    assert shell.json("run", "other", "--no-start", "--lab", "mine", "--dry-run", K8SLAB_LAB="x")["lab"] == "mine"
    assert shell.json("run", "--no-start", K8SLAB_LAB="other")["lab"] == "other"


def test_a_daemon_that_dies_shows_the_end_of_its_log(shell: Any) -> None:
    shell.runtime.broken.add("apiserver")
    done = shell("run", code=1)
    assert "✗ apiserver on kubernetes-mesos did not come up." in done.stderr
    assert "the end of the log" in done.stderr
    form = shell.json("run", code=1)
    assert (form["error"], form["exit_code"]) == ("daemon-failed", 1)


def test_a_daemon_that_is_never_ready_times_out(shell: Any) -> None:
    shell.runtime.slow.add("etcd")
    assert "--timeout" in shell("run", "--timeout", "1", code=4).stderr


def test_images_that_are_not_built_are_asked_for(shell: Any) -> None:
    shell.runtime.no_images = True
    assert "k8slab build" in shell("run", code=3).stderr
    assert shell.runtime.calls == []


def test_status_says_who_leads(up: Any) -> None:
    lines = up("status").stdout.splitlines()
    row = next(line for line in lines if line.startswith("mesos-master-0"))
    assert row.endswith("✓ zk ✓ mm        zk leader · mm leading, 4 agents, Kubernetes")
    assert up("ps").stdout == up("status").stdout
    assert up.json("status")["nodes"][0]["daemons"][0]["truth"]["leader"] is True
    assert "02:0c:ac:11:01:01" in up("status", "-o", "wide").stdout


def test_without_a_lab_there_is_no_status(shell: Any) -> None:
    assert "`k8slab run` brings one up." in shell("status", code=2).stderr
    assert shell.json("status", code=2)["error"] == "no-such-lab"


KILLS = [("kill", "etcd"), ("k", "etcd"), ("k", "e"), ("etcd", "kill"), ("kill", "etcd", "e")]


@pytest.mark.parametrize("words", KILLS)
def test_kill_takes_every_form_people_know(up: Any, words: tuple[str, ...]) -> None:
    assert up(*words).stdout == "killed  etcd on etcd-0…2\n"
    assert "etcd-0: /usr/lib/k8slab/daemonctl stop etcd" in up.runtime.calls


@pytest.mark.parametrize("words", [("start", "etcd"), ("s", "etcd"), ("etcd", "start"), ("e", "s")])
def test_start_takes_them_too(up: Any, words: tuple[str, ...]) -> None:
    up("kill", "etcd-1")
    assert up(*words).stdout.startswith("started  etcd on etcd-1")
    assert "is up already" in up(*words).stdout


def test_kill_of_one_daemon_and_with_a_signal(up: Any) -> None:
    assert up("kill", "mesos-master-0/zk", "--signal", "sigkill").stdout == "killed  zookeeper on mesos-master-0\n"
    assert "mesos-master-0: /usr/lib/k8slab/daemonctl stop zookeeper KILL" in up.runtime.calls
    assert "There is no signal 'SIGWHAT'." in up("kill", "zk", "--signal", "SIGWHAT", code=2).stderr


@pytest.mark.parametrize("signal", ["STOP", "SIGCONT", "winch", "CHLD", "CLD", "TSTP", "19", "URG"])
def test_a_signal_that_ends_nothing_is_no_killing(up: Any, signal: str) -> None:
    before = list(up.runtime.calls)
    assert "`k8slab node pause` freezes a machine" in up("kill", "zk", "--signal", signal, code=2).stderr
    assert up.runtime.calls == before


@pytest.mark.parametrize(("word", "name"), [("9", "KILL"), ("sigterm", "TERM"), ("IOT", "ABRT"), ("usr1", "USR1")])
def test_signals_by_each_of_their_names(word: str, name: str) -> None:
    assert checked_signal(word) == name


def test_kill_as_json_lists_the_changes(up: Any) -> None:
    form = up.json("kill", "api")
    assert form["lab"] == "k8s-mesos"
    assert [(one["verb"], one["subject"]) for one in form["changes"]] == [("killed", "kubernetes-mesos/apiserver")]
    assert up.json("kill", "api")["changes"] == []


def test_an_unknown_target_gets_a_suggestion(up: Any) -> None:
    done = up("kill", "etdc", code=2)
    assert "Nothing in this lab is called 'etdc'." in done.stderr
    assert "Did you mean etcd" in done.stderr
    assert up.json("kill", "etdc", code=2)["error"] == "unknown-target"


def test_nodes_have_buttons(up: Any) -> None:
    assert up("node", "pause", "kubernetes-minion-1").stdout == "paused  kubernetes-minion-1\n"
    assert up.json("status")["nodes"][8]["state"] == "paused"
    assert up("node", "stop", "etcd-0").stdout == "stopped  etcd-0\n"
    assert up.json("status")["nodes"][0]["state"] == "stopped"
    assert "is off already" in up("node", "stop", "etcd-0").stdout
    assert "etcd-9" in up("node", "stop", "etcd-9", code=2).stderr


def test_rm_says_what_it_removed_and_a_second_finds_nothing(up: Any) -> None:
    text = up("rm").stdout
    assert text.startswith("Removed lab k8s-mesos:\n12 containers  ")
    assert up.runtime.machines_by_name == {}
    assert up("rm").stdout == "Nothing of lab k8s-mesos was there to remove.\n"
    assert up.json("rm")["labs"] == [{"schema": 1, "lab": "k8s-mesos", "changes": []}]


def test_rm_all_takes_every_lab(up: Any) -> None:
    up("run", "k8s-mesos", "--lab", "second", "--set", "subnet=172.18.0.0/16", code=2)
    up.runtime.machines_by_name["left"] = up.runtime.machines_by_name["etcd-0"].__class__(
        "1", "left", "stopped", "i", {"k8slab.lab": "forgotten"}
    )
    assert [form["lab"] for form in up.json("rm", "--all")["labs"]] == ["forgotten", "k8s-mesos"]
    assert up.runtime.machines_by_name == {}


def test_a_bad_name_is_refused_before_anything_is_done(shell: Any) -> None:
    assert "'Bad_Name' cannot name a lab." in shell("run", "--lab", "Bad_Name", code=2).stderr
    assert shell.runtime.calls == []


def test_an_unreachable_engine_is_a_precondition(shell: Any) -> None:
    shell.error = EngineUnreachable("There is no socket.")
    assert "The Docker Engine does not answer." in shell("status", code=3).stderr
    assert shell.json("doctor", code=3)["ok"] is False


def test_doctor_passes_where_a_lab_can_run(shell: Any) -> None:
    names = [check["name"] for check in shell.json("doctor")["checks"]]
    assert {"engine", "images", "names", "subnet"} <= set(names)
    shell.runtime.no_images = True
    assert "Run `k8slab build`." in shell("doctor", code=3).stdout


def test_an_unexpected_error_is_called_a_bug(shell: Any) -> None:
    shell.error = ZeroDivisionError("by nought")
    done = shell("status", code=1)
    assert "This is a bug in k8slab: ZeroDivisionError: by nought" in done.stderr
    assert "k8slab -v" in done.stderr


def test_an_interruption_says_how_to_go_on(shell: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("k8slab.lab.lab.Lab.run", interrupted)
    said = shell("run", code=130).stderr
    assert "the same command goes on from there" in said
    assert "`k8slab run --lab k8s-mesos` brings everything up" in said
    assert shell.json("run", code=130)["error"] == "interrupted"


def test_watching_ends_well_with_an_interruption(up: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("k8slab.cli.watch._ticks", lambda: _two_beats())
    assert up("status", "--watch").stdout.count("✓ ready") == 1


def _two_beats() -> Any:
    yield
    yield
    raise KeyboardInterrupt


def test_watching_tells_of_trouble_and_goes_on(up: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def beats() -> Any:
        yield
        up.runtime.remove("machine", "etcd-0")
        yield
        yield
        raise KeyboardInterrupt

    monkeypatch.setattr("k8slab.cli.watch._ticks", beats)
    text = up("status", "--watch").stdout
    assert "11 nodes" in text
    assert "10 of 11 nodes running" in text
