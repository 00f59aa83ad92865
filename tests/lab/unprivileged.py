"""Somebody who is in the docker group and nothing else: no root, no sudo, no capability."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import sysconfig
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from driving import ROOT

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
    started = begun(home, copy, *words)
    try:
        out, err = started.communicate(timeout=timeout)
    finally:
        started.kill()
    return subprocess.CompletedProcess(words, started.returncode, out, err)


def begun(home: Path, copy: Path, *words: str) -> subprocess.Popen[str]:
    user = pwd.getpwnam(NAME) if os.geteuid() == 0 else pwd.getpwuid(os.geteuid())
    drop = ["setpriv", f"--reuid={user.pw_uid}", f"--regid={user.pw_gid}", "--init-groups", "--no-new-privs"]
    command = [PYTHON, "-c", "from k8slab.cli.entry import main; main()", *words]
    environment = {
        "HOME": str(home),
        "USER": user.pw_name,
        "PATH": "/usr/local/bin:/usr/bin:/bin",
        "PYTHONPATH": f"{copy}:{copy / 'libraries'}",
        "K8SLAB_SET": "egress=false",
        "LANG": "C.UTF-8",
    }
    prefix = drop if os.geteuid() == 0 else []
    pipe = subprocess.PIPE
    return subprocess.Popen([*prefix, *command], stdout=pipe, stderr=pipe, text=True, env=environment, cwd=home)
