"""``k8slab node``: the machine itself, as if its power were cut, its plug pulled, its clock stopped."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, get_args

import typer

from k8slab.cli import options
from k8slab.cli.boundary import Part
from k8slab.cli.session import session_of

Verb = Literal["stop", "start", "restart", "pause", "unpause"]
SAYINGS: dict[Verb, tuple[str, str, str]] = {
    "stop": ("Cut the power of nodes.", "Cutting the power of", "off already"),
    "start": ("Power nodes on again; what was up on them comes up.", "Powering on", "on already"),
    "restart": ("Cut the power and give it back.", "Restarting", "off"),
    "pause": ("Stop the clock of nodes, and of the pods on them.", "Pausing", "not running"),
    "unpause": ("Let the clock of nodes go on.", "Unpausing", "not paused"),
}

app = typer.Typer(cls=Part, help="Press a node's buttons.", no_args_is_help=True)


def _command(verb: Verb) -> Callable[..., Any]:
    _, at_work, otherwise = SAYINGS[verb]

    def press(
        context: typer.Context,
        nodes: options.NodeNames,
        lab_name: options.LabName = "",
        output: options.Output = options.Form.table,
    ) -> None:
        from k8slab.cli.report import report_changes
        from k8slab.cli.work import watched

        session = session_of(context)
        lab = session.lab(lab_name, changing=True)
        with watched(session, lab.topology, f"{at_work} {' '.join(nodes)}") as listener:
            done = lab.power(verb, nodes, listener=listener)
        report_changes(session, lab.name, done, nothing=f"Nothing to do: {' '.join(nodes)} is {otherwise}.")

    return press


for _verb in get_args(Verb):
    app.command(_verb, help=SAYINGS[_verb][0])(_command(_verb))
