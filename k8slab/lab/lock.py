"""One command at a time changes a lab: an advisory lock in the lab's folder, gone with the process that held it."""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Event

from k8slab.errors import LabBusy, PreconditionMissing

FILE = "lock"
LOOK_EVERY = 0.2


@contextmanager
def locked(folder: Path, lab: str, *, wait: float, say: Callable[[str], None]) -> Iterator[None]:
    """Hold the lab's lock. Waits up to ``wait`` seconds for another holder, saying so once; then raises LabBusy."""
    deadline = time.monotonic() + wait
    told = False
    while (descriptor := _try(folder)) is None:
        holder = _holder(folder)
        if time.monotonic() >= deadline:
            raise LabBusy(lab, holder)
        if not told:
            say(f"Another k8slab command is at work on lab {lab} ({holder}); waiting for it to end…")
            told = True
        Event().wait(LOOK_EVERY)
    try:
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"process {os.getpid()}".encode(), 0)
        yield
    finally:
        os.close(descriptor)


def holds_only_the_lock(folder: Path) -> bool:
    try:
        return [entry.name for entry in folder.iterdir()] == [FILE]
    except FileNotFoundError:
        return False


def make(folder: Path) -> None:
    """Raises PreconditionMissing where no folder can be made."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise PreconditionMissing(
            f"The lab's folder {folder} cannot be made.",
            why=f"{error.strerror}: {error.filename}",
            remedy="Point XDG_STATE_HOME at a folder that you may write to, or unset it.",
        ) from error


def _try(folder: Path) -> int | None:
    make(folder)
    path = folder / FILE
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except FileNotFoundError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        # The holder may have been `rm`, which takes the folder away: a lock on a removed file protects nothing.
        if path.exists() and path.stat().st_ino == os.fstat(descriptor).st_ino:
            return descriptor
    except BlockingIOError:
        pass
    os.close(descriptor)
    return None


def _holder(folder: Path) -> str:
    try:
        return (folder / FILE).read_text() or "just begun"
    except OSError:
        return "just ended"
