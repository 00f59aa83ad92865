"""What is mounted for pods: file systems in memory, and places in their volumes."""

from __future__ import annotations

import ctypes
import errno
import os
import re
from pathlib import Path
from typing import Final

_MS_BIND: Final = 0x1000
_MS_SLAVE: Final = 1 << 19
_MNT_DETACH: Final = 2
_UMOUNT_NOFOLLOW: Final = 8
_ESCAPED: Final = re.compile(r"\\([0-7]{3})")


def tmpfs(path: Path, *, size: int = 0, mode: int = 0o755) -> None:
    """``size``: at most so many bytes, 0 for the kernel's own limit. Raises OSError."""
    options = f"mode={mode:o}" + (f",size={size}" if size else "")
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.mount(b"tmpfs", os.fsencode(path), b"tmpfs", ctypes.c_ulong(0), options.encode()):
        raise _error(path)


def bind(source: Path, target: Path) -> None:
    """Show a file or directory at another place as well. Raises OSError."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.mount(os.fsencode(source), os.fsencode(target), None, ctypes.c_ulong(_MS_BIND), None):
        raise _error(target)
    # What is mounted in the source later shows here, but its end here must not be its end there.
    if libc.mount(None, os.fsencode(target), None, ctypes.c_ulong(_MS_SLAVE), None):
        raise _error(target)


def clear(path: Path) -> None:
    """Unmount whatever is mounted here, if anything is. Raises OSError."""
    while True:
        try:
            unmount(path)
        except OSError as trouble:
            if trouble.errno in (errno.EINVAL, errno.ENOENT):
                return
            raise


def unmount(path: Path) -> None:
    """With all that is mounted in it. Raises OSError."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.umount2(os.fsencode(path), _UMOUNT_NOFOLLOW | _MNT_DETACH):
        raise _error(path)


def below(top: Path) -> list[Path]:
    """Where something is mounted in this directory, the innermost and latest first."""
    with Path("/proc/self/mountinfo").open() as table:
        points = [_ESCAPED.sub(lambda code: chr(int(code[1], 8)), line.split()[4]) for line in table]
    # The kernel knows no links: what it does not find here would be taken for the pod's own, and removed.
    here = f"{os.path.realpath(top)}/"
    return [Path(point) for point in reversed(points) if point.startswith(here)]


def _error(path: Path) -> OSError:
    number = ctypes.get_errno()
    return OSError(number, os.strerror(number), str(path))
