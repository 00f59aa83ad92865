"""The daemons' Python libraries: fetched on the host by its own pip, for the Python that is in the image."""

from __future__ import annotations

import importlib.metadata
import json
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import k8slab
from k8slab.errors import PreconditionMissing
from k8slab.lab.images.files import SITE_PACKAGES, Entry, folder
from k8slab.lab.images.workshop import LAST_LINES, Bench, Workshop, failed, lines, pieces

EXTRA = "daemons"

# Sources that compiled modules carry along, and what only type checkers and tests read.
_DEAD_WEIGHT = {".pyx", ".pxd", ".pyi", ".c", ".h", ".cc", ".hpp"}

ASK = (
    "python3 -c 'import sys,platform,json;"
    'print(json.dumps([".".join(map(str,sys.version_info[:2])),platform.machine(),platform.libc_ver()[1]]))\''
)


@dataclass(frozen=True)
class Target:
    """The image's interpreter: version ("3.11"), machine ("x86_64"), version of its C library ("2.36")."""

    version: str
    machine: str
    libc: str

    @property
    def platforms(self) -> list[str]:
        """Wheel platforms it can load, the newest first."""
        major, minor = (int(part) for part in self.libc.split(".")[:2])
        return [f"manylinux_{major}_{number}_{self.machine}" for number in range(minor, 4, -1)] + [
            f"manylinux2014_{self.machine}",
            f"linux_{self.machine}",
        ]


def requirements() -> tuple[str, ...]:
    """What the daemons need, from the project's own metadata (a checkout's file is younger than its installed copy)."""
    checkout = Path(k8slab.__file__).parent.parent / "pyproject.toml"
    if checkout.is_file():
        project = tomllib.loads(checkout.read_text()).get("project", {})
        if project.get("name") == "k8slab":
            return tuple(sorted(project["optional-dependencies"][EXTRA]))
    found = []
    for line in importlib.metadata.requires("k8slab") or ():
        requirement, _, marker = line.partition(";")
        if re.search(rf"""extra\s*==\s*["']{EXTRA}["']""", marker):
            found.append(requirement.strip())
    return tuple(sorted(found))


def ask(bench: Bench, image: str) -> Target:
    answer = bench.run(ASK, image=image, step="asking the image's Python for its version")
    version, machine, libc = json.loads(answer.splitlines()[-1])
    return Target(version, machine, libc or "2.17")


def fetch(
    shop: Workshop, target: Target, *, image: str, on_progress: Callable[[float | None, str], None]
) -> list[Entry]:
    """The libraries as files of an image."""
    check = subprocess.run([sys.executable, "-m", "pip", "--version"], capture_output=True, check=False)
    if check.returncode != 0:
        raise PreconditionMissing(
            "The Python that runs k8slab has no pip, which fetches the libraries of the daemons.",
            remedy=f"`{sys.executable} -m ensurepip` (Debian: `sudo apt-get install python3-pip`).",
        )
    with shop.folder() as folder_name:
        goal = Path(folder_name)
        _install(shop, target, goal, image=image, on_progress=on_progress)
        for path in sorted(goal.rglob("*")):
            if path.is_dir() and (path.name == "tests" or path == goal / "bin"):
                shutil.rmtree(path)
            elif path.is_file() and path.suffix in _DEAD_WEIGHT:
                path.unlink()
        return folder(goal, SITE_PACKAGES)


def _install(
    shop: Workshop, target: Target, goal: Path, *, image: str, on_progress: Callable[[float | None, str], None]
) -> None:
    command = [sys.executable, "-m", "pip", "install", "--target", str(goal), "--no-compile", "--no-input"]
    command += ["--progress-bar=off", "--only-binary=:all:", "--implementation=cp"]
    command += [f"--python-version={target.version}", *(f"--platform={name}" for name in target.platforms)]
    command += requirements()
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    assert process.stdout is not None
    said: list[str] = []
    with shop.closing(process.terminate):
        for line in lines(pieces(process.stdout)):
            said.append(line)
            if line.startswith(("Collecting ", "Installing ")):
                on_progress(None, f"pip: {line.split(' (')[0].lower()}")
        code = process.wait()
    shop.check()
    if code != 0:
        tail = "\n".join(said[-LAST_LINES:])
        raise failed(
            image, "pip install of the daemons' libraries", why=f"It ended with exit code {code}.", output=tail
        )
