"""A daemon's log as a file: written where ``--log_dir`` says, or by others, as ``--external_log_file`` says."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path

from k8slab.mesos.flags import Flags

LOG_FLAGS: dict[str, tuple[str | None, str]] = {
    "log_dir": (None, "also log to <program>.INFO in this directory, served as the log; stderr alone unless set"),
    "external_log_file": (
        None,
        "served as the log instead: a file to which somebody else writes what is said",
    ),
}


def log_as_told(flags: Flags, program: str) -> None:
    """Also into the file in ``--log_dir``, when that is given. Raises SystemExit when that cannot be."""
    if not (directory := flags.text("log_dir")):
        return
    path = _path(directory, program)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handler = logging.FileHandler(path)
    except OSError as error:
        raise SystemExit(f"cannot log into {directory}: {error.strerror}") from error
    root = logging.getLogger()
    if root.handlers:
        handler.setFormatter(root.handlers[0].formatter)
    root.addHandler(handler)


def served_log(flags: Mapping[str, str], program: str) -> Path | None:
    """The file that shows what ``program`` says, by its flags; None when there is none."""
    if external := flags.get("external_log_file"):
        return Path(external)
    return _path(directory, program) if (directory := flags.get("log_dir")) else None


def _path(directory: str, program: str) -> Path:
    return Path(directory, f"{program}.INFO")
