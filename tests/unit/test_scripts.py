"""What scripts/test leaves behind when it is cut off."""

from __future__ import annotations

import hashlib
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """One with the scripts and nothing else: every program that they call is there, and does nothing."""
    shutil.copytree(ROOT / "scripts", tmp_path / "scripts")
    (tmp_path / "pyproject.toml").touch()
    programs = tmp_path / ".venv" / "bin"
    programs.mkdir(parents=True)
    (tmp_path / ".venv" / ".k8slab-dev,daemons").write_text(hashlib.sha256(b"").hexdigest())
    _program(programs / "k8slab", f"echo $$ > {tmp_path}/builder; exec sleep 60")
    _program(programs / "docker", "exit 0")
    _program(programs / "dpkg-query", "echo install ok installed")
    return tmp_path


def _program(path: Path, text: str) -> None:
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)


def _is_there(process: int) -> bool:
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def _eventually(condition: Callable[[], object], what: str) -> None:
    until = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < until, what
        time.sleep(0.02)


@pytest.mark.parametrize("cut_off", [False, True])
def test_images_are_not_made_on_when_the_tests_have_ended(checkout: Path, cut_off: bool) -> None:
    builder = checkout / "builder"
    lint = f"until [ -s {builder} ]; do sleep 0.02; done; {'sleep 2' if cut_off else 'true'}; exit 1"
    _program(checkout / ".venv" / "bin" / "ruff", lint)
    env = {"PATH": f"{checkout}/.venv/bin:{os.environ['PATH']}", "HOME": str(checkout)}
    with (checkout / "log").open("wb") as log:
        running = subprocess.Popen([checkout / "scripts" / "test"], env=env, stdout=log, stderr=log)
    _eventually(lambda: builder.exists() and builder.read_text().strip(), "images are being made")
    process = int(builder.read_text())
    if cut_off:
        running.send_signal(signal.SIGTERM)
    assert running.wait(20) == (-signal.SIGTERM if cut_off else 1), (checkout / "log").read_text()
    try:
        _eventually(lambda: not _is_there(process), "images are made no longer")
    finally:
        if _is_there(process):
            os.kill(process, signal.SIGKILL)
