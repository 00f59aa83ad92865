"""``k8slab``, the command line: one file for each verb, which itself imports whatever is slow to import."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from types import FrameType
from typing import Annotated, Any

import typer

import k8slab
from k8slab.cli import (
    build,
    clients,
    doctor,
    env,
    execute,
    export,
    kill,
    logs,
    manual,
    mesos,
    node,
    package,
    rm,
    run,
    start,
    status,
    topology,
)
from k8slab.cli.boundary import Group
from k8slab.cli.options import CLIENTS, INSIDE, LAB, MACHINE, TOPOLOGIES
from k8slab.cli.session import session_of

TERMINATED = 128 + signal.SIGTERM

app = typer.Typer(
    name="k8slab",
    cls=Group,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"k8slab {k8slab.__version__}")
        raise typer.Exit


@app.callback()
def everything(
    context: typer.Context,
    verbose: Annotated[bool, typer.Option("-v", "--verbose", help="With an error, also its traceback.")] = False,
    version: Annotated[
        bool, typer.Option("--version", help="Print the version and end.", callback=_version, is_eager=True)
    ] = False,
) -> None:
    """A datacenter that fits in a laptop: etcd, ZooKeeper, Mesos and Kubernetes, each on a node you can kill."""
    session_of(context).verbose = verbose


def _add(panel: str, command: Callable[..., Any], name: str, short: str = "", **settings: Any) -> None:
    app.command(name, rich_help_panel=panel, **settings)(command)
    if short:
        app.command(short, hidden=True, **settings)(command)


_add(LAB, build.build, "build", "b")
_add(LAB, run.run, "run", "r")
_add(LAB, status.status, "status", "ps")
_add(LAB, start.start, "start", "s")
_add(LAB, kill.kill, "kill", "k")
_add(LAB, manual.manual, "manual", "m")
app.add_typer(node.app, name="node", rich_help_panel=LAB)
_add(LAB, rm.rm, "rm")
_add(INSIDE, execute.execute, "exec", cls=execute.Exec, context_settings={"allow_interspersed_args": False})
_add(INSIDE, execute.shell, "shell")
_add(INSIDE, logs.logs, "logs")
_add(INSIDE, export.export, "export")
_add(CLIENTS, clients.kubectl, "kubectl", context_settings=clients.CONTEXT)
_add(CLIENTS, clients.etcdctl, "etcdctl", context_settings=clients.CONTEXT)
app.add_typer(mesos.app, name="mesos", rich_help_panel=CLIENTS)
_add(CLIENTS, env.env, "env")
app.add_typer(topology.app, name="topology", rich_help_panel=TOPOLOGIES)
app.add_typer(package.app, name="package", rich_help_panel=TOPOLOGIES)
_add(MACHINE, doctor.doctor, "doctor")


@app.command("help", hidden=True)
@app.command("h", hidden=True)
def help_(context: typer.Context) -> None:
    """What this page says."""
    assert context.parent is not None
    typer.echo(context.parent.get_help())


def main() -> None:
    # Whoever ends us politely must find the terminal as it was: the cursor shown, the mode restored.
    signal.signal(signal.SIGTERM, _terminated)
    _open_streams()
    app()


def _open_streams() -> None:
    """Whoever starts us may have closed a stream; the next file or socket opened would take its number."""
    for number, name, mode in ((0, "stdin", "r"), (1, "stdout", "w"), (2, "stderr", "w")):
        if getattr(sys, name) is None:
            opened = os.open(os.devnull, os.O_RDWR)
            os.dup2(opened, number)
            if opened != number:
                os.close(opened)
            setattr(sys, name, os.fdopen(number, mode, encoding="utf-8", closefd=False))


def _terminated(number: int, frame: FrameType | None) -> None:
    sys.exit(TERMINATED)
