"""``k8slab package``: what can be installed into a lab, as the ``dcos`` command installed it into a cluster."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from k8slab.cli import completion, options
from k8slab.cli.boundary import Part
from k8slab.cli.session import look, session_of

app = typer.Typer(cls=Part, help="Packages: install the Kubernetes framework into a Mesos lab.", no_args_is_help=True)

Name = Annotated[
    str,
    typer.Argument(metavar="PACKAGE", help="A package's name.", autocompletion=completion.packages, show_default=False),
]


@app.command()
def install(
    context: typer.Context,
    name: Name,
    options_file: Annotated[
        Path | None,
        typer.Option(
            "--options", metavar="FILE", help="Its options, JSON or YAML, below its name.", show_default=False
        ),
    ] = None,
    lab_name: options.LabName = "",
    timeout: options.Timeout = None,
    output: options.Output = options.Form.table,
) -> None:
    """Install a package: its machine, its daemons in order. Like run, it brings everything up."""
    from k8slab.cli.work import watched
    from k8slab.lab.lab import Lab
    from k8slab.topology.packages.places import options_of, with_package
    from k8slab.view import packages

    session = session_of(context)
    given, meant = options_of(name, options_file)
    lab = session.lab(lab_name)
    bigger = Lab(lab.runtime, with_package(lab.topology, name, given))
    session.changing = bigger.name
    with watched(session, bigger.topology, f"Installing {name}") as listener:
        result = bigger.run(listener=listener, timeout=timeout)
    session.changing = ""
    if session.json:
        session.answer_json(packages.installed_json(bigger.topology, name, result))
        return
    if not result.changes:
        session.say(f"Nothing to do: {name} is installed already.")
    session.answer(packages.installed(bigger.topology, name, look(session.out)))
    for note in meant.notes():
        session.say(note)


@app.command("list")
def list_(context: typer.Context, lab_name: options.LabName = "", output: options.Output = options.Form.table) -> None:
    """List the packages that have a place in the lab, and how those that are installed fare."""
    from k8slab.view.packages import listed, listed_json

    session = session_of(context)
    snapshot, topology = (lab := session.lab(lab_name)).snapshot(), lab.topology
    if session.json:
        session.answer_json(listed_json(topology, snapshot))
    else:
        session.answer(listed(topology, snapshot, look(session.out)))


@app.command()
def describe(context: typer.Context, name: Name, output: options.Output = options.Form.table) -> None:
    """Describe a package and its options; with -o json, their JSON schema."""
    from k8slab.topology.packages.places import package
    from k8slab.view.packages import described, described_json

    session = session_of(context)
    found = package(name)
    if session.json:
        session.answer_json(described_json(found))
    else:
        session.answer(described(found, look(session.out)))


@app.command()
def uninstall(
    context: typer.Context,
    name: Name,
    lab_name: options.LabName = "",
    output: options.Output = options.Form.table,
) -> None:
    """Take a package out: its daemons, its framework with every pod, its machine."""
    from k8slab.cli.report import report_changes
    from k8slab.cli.work import watched
    from k8slab.lab.packages import uninstall as take_out
    from k8slab.topology.packages.places import package, place
    from k8slab.view.packages import left_behind

    session = session_of(context)
    package(name)
    lab = session.lab(lab_name, changing=True)
    left = left_behind(place(lab.topology, name))
    with watched(session, lab.topology, f"Uninstalling {name}") as listener:
        done = take_out(lab, name, listener=listener)
    report_changes(session, lab.name, done, nothing=f"Nothing to do: {name} is not installed.")
    if done and left and not session.json:
        session.say(left)
