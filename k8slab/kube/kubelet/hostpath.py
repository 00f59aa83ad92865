"""Places of the node itself that pods may see: whether they are what the pod says they are."""

from __future__ import annotations

import stat
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

from k8slab.kube.kubelet.payload import VolumeError

_EXPECTED: Final[Mapping[str, tuple[Callable[[int], bool], str]]] = {
    "Directory": (stat.S_ISDIR, "a directory"),
    "DirectoryOrCreate": (stat.S_ISDIR, "a directory"),
    "File": (stat.S_ISREG, "a file"),
    "FileOrCreate": (stat.S_ISREG, "a file"),
    "Socket": (stat.S_ISSOCK, "a socket file"),
    "CharDevice": (stat.S_ISCHR, "a character device"),
    "BlockDevice": (stat.S_ISBLK, "a block device"),
}
TYPES: Final = frozenset({"", *_EXPECTED})


def checked(source: Mapping[str, Any]) -> Path:
    """The path, made when its type says so. Raises VolumeError when it is something else, and OSError."""
    path = Path(source["path"])
    kind = source.get("type") or ""
    if not kind:
        return path
    if kind == "DirectoryOrCreate" and not path.exists():
        path.mkdir(mode=0o755, parents=True, exist_ok=True)
    elif kind == "FileOrCreate" and not path.exists():
        path.touch(mode=0o644)
    is_right, what = _EXPECTED[kind]
    try:
        right = is_right(path.stat().st_mode)
    except FileNotFoundError:
        right = False
    if not right:
        raise VolumeError(f"hostPath type check failed: {path} is not {what}")
    return path
