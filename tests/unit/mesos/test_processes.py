"""Starting processes in folders that are somebody else's, and ending whole trees of them."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import uuid
from pathlib import Path

import pytest

from k8slab.mesos.agent import processes
from k8slab.mesos.agent.processes import Process, kill_tree
from tests.daemons.processes import eventually

# Forks children that leave its session at once, so that only their parent leads to them.
BREEDER = """
import os, sys, time
print("forking", flush=True)
for _ in range(400):
    if os.fork() == 0:
        os.setsid()
        time.sleep(30)
        os._exit(0)
    time.sleep(0.0003)
time.sleep(30)
"""


def start(directory: Path, line: str = "exec sleep 1000", **options: object) -> tuple[Process, asyncio.Future[int]]:
    ended: asyncio.Future[int] = asyncio.get_running_loop().create_future()
    given = {"executable": "/bin/sh", "env": {}, "directory": directory, "user": None, "on_exit": ended.set_result}
    return Process.start(["sh", "-c", line], **{**given, **options}), ended  # type: ignore[arg-type]


def marked(mark: str) -> set[int]:
    """Living processes that were given this argument."""
    found = set()
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            try:
                if mark.encode() in (entry / "cmdline").read_bytes():
                    found.add(int(entry.name))
            except OSError:
                continue
    return found


async def test_output_goes_through_no_link_and_into_nothing_but_a_plain_file(tmp_path: Path) -> None:
    precious, sandbox = tmp_path / "precious", tmp_path / "sandbox"
    precious.write_text("precious\n")
    owner = precious.stat().st_uid
    sandbox.mkdir()
    planted = {
        "symbolic link": lambda: (sandbox / "stdout").symlink_to(precious),
        "dangling link": lambda: (sandbox / "stdout").symlink_to(tmp_path / "made"),
        "hard link": lambda: (sandbox / "stdout").hardlink_to(precious),
        "pipe": lambda: os.mkfifo(sandbox / "stdout"),
        "folder": lambda: (sandbox / "stdout").mkdir(),
    }
    for what, plant in planted.items():
        plant()
        with pytest.raises(OSError, match="stdout"):
            start(sandbox, "echo mine", user="nobody" if os.geteuid() == 0 else None)
        assert precious.read_text() == "precious\n", what
        assert precious.stat().st_uid == owner, what
        assert not (tmp_path / "made").exists(), what
        (sandbox / "stdout").rmdir() if what == "folder" else (sandbox / "stdout").unlink()


async def test_what_cannot_join_its_groups_is_not_started(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="/dev/full"):
        start(tmp_path, joins=[Path("/dev/full")])


async def test_what_cannot_be_watched_does_not_go_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[int] = []

    def refuse(pid: int) -> int:
        started.append(pid)
        raise OSError(24, "Too many open files")

    monkeypatch.setattr(os, "pidfd_open", refuse)
    with pytest.raises(OSError, match="Too many open files"):
        start(tmp_path)
    assert processes.start_time(started[0]) is None


async def test_a_process_that_may_not_be_signalled_keeps_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    process, ended = start(tmp_path, "sleep 1000 & sleep 1000 & exec sleep 1000")
    signalled = os.kill

    def kill(pid: int, number: int) -> None:
        if pid == process.pid and number == signal.SIGSTOP:
            raise PermissionError
        signalled(pid, number)

    monkeypatch.setattr(os, "kill", kill)
    kill_tree(process.pid)
    assert await asyncio.wait_for(ended, 10.0) == signal.SIGKILL


@pytest.mark.parametrize("look", range(3))
def test_what_is_forked_while_its_tree_is_killed_dies_with_it(look: int) -> None:
    mark = f"breeder-{uuid.uuid4()}"
    with subprocess.Popen([sys.executable, "-c", BREEDER, mark], stdout=subprocess.PIPE) as breeder:
        assert breeder.stdout is not None
        breeder.stdout.readline()
        try:
            kill_tree(breeder.pid)
            breeder.wait()

            async def dead() -> bool:
                return not any(processes.start_time(pid) is not None for pid in marked(mark))

            # What is killed takes a moment to die; what was missed sleeps for half a minute.
            asyncio.run(eventually(dead, timeout=10.0, what="all that it forked is dead"))
        finally:
            for pid in marked(mark):
                os.kill(pid, signal.SIGKILL)
