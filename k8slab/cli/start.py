"""``k8slab start``: daemons up, in order."""

from __future__ import annotations

import typer

from k8slab.cli import options
from k8slab.cli.session import session_of


def start(
    context: typer.Context,
    targets: options.Targets,
    lab_name: options.LabName = "",
    timeout: options.Timeout = None,
    output: options.Output = options.Form.table,
) -> None:
    """Start daemons, in order, each once what it needs is ready. Short: s."""
    from k8slab.cli.report import report_changes
    from k8slab.cli.shorthand import spelled_out
    from k8slab.cli.work import watched

    session = session_of(context)
    lab = session.lab(lab_name, changing=True)
    chosen = spelled_out(lab.topology, targets)
    with watched(session, lab.topology, f"Starting {' '.join(chosen)}") as listener:
        done = lab.start(chosen, listener=listener, timeout=timeout)
    report_changes(session, lab.name, done, nothing=f"Nothing to start: {' '.join(chosen)} is up already.")
