"""Files that change all at once, however many there are: what is seen of them is links through one link that is moved.

directory/..2026_01_02_15_04_05.x7hq2/key       the files
directory/..data -> ..2026_01_02_15_04_05.x7hq2
directory/key -> ..data/key
"""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

DATA: Final = "..data"
_NEXT: Final = "..data_tmp"


@dataclass(frozen=True)
class File:
    """``mode``: permission bits; ``owner``: a user's number, None for this process' own."""

    content: bytes
    mode: int
    owner: int | None = None


def write(directory: Path, files: Mapping[str, File], *, group: int | None = None) -> bool:
    """Make the directory hold exactly these files, by path relative to it; whether anything had to be changed.

    ``group``: a group's number to which all of them are given. Raises OSError.
    """
    current = directory / DATA
    old = Path(os.path.realpath(current)) if current.is_symlink() else None
    if old is not None and _same(old, files):
        return False
    made = Path(tempfile.mkdtemp(prefix=time.strftime("..%Y_%m_%d_%H_%M_%S.", time.gmtime()), dir=directory))
    made.chmod(0o755)
    for path, file in files.items():
        _write(made / path, file)
    if group is not None:
        give_to_group(made, group, writable=False)
    coming = directory / _NEXT
    coming.unlink(missing_ok=True)
    coming.symlink_to(made.name)
    coming.rename(current)
    _link(directory, {path.partition("/")[0] for path in files})
    for stale in directory.glob("..[0-9]*"):
        if stale.name != made.name:
            shutil.rmtree(stale, ignore_errors=True)
    return True


def give_to_group(top: Path, group: int, *, writable: bool) -> None:
    """Let the group read, and write when ``writable``, everything below, and own what is made there later."""
    for place, _, names in os.walk(top):
        for path in (Path(place), *(Path(place, name) for name in names)):
            os.chown(path, -1, group, follow_symlinks=False)
            if path.is_symlink():
                continue
            mode = path.stat().st_mode | (0o660 if writable else 0o440)
            path.chmod(mode | (0o2110 if path.is_dir() else 0))


def _write(path: Path, file: File) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(file.content)
    # Not at its making: the process' mask would take bits away.
    path.chmod(file.mode)
    if file.owner is not None:
        os.chown(path, file.owner, -1)


def _same(top: Path, files: Mapping[str, File]) -> bool:
    found = {str(path.relative_to(top)) for path in top.rglob("*") if path.is_file()}
    return found == set(files) and all((top / path).read_bytes() == file.content for path, file in files.items())


def _link(directory: Path, names: set[str]) -> None:
    for entry in directory.iterdir():
        if entry.is_symlink() and not entry.name.startswith("..") and entry.name not in names:
            entry.unlink()
    for name in names:
        link = directory / name
        if not link.is_symlink():
            link.symlink_to(f"{DATA}/{name}")
