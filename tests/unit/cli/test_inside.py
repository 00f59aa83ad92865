from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest


def test_exec_passes_command_and_exit_code_through(up: Any) -> None:
    up.console.code = 7
    up("exec", "etcd-0", "--", "ls", "-l", "--", "/", code=7)
    assert up.console.calls == [("etcd-0", ("ls", "-l", "--", "/"), False)]
    up("exec", "etcd-0", "ls", "-o", "x", code=7)
    assert up.console.calls[-1][1] == ("ls", "-o", "x")


def test_exec_wants_a_node_and_a_command(up: Any) -> None:
    assert "Did you mean etcd-" in up("exec", "etc-0", "--", "true", code=2).stderr
    assert "There is no command" in up("exec", "etcd-0", code=2).stderr


def test_a_named_lab_is_entered_by_the_short_names_of_its_nodes(shell: Any) -> None:
    shell("run", "k8s-mesos", "--lab", "demo")
    shell("shell", "etcd-0")
    assert shell.console.calls == [("demo-etcd-0", ("bash", "-l"), False)]


def test_logs_are_those_of_one_node(up: Any) -> None:
    up.console.output = [b"one\n", b"two\n"]
    assert up("logs", "etcd-0", "-n", "5", "-f").stdout == "one\ntwo\n"
    assert up.console.calls == [("etcd-0", ("tail", "-n", "5", "-F", "/var/log/etcd/current"))]
    assert up("logs", "a").stdout == "one\ntwo\n"
    assert "k8slab logs etcd-0/etcd" in up("logs", "etcd", code=2).stderr


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
    assert network_of == "kubernetes-mesos"
    assert user == f"{os.getuid()}:{os.getgid()}"
    assert workdir == str(Path.cwd())
    assert {mount.source for mount in spec.mounts} == {mount.target for mount in spec.mounts}
    assert workdir in {mount.source for mount in spec.mounts}


def test_env_is_for_the_shell_one_has(up: Any) -> None:
    assert "export ETCDCTL_API=3\n" in up("env", SHELL="/bin/zsh").stdout
    assert "set -gx ETCDCTL_API '3';\n" in up("env", SHELL="/usr/bin/fish").stdout
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
