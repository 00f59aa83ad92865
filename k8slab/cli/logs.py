"""``k8slab logs``: what a daemon has written."""

from __future__ import annotations

import sys
from contextlib import closing
from typing import TYPE_CHECKING, Annotated, cast

import typer

from k8slab.cli import completion, options
from k8slab.cli.session import session_of

if TYPE_CHECKING:
    from collections.abc import Generator


def logs(
    context: typer.Context,
    target: Annotated[
        str,
        typer.Argument(
            metavar="TARGET",
            help="node/daemon, a node, or an alias that only one node has.",
            autocompletion=completion.targets,
            show_default=False,
        ),
    ],
    lab_name: options.LabName = "",
    follow: Annotated[bool, typer.Option("-f", "--follow", help="Go on as more is written, until Ctrl-C.")] = False,
    lines: Annotated[int, typer.Option("-n", "--lines", min=0, help="How many of the last lines.")] = 100,
) -> None:
    """Print the log of a daemon."""
    from k8slab.cli.shorthand import spelled_out

    session = session_of(context)
    lab = session.lab(lab_name)
    (word,) = spelled_out(lab.topology, [target])
    container, command = lab.log_command(word, follow=follow, lines=lines)
    output = cast("Generator[bytes, None, None]", session.attached.follow(container, command))
    with closing(output):
        for chunk in output:
            sys.stdout.buffer.write(chunk)
            sys.stdout.buffer.flush()
