"""``k8slab env``: variables for clients of one's own."""

from __future__ import annotations

import os
from pathlib import PurePath
from typing import Annotated

import typer

from k8slab.cli import options
from k8slab.cli.session import session_of


def env(
    context: typer.Context,
    lab_name: options.LabName = "",
    shell: Annotated[
        str, typer.Option("--shell", metavar="NAME", help="bash, zsh or fish; by default yours.", show_default=False)
    ] = "",
    output: options.Output = options.Form.table,
) -> None:
    """Print variables that point any client at the lab: eval "$(k8slab env)"."""
    from k8slab.view.env import exports

    session = session_of(context)
    variables = session.lab(lab_name).environment()
    if session.json:
        session.answer_json({"schema": 1, "environment": variables})
    else:
        typer.echo(exports(variables, shell or PurePath(os.environ.get("SHELL", "bash")).name))
