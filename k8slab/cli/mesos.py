"""``k8slab mesos``: the lab's Mesos cluster, as its masters tell of it, and commands run on it."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Annotated

import typer

from k8slab.cli import options
from k8slab.cli.boundary import Part
from k8slab.cli.session import look, session_of

if TYPE_CHECKING:
    from k8slab.cli.mesos_cluster import Known
    from k8slab.view.mesos_cluster import Kind

# Options before the verb hold for it too, unless it has its own.
WHERE = "k8slab.mesos.where"

app = typer.Typer(cls=Part, help="The Mesos cluster: masters, agents, frameworks, tasks, offers.")

Masters = Annotated[
    str,
    typer.Option(
        "--masters",
        metavar="HOST:PORT,…",
        help="Another cluster than the lab's, by its masters' addresses.",
        show_default=False,
    ),
]


@app.callback(invoke_without_command=True)
def overview(
    context: typer.Context,
    lab_name: options.LabName = "",
    masters: Masters = "",
    output: options.Output = options.Form.table,
) -> None:
    """Show the Mesos cluster; run commands on it."""
    if context.invoked_subcommand is not None:
        context.meta[WHERE] = (lab_name, masters)
        return
    from k8slab.cli.mesos_cluster import cluster, known_masters
    from k8slab.view.mesos import KINDS, as_json
    from k8slab.view.mesos import overview as drawn

    session = session_of(context)
    found = cluster(known_masters(session, lab_name, masters))
    if session.json:
        session.answer_json(as_json(found, KINDS))
    else:
        session.answer(drawn(found, look(session.out), now=time.time()))


def _masters(context: typer.Context, lab_name: str, masters: str) -> list[Known]:
    from k8slab.cli.mesos_cluster import known_masters

    outer_lab, outer_masters = context.meta.get(WHERE, ("", ""))
    # A lab that the environment names is the same in both places: it was not asked for after the verb.
    if not masters and lab_name in ("", outer_lab):
        masters = outer_masters
    return known_masters(session_of(context), lab_name or outer_lab, masters)


def _table(kind: Kind, help: str) -> None:
    def show(
        context: typer.Context,
        lab_name: options.LabName = "",
        masters: Masters = "",
        output: options.Output = options.Form.table,
    ) -> None:
        from k8slab.cli.mesos_cluster import cluster
        from k8slab.view.mesos import as_json, shown

        session = session_of(context)
        found = cluster(_masters(context, lab_name, masters), leader_needed=kind != "masters")
        if session.json:
            session.answer_json(as_json(found, [kind]))
        else:
            session.answer(shown(found, kind, look(session.out), now=time.time()))

    app.command(kind, help=help)(show)


_table("masters", "Show the masters, and which of them leads.")
_table("agents", "Show the agents and what of them is in use.")
_table("frameworks", "Show the frameworks, each with its dominant share of the cluster.")
_table("tasks", "Show the tasks, those that ended last.")
_table("offers", "Show what is on offer to whom.")


@app.command("execute", context_settings={"allow_interspersed_args": False})
def execute(
    context: typer.Context,
    command: Annotated[
        list[str], typer.Argument(metavar="COMMAND…", help="One shell line, or a program and its words.")
    ],
    cpus: Annotated[float, typer.Option("--cpus", min=0.01, max=1e6, help="How much of a processor.")] = 0.1,
    mem: Annotated[float, typer.Option("--mem", min=1, max=1e9, help="Megabytes.")] = 32,
    name: Annotated[str, typer.Option("--name", help="What to call it.")] = "execute",
    docker_image: Annotated[
        str, typer.Option("--docker-image", metavar="IMAGE", help="Run in a container of it.", show_default=False)
    ] = "",
    role: Annotated[str, typer.Option("--role", help="The role to be offered resources in.")] = "*",
    lab_name: options.LabName = "",
    masters: Masters = "",
) -> None:
    """Run a command as a task to its end, with its output here; 0 only when it finished. Ctrl-C kills it."""
    from k8slab.cli.mesos_run import run, task_command

    session = session_of(context)
    wanted = task_command(command, name=name, cpus=cpus, mem=mem, role=role, docker_image=docker_image)
    raise typer.Exit(run(session, _masters(context, lab_name, masters), wanted))


@app.command("logs")
def logs(
    context: typer.Context,
    task: Annotated[str, typer.Argument(metavar="TASK", help="A task's id, its beginning, or a task's name.")],
    follow: Annotated[bool, typer.Option("-f", "--follow", help="Go on until the task has ended.")] = False,
    stderr: Annotated[bool, typer.Option("--stderr", help="What it wrote to stderr instead.")] = False,
    lab_name: options.LabName = "",
    masters: Masters = "",
) -> None:
    """Print what a task has written to its sandbox."""
    from k8slab.cli.mesos_run import print_log

    print_log(_masters(context, lab_name, masters), task, "stderr" if stderr else "stdout", follow=follow)
