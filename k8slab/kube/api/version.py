"""What /version says: the release whose behaviour this server follows, and that it is not that release's build."""

from __future__ import annotations

import platform
from typing import Final

import orjson

MAJOR: Final = "1"
MINOR: Final = "32"
GIT_VERSION: Final = "v1.32.13+k8slab"

VERSION: Final = orjson.dumps(
    {
        "major": MAJOR,
        "minor": MINOR,
        "gitVersion": GIT_VERSION,
        "gitCommit": "",
        "gitTreeState": "clean",
        "buildDate": "2026-11-20T00:00:00Z",
        "goVersion": f"python{platform.python_version()}",
        "compiler": platform.python_implementation().lower(),
        "platform": "linux/amd64" if platform.machine() == "x86_64" else f"linux/{platform.machine()}",
    }
)
