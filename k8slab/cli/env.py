"""``k8slab env``: variables for clients of one's own."""

from __future__ import annotations

import os
from pathlib import PurePath
from typing import Annotated

import typer

from k8slab.cli import options
from k8slab.cli.session import Session, session_of

FALLBACK = "sh"


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
    form = _syntax(session, shell)
    variables = session.lab(lab_name).environment()
    if session.json:
        session.answer_json({"schema": 1, "environment": variables})
    else:
        typer.echo(exports(variables, form))


def _syntax(session: Session, asked: str) -> str:
    from k8slab.errors import UsageError
    from k8slab.view.env import SHELLS

    name = PurePath(asked or os.environ.get("SHELL") or FALLBACK).name
    if name in SHELLS:
        return name
    known = ", ".join(SHELLS)
    if asked:
        raise UsageError(f"How {asked} sets variables is not known here.", remedy=f"Known shells: {known}.")
    if not session.json:
        session.say(f"How {name} sets variables is not known here; this is for {FALLBACK}. Known: {known}.")
    return FALLBACK
