"""``k8slab exec`` and ``k8slab shell``: into a node, by its short name."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Annotated, Any

import typer
from typer.core import TyperCommand

from k8slab.cli import options
from k8slab.cli.session import Session, session_of

SHELL = ("bash", "-l")


class Exec(TyperCommand):
    """``[OPTIONS] NODE [OPTIONS] [--] CMD…``: once the command has begun, every word is its own."""

    def parse_args(self, ctx: Any, args: list[str]) -> Any:
        before, rest = self._split(ctx, args)
        rest = rest[1:] if rest[:1] == ["--"] else rest
        node, words = rest[:1], rest[1:]
        after, command = self._split(ctx, words)
        return super().parse_args(ctx, [*before, *after, *node, *command])

    def _split(self, ctx: Any, words: list[str]) -> tuple[list[str], list[str]]:
        """The options that ``words`` begin with, and all the rest."""
        valued = {name for one in self.get_params(ctx) if not getattr(one, "is_flag", True) for name in one.opts}
        end = 0
        while end < len(words) and words[end].startswith("-") and words[end] != "--":
            end += 2 if words[end] in valued else 1
        return words[:end], words[end:]


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
    from k8slab.cli.machines import running

    machine = running(session, session.lab(lab_name), node)
    return session.attached.attach(machine.id, command, terminal=has_terminal())


def has_terminal() -> bool:
    """Whoever starts us may have closed either stream; Python then has none."""
    return all(stream is not None and stream.isatty() for stream in (sys.stdin, sys.stdout))
