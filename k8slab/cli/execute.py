"""``k8slab exec`` and ``k8slab shell``: into a node, by its short name."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Annotated

import typer

from k8slab.cli import options
from k8slab.cli.session import Session, session_of

SHELL = ("bash", "-l")


def execute(
    context: typer.Context,
    node: options.NodeName,
    command: Annotated[
        list[str] | None, typer.Argument(metavar="-- CMD…", help="What to run there.", show_default=False)
    ] = None,
    lab_name: options.LabName = "",
) -> None:
    """Run a command on a node; its exit code is ours."""
    words = list(command or [])
    if words[:1] == ["--"]:
        words = words[1:]
    if not words:
        raise typer.BadParameter("There is no command. For example: k8slab exec etcd-0 -- ip address")
    raise typer.Exit(inside(session_of(context), lab_name, node, words))


def shell(context: typer.Context, node: options.NodeName, lab_name: options.LabName = "") -> None:
    """Open a shell on a node."""
    raise typer.Exit(inside(session_of(context), lab_name, node, SHELL))


def inside(session: Session, lab_name: str, node: str, command: Sequence[str]) -> int:
    """The exit code of ``command`` on ``node``, with this terminal or these pipes as its own."""
    from k8slab.errors import UnknownTarget
    from k8slab.topology.targets import node_names

    lab = session.lab(lab_name)
    if node not in node_names(lab.topology):
        raise UnknownTarget(node, node_names(lab.topology))
    return session.attached.attach(lab.topology.node(node).container, command, terminal=has_terminal())


def has_terminal() -> bool:
    return sys.stdin.isatty() and sys.stdout.isatty()
