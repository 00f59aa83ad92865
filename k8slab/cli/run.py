"""``k8slab run``: everything up, or what that would take."""

from __future__ import annotations

from typing import Annotated

import typer

from k8slab.cli import options
from k8slab.cli.session import look, session_of


def run(
    context: typer.Context,
    topology: options.TopologyName = "",
    lab_name: options.LabName = "",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only list the steps, with their reasons.")] = False,
    explain: Annotated[bool, typer.Option("--explain", help="Only print the commands one would type.")] = False,
    no_start: Annotated[bool, typer.Option("--no-start", help="Stop at wired nodes; start no daemon.")] = False,
    settings: options.Settings = [],  # noqa: B006
    timeout: options.Timeout = None,
    output: options.Output = options.Form.table,
) -> None:
    """Bring the lab up: nodes, wires, daemons. Short: r.

    Run again, it repairs what is broken and starts what was killed, and names it. Without TOPOLOGY it is the lab
    k8s-mesos (or --lab), as it was last run; when it is not there, the topology k8s-mesos.
    """
    from k8slab.cli.choose import first_manifest, lab_to_run
    from k8slab.cli.work import watched
    from k8slab.snapshot import as_json
    from k8slab.view import changes, status
    from k8slab.view.next import next_steps

    session = session_of(context)
    lab = lab_to_run(session, topology, options.lab_beside(context, topology, lab_name), settings)
    if dry_run or explain:
        steps = lab.plan(daemons=not no_start, timeout=timeout)
        if session.json:
            session.answer_json(changes.plan_json(lab.name, steps, explain=explain))
        elif explain and steps:
            typer.echo(changes.explanation(steps))
        else:
            session.answer(changes.plan(steps, lab.name, look(session.out)))
        return
    session.changing = lab.name
    with watched(session, lab.topology, f"Bringing up {lab.name}", whole=True) as listener:
        result = lab.run(listener=listener, start=not no_start, timeout=timeout)
    session.changing = ""
    if session.json:
        session.answer_json(as_json(result.snapshot, result.timings, result.changes))
        return
    session.say(changes.run_summary(lab.name, result.changes, result.timings, look(session.err)))
    session.answer(status.status(result.snapshot, look(session.out)))
    session.say(
        next_steps(lab.topology, look(session.err), manifest=first_manifest(lab.topology), started=not no_start)
    )
