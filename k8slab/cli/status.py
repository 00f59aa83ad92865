"""``k8slab status``: what is there and what each daemon says of itself."""

from __future__ import annotations

import time
from typing import Annotated

import typer

from k8slab.cli import options
from k8slab.cli.session import look, session_of


def status(
    context: typer.Context,
    lab_name: options.LabName = "",
    watch: Annotated[bool, typer.Option("--watch", "-w", help="Look again each second, until Ctrl-C.")] = False,
    output: options.Output = options.Form.table,
) -> None:
    """Show nodes, daemons, and who leads. Short: ps."""
    from k8slab.snapshot import as_json
    from k8slab.view.status import status as table
    from k8slab.view.wide import wide

    session = session_of(context)
    if watch:
        from k8slab.cli.watch import watch as keep_watching

        keep_watching(session, lab_name, form=output.value)
        return
    snapshot = session.lab(lab_name).snapshot()
    if session.json:
        session.answer_json(as_json(snapshot))
    elif output is options.Form.wide:
        session.answer(wide(snapshot, look(session.out), now=time.time()))
    else:
        session.answer(table(snapshot, look(session.out)))
