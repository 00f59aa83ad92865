"""Small images of this machine's own programs, so that pods run without any registry."""

from __future__ import annotations

import io
import re
import secrets
import subprocess
import tarfile
from pathlib import Path
from typing import Final

# Of this process alone: sessions side by side must not take each other's images away.
TAG: Final = secrets.token_hex(4)
PAUSE: Final = f"k8sm-test/pause:{TAG}"
SHELL: Final = f"k8sm-test/shell:{TAG}"

_PROGRAMS: Final = (
    *("/bin/sh", "/bin/sleep", "/bin/cat", "/bin/ls", "/bin/stty", "/bin/tar"),
    *("/usr/bin/env", "/usr/bin/id", "/usr/bin/test", "/usr/bin/tty"),
    *("/bin/dd", "/bin/df", "/bin/grep", "/bin/hostname", "/bin/mkdir", "/bin/readlink", "/bin/touch"),
    *("/usr/bin/curl", "/usr/bin/head", "/usr/bin/stat"),
)


def build() -> None:
    """Import both images into the host's engine."""
    archive = _root_file_system()
    for reference, command in ((PAUSE, "sleep infinity"), (SHELL, "sleep 3600")):
        words = ", ".join(f'"{word}"' for word in command.split())
        subprocess.run(
            ["docker", "import", "--change", f"CMD [{words}]", "-", reference],
            input=archive,
            check=True,
            capture_output=True,
        )


def remove() -> None:
    subprocess.run(["docker", "rmi", "-f", PAUSE, SHELL], check=True, capture_output=True)


def _root_file_system() -> bytes:
    files = set(_PROGRAMS)
    for program in _PROGRAMS:
        listed = subprocess.run(["ldd", program], check=True, capture_output=True, text=True).stdout
        files |= set(re.findall(r"(/\S+) \(0x", listed))
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for name in ("proc", "sys", "dev", "etc", "tmp"):
            directory = tarfile.TarInfo(name)
            directory.type, directory.mode = tarfile.DIRTYPE, 0o755
            tar.addfile(directory)
        for name in sorted(files):
            real = Path(name).resolve()
            entry = tar.gettarinfo(str(real), arcname=name.lstrip("/"))
            entry.mtime = 0
            with real.open("rb") as content:
                tar.addfile(entry, content)
    return buffer.getvalue()
