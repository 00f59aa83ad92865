"""The engine itself is restarted: nodes, wires and what ran on them come back without any command of ours."""

from __future__ import annotations

import os
import signal
import subprocess
from pathlib import Path
from typing import Any

import pytest
from driving import docker, k8slab, nodes_of, status, until


def engine_process() -> int:
    """The host's own dockerd: not one of those that run inside minions."""
    mine = Path("/proc/self/ns/pid").stat().st_ino
    for folder in Path("/proc").iterdir():
        try:
            is_engine = folder.name.isdigit() and (folder / "comm").read_text() == "dockerd\n"
            if is_engine and (folder / "ns" / "pid").stat().st_ino == mine:
                return int(folder.name)
        except OSError:
            continue
    pytest.fail("there is no dockerd on this machine")


def restart_engine() -> None:
    if Path("/run/systemd/system").is_dir():
        subprocess.run(["systemctl", "restart", "docker"], check=True)
    else:
        pid = engine_process()
        command = Path(f"/proc/{pid}/cmdline").read_bytes().rstrip(b"\0").split(b"\0")
        os.kill(pid, signal.SIGTERM)
        until("the engine has ended", lambda: not Path(f"/proc/{pid}").exists() or is_zombie(pid), within=60)
        with Path("/var/log/k8slab-dockerd.log").open("ab") as log:
            subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True)
    until("the engine answers", engine_answers, within=60)


def is_zombie(pid: int) -> bool:
    return "State:\tZ" in Path(f"/proc/{pid}/status").read_text()


def engine_answers() -> bool:
    return subprocess.run(["docker", "version"], capture_output=True).returncode == 0


def test_everything_comes_back_after_the_engine_was_restarted(lab: dict[str, Any]) -> None:
    owned = set(docker("ps", "-q", "--filter", "label=k8slab.lab=k8s-mesos").split())
    strangers = set(docker("ps", "-q").split()) - owned
    if strangers and "CI" not in os.environ:
        pytest.skip("other people's containers run on this engine: it is not ours to restart")
    before = {name: (node["address"], node["mac"]) for name, node in nodes_of(status()).items()}
    restart_engine()

    def wired() -> bool:
        seen = k8slab("status", "-o", "json", check=False)
        return seen.code == 0 and all(node["wired"] and node["state"] == "running" for node in seen.json["nodes"])

    until("every node runs and is wired", wired, within=60)
    assert {name: (node["address"], node["mac"]) for name, node in nodes_of(status()).items()} == before
    k8slab("exec", "etcd-0", "--", "ping", "-c", "1", "-W", "2", "kubernetes-minion-3")
    k8slab("run")
    assert status()["ready"]
