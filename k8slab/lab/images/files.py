"""Files on their way into an image, as tar streams; the same files always give the same bytes."""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import k8slab

HERE = Path(__file__).parent
ROOTFS = HERE / "rootfs"
PARTS = HERE / "parts"

PREFIX = "/usr/local/lib/k8slab"
SITE_PACKAGES = f"{PREFIX}/site-packages"
APP = f"{PREFIX}/app"

PROGRAMS = {
    "mesos-master": "k8slab.mesos.master.main",
    "mesos-slave": "k8slab.mesos.agent.main",
    "mesos-agent": "k8slab.mesos.agent.main",
    "km": "k8slab.k8sm.km",
    "kube-apiserver": "k8slab.k8sm.km",
    "k8sm-controller-manager": "k8slab.k8sm.km",
    "k8sm-scheduler": "k8slab.k8sm.km",
    "k8sm-executor": "k8slab.k8sm.km",
    "kube-proxy": "k8slab.k8sm.km",
    "kube-dns": "k8slab.k8sm.km",
    "kubecfg": "k8slab.kube.kubecfg",
    "k8slab-switch": "k8slab.lab.switch.main",
}

# -I and -S leave out what a daemon never needs (user site, .pth files, PYTHON* variables) and what starts slowest.
LAUNCHER = """\
#!/usr/bin/python3 -IS
import sys
sys.path += ["{app}", "{site}"]
from {module} import main
sys.exit(main())
"""


@dataclass(frozen=True)
class Entry:
    """One file of an image: absolute path, content, permission bits."""

    path: str
    content: bytes
    mode: int = 0o644
    mtime: int = 0


def digest(*things: Any) -> str:
    """A short name for content: the same things in the same order give the same name."""
    state = hashlib.sha256()
    for thing in things:
        data = thing if isinstance(thing, bytes) else json.dumps(thing, sort_keys=True).encode()
        state.update(len(data).to_bytes(8, "big") + data)
    return state.hexdigest()[:32]


def digest_entries(entries: Iterable[Entry]) -> str:
    return digest(*(part for entry in entries for part in ([entry.path, entry.mode], entry.content)))


def tar(entries: Iterable[Entry]) -> bytes:
    """The entries and the folders above them, owned by root."""
    buffer = io.BytesIO()
    made: set[str] = {"."}
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for entry in sorted(entries, key=lambda entry: entry.path):
            path = PurePosixPath(entry.path.lstrip("/"))
            for folder in reversed(path.parents):
                if str(folder) not in made:
                    made.add(str(folder))
                    info = tarfile.TarInfo(str(folder))
                    info.type, info.mode = tarfile.DIRTYPE, 0o755
                    archive.addfile(info)
            info = tarfile.TarInfo(str(path))
            info.size, info.mode, info.mtime = len(entry.content), entry.mode, entry.mtime
            archive.addfile(info, io.BytesIO(entry.content))
    return buffer.getvalue()


def folder(root: Path, target: str = "/") -> list[Entry]:
    """Every file below ``root`` as it is to lie below ``target``. A file is executable where it says how it is run."""
    return [_entry(path, f"{target.rstrip('/')}/{path.relative_to(root).as_posix()}") for path in _files(root)]


def project() -> list[Entry]:
    """The project that is running here: its package, its programs, the files of every node."""
    package = Path(k8slab.__file__).parent
    entries = [
        _entry(path, f"{APP}/k8slab/{path.relative_to(package).as_posix()}")
        for path in _files(package)
        if not path.is_relative_to(ROOTFS) and not path.is_relative_to(PARTS)
    ]
    entries += [
        Entry(f"/usr/local/bin/{name}", LAUNCHER.format(app=APP, site=SITE_PACKAGES, module=module).encode(), 0o755)
        for name, module in PROGRAMS.items()
    ]
    return entries + folder(ROOTFS)


def parts(name: str) -> list[Entry]:
    return folder(PARTS / name) if name else []


def version() -> str:
    return k8slab.__version__


def _files(root: Path) -> Iterator[Path]:
    return (
        path
        for path in sorted(root.rglob("*"))
        if path.is_file()
        and "__pycache__" not in path.parts
        and not path.name.startswith(".")
        and path.suffix != ".pyc"
    )


def _entry(path: Path, target: str) -> Entry:
    # An installed wheel has no executable bits left: what starts with "#!" is a program.
    content = path.read_bytes()
    return Entry(target, content, 0o755 if content.startswith(b"#!") else 0o644, int(path.stat().st_mtime))
