"""``k8slab export``: everything a bug report needs, in one folder."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from k8slab.cli import options
from k8slab.cli.session import session_of


def export(
    context: typer.Context,
    directory: Annotated[Path, typer.Argument(metavar="DIR", help="Made if it is not there.", show_default=False)],
    lab_name: options.LabName = "",
    output: options.Output = options.Form.table,
) -> None:
    """Collect every log, state and version, for a bug report."""
    from rich.text import Text

    from k8slab.errors import UsageError

    session = session_of(context)
    if directory.exists() and (not directory.is_dir() or any(directory.iterdir())):
        raise UsageError(f"{directory} is there and not an empty folder.", remedy="Name one that is not there yet.")
    lab = session.lab(lab_name)
    try:
        written = lab.export(directory)
    except OSError as error:
        raise UsageError(f"{directory} cannot be written.", why=str(error)) from error
    files = sum(path.is_file() for path in written.rglob("*"))
    if session.json:
        session.answer_json({"schema": 1, "lab": lab.name, "directory": str(written.resolve()), "files": files})
    else:
        session.answer(Text(f"{files} files in {written}"))
