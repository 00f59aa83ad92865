"""File systems in memory, mounted for pods."""

from __future__ import annotations

import ctypes
import os
import re
from pathlib import Path
from typing import Final

_UMOUNT_NOFOLLOW: Final = 8
_ESCAPED: Final = re.compile(r"\\([0-7]{3})")


def tmpfs(path: Path, *, size: int = 0, mode: int = 0o755) -> None:
    """``size``: at most so many bytes, 0 for the kernel's own limit. Raises OSError."""
    options = f"mode={mode:o}" + (f",size={size}" if size else "")
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.mount(b"tmpfs", os.fsencode(path), b"tmpfs", ctypes.c_ulong(0), options.encode()):
        raise _error(path)


def unmount(path: Path) -> None:
    """Raises OSError."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.umount2(os.fsencode(path), _UMOUNT_NOFOLLOW):
        raise _error(path)


def below(top: Path) -> list[Path]:
    """Where something is mounted in this directory, the innermost and latest first."""
    with Path("/proc/self/mountinfo").open() as table:
        points = [_ESCAPED.sub(lambda code: chr(int(code[1], 8)), line.split()[4]) for line in table]
    return [Path(point) for point in reversed(points) if point.startswith(f"{top}/")]


def _error(path: Path) -> OSError:
    number = ctypes.get_errno()
    return OSError(number, os.strerror(number), str(path))
