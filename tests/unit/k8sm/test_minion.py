"""`km minion`: its flags, its logs, and how it looks after the two that it runs."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from k8slab.k8sm.minion import main
from k8slab.k8sm.minion.logs import Limits, RotatingFile
from k8slab.k8sm.minion.main import Child, settings

# The minion's supervision over programs of the test's: what it is told to run is all that differs.
MINION = """
import asyncio, sys
from pathlib import Path
from k8slab import daemon
from k8slab.k8sm.minion import main
from k8slab.k8sm.minion.logs import Limits
main.RESTART_PAUSE = 0.05
sh = lambda script: ("sh", "-c", script)
flags = main.Settings(sh(sys.argv[1]), sh(sys.argv[2]) if sys.argv[2] else (), Limits(100, 2, 60.0), None)
sys.exit(daemon.run(lambda stop: main.serve(flags, Path.cwd(), stop)))
"""


def minion(sandbox: Path, executor: str, proxy: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-c", MINION, executor, proxy], cwd=sandbox, stderr=subprocess.DEVNULL)


def until(holds: Callable[[], object], what: str) -> None:
    deadline = time.monotonic() + 15
    while not holds():
        assert time.monotonic() < deadline, what
        threading.Event().wait(0.02)


def lines(path: Path) -> list[str]:
    return path.read_text().splitlines() if path.exists() else []


def alive(pid: str) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_its_flags_become_two_command_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MESOS_AGENT_ENDPOINT", "172.17.1.8:5051")
    monkeypatch.setattr(sys, "argv", ["km", "minion", "--x"])
    monkeypatch.setattr(sys, "orig_argv", ["python3", "-IS", "/usr/local/bin/km", "minion", "--x"])
    found = settings(
        ["--run-proxy=true", "--api-servers=http://a:1", "--suicide-timeout=0", "--v=1", "--hostname-override=m"]
    )
    km = (sys.executable, "-IS", "/usr/local/bin/km")
    assert found.executor == (
        *km,
        "executor",
        "--api-servers=http://a:1",
        "--hostname-override=m",
        "--v=1",
        "--suicide-timeout=0",
    )
    assert found.proxy[:6] == (
        *km,
        "proxy",
        "--master=http://a:1",
        "--hostname-override=m",
    )
    assert "--healthz-bind-address=172.17.1.8" in found.proxy
    own = settings(["--api-servers=a", "--executor-path=/bin/k8sm-executor", "--proxy-path=/bin/kube-proxy"])
    assert own.executor[:2] == ("/bin/k8sm-executor", "--api-servers=a")
    assert own.proxy[:2] == ("/bin/kube-proxy", "--master=a")
    assert settings(["--api-servers=a", "--no-run-proxy"]).proxy == ()
    others = settings(["--api-servers=a", "--executor-path=/e", "--proxy-path=/p", "--its-own=1"])
    assert others.executor == ("/e", "--api-servers=a", "--v=0", "--its-own=1")
    assert others.proxy[:2] == ("/p", "--master=a")


@pytest.mark.parametrize(
    "argv",
    [
        [],
        ["--api-servers=a", "--nonsense=1"],
        ["--api-servers=a", "--suicide-timeout=soon"],
        ["--api-servers=a", "--proxy-mode=ipvs"],
        ["--api-servers=a", "--max-log-size=much"],
    ],
)
def test_flags_that_cannot_be_meant(argv: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        settings(argv)
    assert ended.value.code == 2
    assert len(capsys.readouterr().err.splitlines()) == 1


def test_a_full_log_is_set_aside(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "executor.log"
    log = RotatingFile(path, Limits(10, 2, 60.0))
    for word in (b"one one\n", b"two two\n", b"three 3\n", b"four 44\n", b"4\n", b"longer than ten\n"):
        log.write(word)
    log.close()
    kept = {one.name: one.read_text() for one in path.parent.iterdir()}
    assert kept == {
        "executor.log": "longer than ten\n",
        "executor.log.1": "four 44\n4\n",
        "executor.log.2": "three 3\n",
    }
    os.utime(tmp_path / "deep" / "executor.log.1", (0, 0))
    again = RotatingFile(path, Limits(10, 2, 60.0))
    again.write(b"once more\n")
    again.close()
    assert sorted(one.name for one in path.parent.iterdir()) == ["executor.log", "executor.log.1"]


def test_a_log_is_written_again_when_there_is_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = RotatingFile(tmp_path / "x.log", Limits(4, 1, 60.0))
    log.write(b"1234")

    def full(path: Path, target: Path) -> Path:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", full)
        for _ in range(2):
            with pytest.raises(OSError, match="No space"):
                log.write(b"5678")
    log.write(b"9")
    log.close()
    assert ((tmp_path / "x.log").read_bytes(), (tmp_path / "x.log.1").read_bytes()) == (b"9", b"1234")


async def test_nobody_is_held_up_by_a_log_that_cannot_be_written() -> None:
    full = RotatingFile(Path("/dev/full"), Limits(1 << 30, 0, 60.0))
    async with asyncio.timeout(30):
        assert await Child("executor", ("sh", "-c", "head -c 10000000 /dev/zero; exit 3"), full).run() == 3


async def test_a_proxy_that_cannot_be_started_is_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(main, "RESTART_PAUSE", 0)
    tried: list[None] = []
    enough = asyncio.Event()

    async def run() -> int:
        tried.append(None)
        if len(tried) > 1:
            enough.set()
        raise BlockingIOError(11, "Resource temporarily unavailable")

    proxy: Any = SimpleNamespace(run=run)
    keeping = asyncio.create_task(main._keep(proxy))
    waiting = asyncio.create_task(enough.wait())
    await asyncio.wait([keeping, waiting], return_when=asyncio.FIRST_COMPLETED)
    assert not keeping.done()
    keeping.cancel()


def test_a_proxy_that_ends_is_started_again(tmp_path: Path) -> None:
    process = minion(tmp_path, "echo executor runs; exec sleep 60", "echo proxy runs; exit 3")
    try:
        until(lambda: len(lines(tmp_path / "proxy.log")) >= 3, "the proxy runs for a third time")
        assert lines(tmp_path / "executor.log") == ["executor runs"]
    finally:
        process.terminate()
        process.wait(20)


@pytest.mark.parametrize(("script", "code"), [("exit 0", 0), ("exit 7", 7), ("kill -9 $$", 137)])
def test_the_end_of_the_executor_is_its_end(tmp_path: Path, script: str, code: int) -> None:
    process = minion(tmp_path, f"until [ -s proxy.log ]; do :; done; {script}", "echo $$; exec sleep 60")
    assert process.wait(20) == code
    assert not alive(lines(tmp_path / "proxy.log")[0])


def test_what_it_is_told_the_executor_is_told(tmp_path: Path) -> None:
    script = "trap 'echo told; exit 5' TERM; echo runs; while :; do sleep 0.02; done"
    process = minion(tmp_path, script, "")
    until(lambda: lines(tmp_path / "executor.log"), "the executor runs")
    process.terminate()
    assert process.wait(20) == 5
    assert lines(tmp_path / "executor.log") == ["runs", "told"]


def test_a_minion_that_is_killed_leaves_nobody_behind(tmp_path: Path) -> None:
    process = minion(tmp_path, "echo $$; exec sleep 60", "echo $$; exec sleep 60")
    logs = [tmp_path / "executor.log", tmp_path / "proxy.log"]
    until(lambda: all(lines(log) for log in logs), "both run")
    process.send_signal(signal.SIGKILL)
    process.wait(20)
    for log in logs:
        until(lambda log=log: not alive(lines(log)[0]), f"{log.stem} ends with its minion")  # type: ignore[misc]
