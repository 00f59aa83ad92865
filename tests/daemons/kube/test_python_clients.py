"""Libraries that others wrote for any cluster, unchanged: the ``kubernetes`` package and kr8s."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.daemons.kube.conftest import Api

PROGRAMS = Path(__file__).with_name("python_clients_programs.py")
LIBRARIES = Path(__file__).resolve().parents[3] / ".cache" / "kube-clients"


@pytest.mark.skipif(not LIBRARIES.is_dir(), reason="scripts/test installs the clients into .cache/kube-clients")
@pytest.mark.parametrize("program", ["typed", "watching", "dynamic", "kr8s"])
def test_a_program(api: Api, namespace: str, program: str, tmp_path: Path) -> None:
    env = {"PYTHONPATH": str(LIBRARIES), "HOME": str(tmp_path), "PATH": os.environ["PATH"]}
    ran = subprocess.run(
        # Isolated from this environment's own packages, that nothing of ours can help.
        [sys.executable, "-S", str(PROGRAMS), program, api.url, namespace],
        capture_output=True,
        text=True,
        timeout=60,
        env=env,
        cwd=tmp_path,
        check=False,
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
