"""The labs of the other topologies, in the hands of a user who is in the docker group and nothing else."""

from __future__ import annotations

import json
import signal
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from driving import NGINX, ROOT, docker, until
from unprivileged import as_user, begun, copy, home

__all__ = ["copy", "home"]

Good = Callable[..., str]


@pytest.fixture
def good(home: Path, copy: Path) -> Iterator[Good]:
    """Runs k8slab as that user; fails the test when it does not end well. Their labs are gone afterwards."""

    def run(*words: str) -> str:
        done = as_user(home, copy, *words)
        assert done.returncode == 0, (words, done.stdout, done.stderr)
        return done.stdout

    run("build")
    yield run
    run("rm", "--all")
    assert docker("ps", "-aq", "--filter", "label=k8slab.lab") == ""


def manifest(home: Path, source: Path) -> str:
    file = home / source.name
    file.write_text(source.read_text())
    return str(file)


@pytest.mark.timeout(600)
def test_one_host(good: Good, home: Path) -> None:
    assert json.loads(good("run", "servicehost", "-o", "json"))["ready"]
    good("kubectl", "create", "-f", manifest(home, NGINX))
    until("nginx runs", lambda: "Running" in good("kubectl", "get", "pods"), within=40)
    good("kill", "etcd")
    assert not json.loads(good("status", "-o", "json"))["ready"]
    good("start", "etcd")
    until("all is well again", lambda: json.loads(good("status", "-o", "json"))["ready"], within=40)


@pytest.mark.timeout(900)
@pytest.mark.parametrize("seconds", [0.2, 1, 2, 4])
def test_a_package_whose_installation_is_interrupted(good: Good, home: Path, copy: Path, seconds: float) -> None:
    good("run", "dcos")
    installing = begun(home, copy, "package", "install", "kubernetes")
    assert installing.stderr is not None
    first = installing.stderr.readline()
    threading.Event().wait(seconds)
    installing.send_signal(signal.SIGINT)
    out, err = installing.communicate(timeout=60)
    assert "Traceback" not in first + out + err
    if installing.returncode != 0:
        assert (installing.returncode, "the same command goes on from there" in err) == (130, True), (first, out, err)
    good("package", "install", "kubernetes")
    good("kubectl", "create", "-f", manifest(home, ROOT / "topologies" / "k8s-mesos" / "nginx.yaml"))
    until("nginx runs", lambda: "Running" in good("kubectl", "get", "pods"), within=40)
    taking_out = begun(home, copy, "package", "uninstall", "kubernetes")
    threading.Event().wait(seconds / 2)
    taking_out.send_signal(signal.SIGINT)
    out, err = taking_out.communicate(timeout=60)
    assert "Traceback" not in out + err, err
    good("package", "uninstall", "kubernetes")
    assert json.loads(good("mesos", "frameworks", "-o", "json"))["frameworks"] == []
    assert json.loads(good("run", "dcos", "-o", "json"))["ready"]
