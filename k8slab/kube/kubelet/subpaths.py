"""Places within volumes, held by mounts of their own.

A pod may write to its volumes at any moment. A path that was looked at and is then given to the engine as a path may
lead elsewhere by the time that it is mounted: a directory has become a link to the node's own files. A mount of what
was looked at stays what it is.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path

from k8slab.kube.kubelet import mounts


def pinned(volume: Path, path: str, target: Path, *, shared: bool = False) -> Path:
    """Mount a place in a volume on ``target``, which is made; the place, too, when it is not there.

    ``shared``: the node is to see what is mounted in it, which is for pods alone that have all of the node anyway:
    theirs is the place itself. Links are followed, but not out of the volume. Raises ValueError for a path that leads
    out of it, and OSError.
    """
    if path.startswith("/") or ".." in Path(path).parts:
        raise ValueError(f"{path!r} must be a relative path without '..'")
    top = Path(os.path.realpath(volume))
    found = Path(os.path.realpath(top / path))
    if not found.is_relative_to(top):
        raise ValueError(f"{path!r} leads out of its volume")
    place = _opened(top, found.relative_to(top).parts, path)
    try:
        if shared:
            return _of(place).readlink()
        _prepare(target, directory=stat.S_ISDIR(os.fstat(place).st_mode))
        mounts.bind(_of(place), target)
    finally:
        os.close(place)
    return target


def _opened(top: Path, parts: tuple[str, ...], path: str) -> int:
    """A descriptor of the place, reached without following any link; directories are made like the volume's own."""
    place = os.open(top, os.O_PATH | os.O_DIRECTORY)
    mode = stat.S_IMODE(os.fstat(place).st_mode)
    for part in parts:
        above = place
        try:
            place, made = _entered(above, part)
        finally:
            os.close(above)
        if stat.S_ISLNK(os.fstat(place).st_mode):
            os.close(place)
            raise ValueError(f"{path!r} leads out of its volume")
        if made:
            _of(place).chmod(mode)
    return place


def _of(descriptor: int) -> Path:
    return Path(f"/proc/self/fd/{descriptor}")


def _entered(directory: int, name: str) -> tuple[int, bool]:
    flags = os.O_PATH | os.O_NOFOLLOW
    try:
        return os.open(name, flags, dir_fd=directory), False
    except FileNotFoundError:
        os.mkdir(name, 0o755, dir_fd=directory)
        return os.open(name, flags, dir_fd=directory), True


def _prepare(target: Path, *, directory: bool) -> None:
    """Something to mount on, without what an earlier attempt of the container had there."""
    target.parent.mkdir(parents=True, exist_ok=True)
    mounts.clear(target)
    if target.is_dir() and not directory:
        target.rmdir()
    elif target.exists() and directory and not target.is_dir():
        target.unlink()
    if directory:
        target.mkdir(exist_ok=True)
    else:
        target.touch()
