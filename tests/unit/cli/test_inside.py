from __future__ import annotations

import os
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from k8slab.cli.clients import is_system
from k8slab.cli.execute import has_terminal
from k8slab.cli.logs import NO_FILE, UNLESS_NO_FILE


def test_exec_passes_command_and_exit_code_through(up: Any) -> None:
    up.console.code = 7
    up("exec", "etcd-0", "--", "ls", "-l", "--", "/", code=7)
    assert up.console.calls == [("id-etcd-0", ("ls", "-l", "--", "/"), False)]
    up("exec", "etcd-0", "ls", "-o", "x", code=7)
    assert up.console.calls[-1][1] == ("ls", "-o", "x")


@pytest.mark.parametrize(
    "words",
    [
        ("etcd-0", "--lab", "demo", "--", "ls", "--lab", "x"),
        ("etcd-0", "--lab=demo", "ls", "--lab", "x"),
        ("--lab", "demo", "etcd-0", "--", "ls", "--lab", "x"),
        ("--lab", "demo", "--", "etcd-0", "ls", "--lab", "x"),
    ],
)
def test_options_before_the_command_are_ours(shell: Any, words: tuple[str, ...]) -> None:
    shell("run", "k8s-mesos", "--lab", "demo")
    shell("exec", *words)
    assert shell.console.calls == [("id-demo-etcd-0", ("ls", "--lab", "x"), False)]


def test_exec_says_what_is_not_an_option_and_helps(up: Any) -> None:
    assert "--lob" in up("exec", "etcd-0", "--lob", "demo", "--", "ls", code=2).stderr
    assert "Run a command on a node" in up("exec", "etcd-0", "--help").stdout
    assert up.console.calls == []


def test_a_node_is_known_by_its_labels_alone(up: Any) -> None:
    up.runtime.remove("machine", "etcd-1")
    other = up.runtime.machines_by_name["etcd-0"]
    up.runtime.machines_by_name["etcd-1"] = replace(other, id="etcd-1f00", name="etcd-1", labels={})
    for words in (("exec", "etcd-1", "--", "true"), ("shell", "etcd-1"), ("logs", "etcd-1")):
        assert "There is no machine etcd-1." in up(*words, code=1).stderr
    assert "Did you mean etcd-0" in up("shell", "etc-0", code=2).stderr
    assert up.console.calls == []


@pytest.mark.parametrize(("button", "state", "way"), [("pause", "paused", "unpause"), ("stop", "off", "start")])
def test_nothing_is_run_on_a_node_that_does_not_run(up: Any, button: str, state: str, way: str) -> None:
    up("node", button, "etcd-0")
    text = up("exec", "etcd-0", "--", "true", code=1).stderr
    assert f"etcd-0 is {state}" in text
    assert f"`k8slab node {way} etcd-0`" in text


def test_exec_wants_a_node_and_a_command(up: Any) -> None:
    assert "Did you mean etcd-" in up("exec", "etc-0", "--", "true", code=2).stderr
    assert "There is no command" in up("exec", "etcd-0", code=2).stderr


def test_a_named_lab_is_entered_by_the_short_names_of_its_nodes(shell: Any) -> None:
    shell("run", "k8s-mesos", "--lab", "demo")
    shell("shell", "etcd-0")
    assert shell.console.calls == [("id-demo-etcd-0", ("bash", "-l"), False)]


def test_logs_are_those_of_one_node(up: Any) -> None:
    up.console.output = [b"one\n", b"two\n"]
    assert up("logs", "etcd-0", "-n", "5", "-f").stdout == "one\ntwo\n"
    assert up.console.calls == [("id-etcd-0", ("tail", "-n", "5", "-F", "/var/log/etcd/current"))]
    assert up("logs", "a").stdout == "one\ntwo\n"
    assert up.console.calls[-1][1][-4:] == ("tail", "-n", "100", "/var/log/apiserver/current")
    assert "k8slab logs etcd-0/etcd" in up("logs", "etcd", code=2).stderr


def test_what_the_framework_runs_on_a_minion_has_a_log_too(up: Any) -> None:
    up.console.output = [b"one\n"]
    assert up("logs", "kubernetes-minion-2/proxy").stdout == "one\n"
    (called,) = up.console.calls
    assert (called[0], called[1][-1]) == ("id-kubernetes-minion-2", "/var/log/proxy/current")
    assert "k8slab logs kubernetes-minion-0/executor" in up("logs", "executor", code=2).stderr
    assert "kubernetes-minion-2/proxy" in up("logs", "kubernetes-minion-2/proxi", code=2).stderr


def test_logs_end_with_the_exit_code_of_what_prints_them(up: Any) -> None:
    up.console.output, up.console.code = [b"one\n"], 1
    assert up("logs", "etcd-0", code=1).stdout == "one\n"


@pytest.mark.parametrize("code", [0, 66])
def test_no_log_yet_is_nothing_wrong(up: Any, code: int) -> None:
    up.console.code = code
    done = up("logs", "etcd-0")
    assert (done.stdout, done.stderr) == ("", "There is no log of etcd-0 yet: nothing has been written.\n")


def test_what_prints_a_log_tells_that_there_is_none(tmp_path: Path) -> None:
    def printed(*files: Path) -> tuple[int, bytes]:
        words = ["tail", "-n", "1", *map(str, files)]
        done = subprocess.run(["sh", "-c", UNLESS_NO_FILE, "logs", *words], capture_output=True, cwd=tmp_path)
        return done.returncode, done.stdout

    (tmp_path / "log").write_text("one\ntwo\n")
    assert printed(tmp_path / "none") == (NO_FILE, b"")
    assert printed(tmp_path / "log") == (0, b"two\n")
    assert printed(tmp_path / "log", tmp_path / "none")[0] == 1


@pytest.mark.parametrize("button", ["stop", "pause"])
def test_the_log_of_a_node_that_does_not_run_is_read(up: Any, monkeypatch: pytest.MonkeyPatch, button: str) -> None:
    up("node", button, "etcd-0")
    seen = up.runtime.read
    logs = {"/var/log/etcd/current": {"current": b"one\ntwo\nthree\n"}}
    monkeypatch.setattr(up.runtime, "read", lambda name, path: logs.get(path) or seen(name, path))
    assert up("logs", "etcd-0", "-n", "2").stdout == "two\nthree\n"
    assert "nothing more is written" in up("logs", "etcd-0", "-f").stderr
    assert up("logs", "etcd-0", "-n", "0").stdout == ""
    logs["/var/log/etcd/current"] = {"current": b""}
    done = up("logs", "etcd-0")
    assert (done.stdout, done.stderr) == ("", "There is no log of etcd-0 yet: nothing has been written.\n")
    assert up.console.calls == []


def test_the_hosts_client_is_run_with_the_labs_environment(up: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    ran: list[Any] = []

    def run_in_place(path: str, arguments: list[str], environment: dict[str, str]) -> None:
        ran.append((path, arguments, environment))
        raise SystemExit(3)

    monkeypatch.setattr("shutil.which", lambda name: f"/opt/{name}")
    monkeypatch.setattr("os.execve", run_in_place)
    up("kubectl", "get", "-o", "json", "--", "-v", "--lab", "theirs", code=3)
    path, arguments, environment = ran[0]
    assert path == "/opt/kubectl"
    assert arguments == ["kubectl", "get", "-o", "json", "--", "-v", "--lab", "theirs"]
    assert environment["KUBECONFIG"].endswith("/k8slab/k8s-mesos/kubeconfig")
    up("kubectl", "--help", code=3)
    assert ran[1][1] == ["kubectl", "--help"]
    up("etcdctl", "--lab", "k8s-mesos", "-w", "json", "get", "/", code=3)
    assert ran[2][1] == ["etcdctl", "-w", "json", "get", "/"]
    assert ran[2][2]["ETCDCTL_ENDPOINTS"].startswith("http://172.17.1.1:2379,")


def test_without_one_the_images_client_runs_beside_the_daemon(up: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.which", lambda name: None)
    up.console.code = 4
    up("kubectl", "create", "-f", "nginx.yaml", code=4)
    ((spec, network_of, user, workdir),) = up.console.calls
    assert spec.image == "k8slab/kubernetes-mesos"
    assert spec.command == ("kubectl", "create", "-f", "nginx.yaml")
    assert network_of == "id-kubernetes-mesos"
    assert user == f"{os.getuid()}:{os.getgid()}"
    assert workdir == str(Path.cwd())
    assert {mount.source for mount in spec.mounts} == {mount.target for mount in spec.mounts}
    assert workdir in {mount.source for mount in spec.mounts}
    assert (spec.labels["k8slab.lab"], spec.labels["k8slab.client"]) == ("k8s-mesos", "true")


@pytest.mark.parametrize(
    ("folder", "system"),
    [
        *[(folder, True) for folder in ("/", "/usr", "/usr/bin", "/etc/ssl", "/proc/1", "/lib64", "/var/lib", "/run")],
        *[(folder, False) for folder in ("/home/me", "/root", "/tmp/x", "/usr/src/lab", "/var/home/me", "/mnt")],
    ],
)
def test_system_folders_are_told_from_a_persons(folder: str, system: bool) -> None:
    assert is_system(Path(folder)) is system


def test_a_client_aside_gets_no_system_folder(up: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.which", lambda name: None)
    monkeypatch.chdir("/usr")
    done = up("etcdctl", "member", "list")
    assert done.stderr == "etcdctl runs in a container here and does not see the files of /usr.\n"
    ((spec, _, _, workdir),) = up.console.calls
    assert workdir == "/"
    assert not any(mount.target.startswith("/usr") for mount in spec.mounts)


def test_a_client_without_a_running_daemons_node_says_so(up: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.which", lambda name: None)
    up("node", "stop", "kubernetes-mesos")
    assert "kubernetes-mesos is off" in up("kubectl", "get", "nodes", code=1).stderr


def test_no_client_is_run_for_a_lab_that_has_none_of_its_daemons(
    shell: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("shutil.which", lambda name: f"/opt/{name}")
    monkeypatch.setattr("os.execve", lambda *_: pytest.fail("the host's own client was run"))
    shell("topology", "new", "other")
    shell("run", "other", "--no-start")
    assert "Lab other has no apiserver." in shell("kubectl", "get", "nodes", code=2).stderr


def test_without_streams_there_is_no_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", None)
    assert has_terminal() is False


def test_env_is_for_the_shell_one_has(up: Any) -> None:
    assert "export ETCDCTL_API=3\n" in up("env", SHELL="/bin/zsh").stdout
    assert "set -gx ETCDCTL_API '3';\n" in up("env", SHELL="/usr/bin/fish").stdout
    assert up("env", "--shell", "fish").stdout == up("env", SHELL="/usr/bin/fish").stdout
    assert "export ETCDCTL_API=3\n" in up("env", SHELL="/bin/tcsh").stdout
    assert "this is for sh" in up("env", SHELL="/bin/tcsh").stderr
    for unknown in ("tcsh", "nu"):
        done = up("env", "--shell", unknown, code=2)
        assert done.stdout == ""
        assert "Known shells: bash, zsh, fish, " in done.stderr
    assert up.json("env")["environment"]["K8SLAB_LAB"] == "k8s-mesos"


def test_export_writes_into_an_empty_folder_alone(up: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = up.runtime.read

    def read(name: str, path: str) -> dict[str, bytes]:
        return {"log/some/current": b"a line"} if path == "/var/log" else dict(seen(name, path))

    monkeypatch.setattr(up.runtime, "read", read)
    folder = tmp_path / "report"
    assert up.json("export", str(folder))["files"] > 10
    assert "not an empty folder" in up("export", str(folder), code=2).stderr


def test_manual_prints_lines_to_paste(up: Any) -> None:
    text = up("manual", "etcd-1").stdout
    assert text.startswith("# etcd on etcd-1, in `k8slab shell etcd-1`:\netcd \\\n  --name=etcd-1 \\\n")
    assert up("m", "e").stdout == up("manual", "etcd").stdout
    assert len(up.json("manual")["daemons"]) == 20


def test_manual_needs_no_running_lab(shell: Any) -> None:
    assert "mesos-master \\\n" in shell("mm", "manual").stdout
