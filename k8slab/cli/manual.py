"""``k8slab manual``: the command lines, to type them oneself."""

from __future__ import annotations

from typing import Annotated

import typer

from k8slab.cli import completion, options
from k8slab.cli.session import session_of


def manual(
    context: typer.Context,
    targets: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[TARGET…]",
            help="An alias, a node, node/daemon, or all (the default).",
            autocompletion=completion.targets,
            show_default=False,
        ),
    ] = None,
    lab_name: options.LabName = "",
    output: options.Output = options.Form.table,
) -> None:
    """Print the exact command lines that start each daemon by hand. Short: m."""
    from k8slab.cli.choose import lab_or_default
    from k8slab.cli.shorthand import spelled_out
    from k8slab.view.manual import manual as lines
    from k8slab.view.manual import manual_json

    session = session_of(context)
    lab = lab_or_default(session, lab_name)
    found = lab.manual(spelled_out(lab.topology, targets or []))
    if session.json:
        session.answer_json(manual_json(lab.name, found))
    else:
        typer.echo(lines(found, lab.topology))
