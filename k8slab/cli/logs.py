"""``k8slab logs``: what a daemon has written."""

from __future__ import annotations

import sys
from contextlib import closing
from typing import TYPE_CHECKING, Annotated

import typer

from k8slab.cli import completion, options
from k8slab.cli.session import session_of

if TYPE_CHECKING:
    from collections.abc import Generator

# tail says 1 for whatever goes wrong; that there is no file yet is nothing wrong.
NO_FILE = 66
UNLESS_NO_FILE = f'for word; do case $word in /*) [ -e "$word" ] && exec "$@";; esac; done; exit {NO_FILE}'


def logs(
    context: typer.Context,
    target: Annotated[
        str,
        typer.Argument(
            metavar="TARGET",
            help="node/daemon, a node, or an alias that only one node has.",
            autocompletion=completion.logs,
            show_default=False,
        ),
    ],
    lab_name: options.LabName = "",
    follow: Annotated[bool, typer.Option("-f", "--follow", help="Go on as more is written, until Ctrl-C.")] = False,
    lines: Annotated[int, typer.Option("-n", "--lines", min=0, help="How many of the last lines.")] = 100,
) -> None:
    """Print the log of a daemon, or of what the framework runs on a minion (its executor, its proxy)."""
    from k8slab.cli.machines import machine
    from k8slab.cli.shorthand import spelled_out
    from k8slab.topology import targets

    session = session_of(context)
    lab = session.lab(lab_name)
    (word,) = spelled_out(lab.topology, [target])
    _, command = lab.log_command(word, follow=follow, lines=lines)
    node = targets.logs(lab.topology, word)[0][0]
    found = machine(session, lab, node)
    if found.state == "running":
        wrapped = command if follow else ("sh", "-c", UNLESS_NO_FILE, "logs", *command)
        code, written = _printed(session.attached.follow(found.id, wrapped))
    else:
        text = lab.read_log(word, lines=lines) if lines else ""
        sys.stdout.write(text)
        code, written = 0, bool(text)
        if follow:
            session.say(f"{node} is {found.state}: nothing more is written there now.")
    if lines and not written and code in (0, NO_FILE):
        session.say(f"There is no log of {word} yet: nothing has been written.")
        code = 0
    raise typer.Exit(0 if code == NO_FILE else code)


def _printed(output: Generator[bytes, None, int]) -> tuple[int, bool]:
    """The exit code of what writes ``output``, and whether it has written anything."""
    written = False
    with closing(output):
        while True:
            try:
                chunk = next(output)
            except StopIteration as end:
                return int(end.value), written
            written = True
            sys.stdout.buffer.write(chunk)
            sys.stdout.buffer.flush()
