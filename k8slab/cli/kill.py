"""``k8slab kill``: daemons down, and kept down."""

from __future__ import annotations

from typing import Annotated

import typer

from k8slab.cli import options
from k8slab.cli.session import session_of


def kill(
    context: typer.Context,
    targets: options.Targets,
    lab_name: options.LabName = "",
    signal: Annotated[
        str,
        typer.Option("--signal", metavar="SIGNAL", help="KILL asks no daemon for its consent.", show_default=False),
    ] = "",
    output: options.Output = options.Form.table,
) -> None:
    """Kill daemons, and keep them down until start or run. Short: k."""
    from k8slab.cli.report import report_changes
    from k8slab.cli.shorthand import spelled_out
    from k8slab.cli.signals import checked_signal
    from k8slab.cli.work import watched

    session = session_of(context)
    name = checked_signal(signal)
    lab = session.lab(lab_name, changing=True)
    chosen = spelled_out(lab.topology, targets)
    with watched(session, lab.topology, f"Killing {' '.join(chosen)}") as listener:
        done = lab.kill(chosen, signal=name, listener=listener)
    report_changes(session, lab.name, done, nothing=f"Nothing to kill: {' '.join(chosen)} is down already.")
