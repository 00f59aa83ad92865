"""Processes of executors and tasks: their whole tree, their end even when they are not our children, their identity."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

UNKNOWN_STATUS = -1


class Process:
    """A running process, started by us or found again after a restart of the agent.

    ``on_exit(status)`` is called once in the event loop with the wait status; UNKNOWN_STATUS for one that is not ours.
    """

    def __init__(
        self, pid: int, on_exit: Callable[[int], None], *, child: subprocess.Popen[bytes] | None = None
    ) -> None:
        """Raises ProcessLookupError when there is no such process."""
        self.pid = pid
        self._on_exit = on_exit
        self._child = child
        self._descriptor = os.pidfd_open(pid)
        asyncio.get_running_loop().add_reader(self._descriptor, self._ended)

    @classmethod
    def start(
        cls,
        argv: Sequence[str],
        *,
        executable: str,
        env: Mapping[str, str],
        directory: Path,
        user: str | None,
        on_exit: Callable[[int], None],
        joins: Sequence[Path] = (),
    ) -> Process:
        """In a session of its own, so that a signal to its group never reaches the agent; output to files there.

        ``joins`` are the ``cgroup.procs`` of the control groups in which it begins to run.

        Raises OSError when it cannot be executed, KeyError when there is no such ``user``.
        """
        who = identity(user)
        with contextlib.ExitStack() as files:
            out, err = (files.enter_context((directory / name).open("ab")) for name in ("stdout", "stderr"))
            if who:
                for output in (out, err):
                    os.chown(output.fileno(), who[0], who[1])
            # Opened with the agent's rights, written by the child: it is inside before it can fork anything.
            groups = [files.enter_context(path.open("wb", buffering=0)) for path in joins]
            child = subprocess.Popen(
                list(argv),
                executable=executable,
                env=dict(env),
                cwd=directory,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
                start_new_session=True,
                user=who[0] if who else None,
                group=who[1] if who else None,
                extra_groups=list(who[2]) if who else None,
                preexec_fn=(lambda: _join([group.fileno() for group in groups])) if groups else None,
            )
        return cls(child.pid, on_exit, child=child)

    def signal(self, number: int) -> None:
        """To the whole tree below it."""
        signal_tree(self.pid, number)

    def _ended(self) -> None:
        self.close()
        # Before a child is reaped its pid cannot be anybody else's, so what is left of its session is surely its own.
        kill_session(self.pid)
        self._on_exit(UNKNOWN_STATUS if self._child is None else _wait_status(self._child.wait()))

    def close(self) -> None:
        """Stop watching; the process goes on."""
        if self._descriptor >= 0:
            asyncio.get_running_loop().remove_reader(self._descriptor)
            os.close(self._descriptor)
            self._descriptor = -1


def _join(groups: Sequence[int]) -> None:
    for descriptor in groups:
        os.write(descriptor, b"0")


def identity(user: str | None) -> tuple[int, int, Sequence[int]] | None:
    """Who to become; None when that is who we are, or when we may not become anybody."""
    import pwd

    if not user or os.geteuid() != 0:
        return None
    entry = pwd.getpwnam(user)
    if entry.pw_uid == os.geteuid():
        return None
    return entry.pw_uid, entry.pw_gid, os.getgrouplist(user, entry.pw_gid)


def _wait_status(returncode: int) -> int:
    """What wait() said, from what Popen makes of it: exit code 1 is 256, SIGKILL is 9."""
    return -returncode if returncode < 0 else returncode << 8


def start_time(pid: int) -> int | None:
    """Clock ticks after boot at which ``pid`` started, which with the pid names one process; None when it is dead."""
    fields = _stat(pid)
    return None if fields is None or fields[0] == "Z" else int(fields[19])


def tree(pid: int) -> list[int]:
    """``pid`` and all its living descendants, and what else is in its session."""
    children: dict[int, list[int]] = {}
    session: list[int] = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and (fields := _stat(int(entry.name))) is not None:
            children.setdefault(int(fields[1]), []).append(int(entry.name))
            if int(fields[3]) == pid:
                session.append(int(entry.name))
    found: list[int] = []
    waiting = [pid, *session]
    while waiting:
        current = waiting.pop()
        if current not in found:
            found.append(current)
            waiting += children.get(current, ())
    return found


def signal_tree(pid: int, number: int) -> None:
    for member in tree(pid):
        with contextlib.suppress(ProcessLookupError):
            os.kill(member, number)


def kill_tree(pid: int) -> None:
    """Stop everything first, so that nothing can fork away between being found and being killed."""
    members = tree(pid)
    for number in (signal.SIGSTOP, signal.SIGKILL):
        for member in members:
            with contextlib.suppress(ProcessLookupError):
                os.kill(member, number)


def kill_session(leader: int) -> None:
    """Kill what a dead process left behind in its session."""
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit() or int(entry.name) == leader:
            continue
        fields = _stat(int(entry.name))
        if fields is not None and int(fields[3]) == leader and fields[0] != "Z":
            with contextlib.suppress(ProcessLookupError):
                os.kill(int(entry.name), signal.SIGKILL)


def _stat(pid: int) -> list[str] | None:
    """The fields of /proc/<pid>/stat after the name: state, ppid, pgrp, session, …"""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return None
    return text.rpartition(")")[2].split()


@dataclass(frozen=True)
class Used:
    """Seconds of processors, bytes of resident memory."""

    cpu_user: float
    cpu_system: float
    memory: int
    threads: int


def used_by(pids: Iterable[int]) -> Used:
    """By all of them together; processors also by their children that have ended."""
    ticks, page = os.sysconf("SC_CLK_TCK"), os.sysconf("SC_PAGE_SIZE")
    found = [fields for pid in pids if (fields := _stat(pid)) is not None]
    return Used(
        cpu_user=sum(int(fields[11]) + int(fields[13]) for fields in found) / ticks,
        cpu_system=sum(int(fields[12]) + int(fields[14]) for fields in found) / ticks,
        memory=sum(int(fields[21]) for fields in found) * page,
        threads=sum(int(fields[17]) for fields in found),
    )
