"""Processes of executors and tasks: their whole tree, their end even when they are not our children, their identity."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import signal
import stat
import subprocess
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

UNKNOWN_STATUS = -1
# Of looks at what is to be killed: whoever forks still faster than it is stopped is not caught that way.
MAX_LOOKS = 50

# User, group, and the further groups.
Identity = tuple[int, int, Sequence[int]]


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

        Raises OSError when it cannot be executed or watched, KeyError when there is no such ``user``.
        """
        who = identity(user)
        with contextlib.ExitStack() as files:
            out, err = (files.enter_context(open_output(directory / name, who)) for name in ("stdout", "stderr"))
            # Opened with the agent's rights, written by the child: it is inside before it can fork anything.
            groups = [files.enter_context(path.open("wb", buffering=0)) for path in joins]
            try:
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
            except subprocess.SubprocessError as error:
                # All that is told of a failure in preexec_fn.
                raise OSError(f"cannot join {', '.join(map(str, joins))}") from error
        try:
            return cls(child.pid, on_exit, child=child)
        except OSError:
            kill_tree(child.pid)
            child.wait()
            raise

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


def open_output(path: Path, who: Identity | None) -> BinaryIO:
    """For appending, made when it is not there, and owned by ``who``, whose folder it is in.

    Whoever owns the folder may have put anything there, and this may be root: only a plain file that has no other name
    is taken. Raises OSError.
    """
    flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    file = os.fdopen(os.open(path, flags, 0o644), "ab")
    try:
        status = os.fstat(file.fileno())
        if not stat.S_ISREG(status.st_mode) or status.st_nlink != 1:
            raise OSError(errno.EPERM, "not a plain file with one name", str(path))
        if who:
            os.fchown(file.fileno(), who[0], who[1])
    except BaseException:
        file.close()
        raise
    return file


def _join(groups: Sequence[int]) -> None:
    for descriptor in groups:
        os.write(descriptor, b"0")


def identity(user: str | None) -> Identity | None:
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
    return None if fields is None or fields[0] == b"Z" else int(fields[19])


class ProcessTable:
    """All processes of this machine at one moment; reading it takes about a millisecond for a hundred of them."""

    def __init__(self) -> None:
        with os.scandir("/proc") as entries:
            pids = [int(entry.name) for entry in entries if entry.name.isdigit()]
        self._stats = {pid: fields for pid in pids if (fields := _stat(pid)) is not None}
        self._children: dict[int, list[int]] = {}
        self._sessions: dict[int, list[int]] = {}
        for pid, fields in self._stats.items():
            self._children.setdefault(int(fields[1]), []).append(pid)
            self._sessions.setdefault(int(fields[3]), []).append(pid)

    def tree(self, pid: int) -> list[int]:
        """``pid`` and all its living descendants, and what else is in its session."""
        return self._below([pid, *self._sessions.get(pid, ())])

    def left_behind(self, leader: int) -> list[int]:
        """What is in the session of a dead process, and below that."""
        return self._below([pid for pid in self._sessions.get(leader, ()) if pid != leader])

    def _below(self, roots: Sequence[int]) -> list[int]:
        found: dict[int, None] = {}
        waiting = list(reversed(roots))
        while waiting:
            current = waiting.pop()
            if current not in found:
                found[current] = None
                waiting += self._children.get(current, ())
        return list(found)

    def used_by(self, pids: Iterable[int]) -> Used:
        """By all of them together; processors also by their children that have ended."""
        ticks, page = os.sysconf("SC_CLK_TCK"), os.sysconf("SC_PAGE_SIZE")
        found = [self._stats[pid] for pid in pids if pid in self._stats]
        return Used(
            cpu_user=sum(int(fields[11]) + int(fields[13]) for fields in found) / ticks,
            cpu_system=sum(int(fields[12]) + int(fields[14]) for fields in found) / ticks,
            memory=sum(int(fields[21]) for fields in found) * page,
            threads=sum(int(fields[17]) for fields in found),
        )


def signal_tree(pid: int, number: int) -> None:
    _signal_all(ProcessTable().tree(pid), number)


def kill_tree(pid: int) -> None:
    """Stop everything first, so that nothing can fork away between being found and being killed."""
    _kill_stopped(lambda: ProcessTable().tree(pid))


def kill_session(leader: int) -> None:
    """Kill what a dead process left behind in its session."""
    _kill_stopped(lambda: ProcessTable().left_behind(leader))


def _kill_stopped(look: Callable[[], Iterable[int]]) -> None:
    """What was forked before its parent was stopped is found by looking again."""
    stopped: set[int] = set()
    for _ in range(MAX_LOOKS):
        new = [pid for pid in look() if pid not in stopped]
        if not new:
            break
        _signal_all(new, signal.SIGSTOP)
        stopped.update(new)
    _signal_all(stopped, signal.SIGKILL)


def _signal_all(pids: Iterable[int], number: int) -> None:
    for pid in pids:
        # One that is gone, or has become somebody whom we may not signal, does not keep the others.
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.kill(pid, number)


def _stat(pid: int) -> list[bytes] | None:
    """The fields of /proc/<pid>/stat after the name: state, ppid, pgrp, session, …"""
    try:
        descriptor = os.open(f"/proc/{pid}/stat", os.O_RDONLY)
    except OSError:
        return None
    try:
        return os.read(descriptor, 4096).rpartition(b")")[2].split()
    except OSError:
        return None
    finally:
        os.close(descriptor)


@dataclass(frozen=True)
class Used:
    """Seconds of processors, bytes of resident memory."""

    cpu_user: float
    cpu_system: float
    memory: int
    threads: int
