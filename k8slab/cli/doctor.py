"""``k8slab doctor``: every precondition, with what to do about it."""

from __future__ import annotations

import typer

from k8slab.cli import options
from k8slab.cli.session import look, session_of

UNMET = 3


def doctor(
    context: typer.Context,
    topology: options.TopologyName = "",
    lab_name: options.LabName = "",
    settings: options.Settings = [],  # noqa: B006
    output: options.Output = options.Form.table,
) -> None:
    """Check everything a lab needs of this machine. Exit code 3 when something is missing."""
    from k8slab.cli.choose import topology_to_check
    from k8slab.lab.checks import examine
    from k8slab.view.doctor import checks, checks_json

    session = session_of(context)
    wanted = topology_to_check(session, topology, options.lab_beside(context, topology, lab_name), settings)
    found = list(examine(session.connect, wanted))
    if session.json:
        session.answer_json(checks_json(found))
    else:
        session.answer(checks(found, look(session.out)))
    if any(check.level == "fail" for check in found):
        raise typer.Exit(UNMET)
