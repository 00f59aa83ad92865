"""A user who is in the docker group and nothing else: no root, no sudo, no capability."""

from __future__ import annotations

import grp
import json
import os
import pwd
import shutil
import subprocess
import sysconfig
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from driving import NGINX, ROOT, docker, until

NAME = "k8slabtester"
# The system's own interpreter: the one of a virtual environment may live where only its owner may look.
PYTHON = "/usr/bin/python3"


@pytest.fixture(scope="module")
def home() -> Iterator[Path]:
    if os.geteuid() != 0:
        yield Path.home()
        return
    created = NAME not in {user.pw_name for user in pwd.getpwall()}
    if created:
        subprocess.run(["useradd", "--create-home", "--groups", "docker", NAME], check=True)
    yield Path(pwd.getpwnam(NAME).pw_dir)
    if created:
        subprocess.run(["userdel", "--remove", NAME], check=True, capture_output=True)


@pytest.fixture(scope="module")
def copy(home: Path) -> Iterator[Path]:
    """What the user runs: a copy of the checkout and its libraries in a place everybody may read."""
    # Not below pytest's own folder: each pytest that starts on this machine closes that to others again.
    folder = Path(tempfile.mkdtemp(prefix="k8slab-everybody-"))
    folder.chmod(0o755)
    for name in ("k8slab", "topologies"):
        shutil.copytree(ROOT / name, folder / name)
    shutil.copytree(sysconfig.get_paths()["purelib"], folder / "libraries")
    shutil.copy(ROOT / "pyproject.toml", folder)
    yield folder
    shutil.rmtree(folder)


def as_user(home: Path, copy: Path, *words: str, timeout: float = 300) -> subprocess.CompletedProcess[str]:
    user = pwd.getpwnam(NAME) if os.geteuid() == 0 else pwd.getpwuid(os.geteuid())
    drop = ["setpriv", f"--reuid={user.pw_uid}", f"--regid={user.pw_gid}", "--init-groups", "--no-new-privs"]
    command = [PYTHON, "-c", "from k8slab.cli.app import main; main()", *words]
    environment = {
        "HOME": str(home),
        "USER": user.pw_name,
        "PATH": "/usr/local/bin:/usr/bin:/bin",
        "PYTHONPATH": f"{copy}:{copy / 'libraries'}",
        "K8SLAB_SET": "egress=false",
        "LANG": "C.UTF-8",
    }
    prefix = drop if os.geteuid() == 0 else []
    return subprocess.run(
        [*prefix, *command], capture_output=True, text=True, timeout=timeout, env=environment, cwd=home
    )


def test_a_user_of_the_docker_group_can_do_all_of_it(hermetic: None, home: Path, copy: Path) -> None:
    assert "docker" in {group.gr_name for group in grp.getgrall()}

    def good(*words: str) -> str:
        done = as_user(home, copy, *words)
        assert done.returncode == 0, (words, done.stdout, done.stderr)
        return done.stdout

    try:
        good("build")
        assert json.loads(good("run", "-o", "json"))["ready"]
        manifest = home / "nginx.yaml"
        manifest.write_text(NGINX.read_text())
        good("kubectl", "create", "-f", str(manifest))
        until("nginx runs", lambda: "Running" in good("kubectl", "get", "pods"), within=20)
        good("kill", "etcd-0")
        shown = json.loads(good("status", "-o", "json"))
        assert any(one["seen"].startswith("2 of 3") for one in shown["requirements"])
        good("kubectl", "delete", "pod", "nginx")
        good("start", "etcd")
        assert good("exec", "etcd-0", "--", "hostname").strip() == "etcd-0"
    finally:
        good("rm", "--lab", "k8s-mesos")
    assert docker("ps", "-aq", "--filter", "label=k8slab.lab") == ""
