"""What one invocation of the command line carries: its streams, its wishes, and how it reaches the engine.

stdout is the answer, stderr is the talk. On a terminal both may be drawn over; in a pipe they are plain lines.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from functools import cached_property
from typing import TYPE_CHECKING, Any, TextIO

import typer

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

    from k8slab.lab.lab import Lab
    from k8slab.lab.runtime.base import Console as Attached
    from k8slab.lab.runtime.base import Runtime
    from k8slab.view.look import Look

NEXT_TO_NO_EDGE = 10_000


class Session:
    """``connect`` opens the engine; tests hand in another one. ``changing`` is the lab a command is at work on."""

    def __init__(self, connect: Callable[[], Runtime] | None = None) -> None:
        self._connect = connect
        self.verbose = False
        self.form = "table"
        self.changing = ""

    @property
    def json(self) -> bool:
        return self.form == "json"

    @cached_property
    def out(self) -> Console:
        return _console(sys.stdout)

    @cached_property
    def err(self) -> Console:
        return _console(sys.stderr)

    @cached_property
    def engine(self) -> Runtime:
        """The engine. Raises EngineUnreachable or EngineForbidden."""
        return self.connect()

    def connect(self) -> Runtime:
        if self._connect is not None:
            return self._connect()
        from k8slab.lab.lab import open_engine

        return open_engine()

    @cached_property
    def attached(self) -> Attached:
        """What connects this terminal with programs inside machines."""
        from k8slab.lab.runtime.engine import DockerRuntime, connect
        from k8slab.lab.runtime.terminal import DockerConsole

        return DockerConsole(self.engine if isinstance(self.engine, DockerRuntime) else DockerRuntime(connect()))

    def lab(self, name: str, *, changing: bool = False) -> Lab:
        """The lab called ``name``, or the one there is. ``changing``: what an interruption leaves needs a word."""
        from k8slab.lab.lab import open_lab

        lab = open_lab(self.engine, name)
        self.changing = lab.name if changing else ""
        return lab

    def answer(self, renderable: RenderableType) -> None:
        _print(self.out, sys.stdout, renderable)

    def answer_json(self, form: Any) -> None:
        print(json.dumps(form, indent=2), flush=True)

    def say(self, renderable: RenderableType) -> None:
        _print(self.err, sys.stderr, renderable)


def session_of(context: typer.Context) -> Session:
    found = context.obj
    assert isinstance(found, Session)
    return found


def is_live(console: Console) -> bool:
    """Whether it can be drawn over."""
    return console.is_terminal and not console.is_dumb_terminal


def look(console: Console) -> Look:
    from k8slab.view.look import ENDLESS, Look, symbols_for

    symbols = symbols_for(console.encoding)
    if not console.is_terminal:
        return Look(ENDLESS, ENDLESS, symbols, live=False)
    return Look(console.width, console.height, symbols, live=is_live(console))


def _console(stream: TextIO) -> Console:
    from rich.console import Console

    # What is printed comes from files, logs and engines too: a bracket in it is a bracket.
    console = Console(file=stream, highlight=False, markup=False, emoji=False)
    if not console.is_terminal:
        console.width = NEXT_TO_NO_EDGE
    return console


def _print(console: Console, stream: TextIO, renderable: RenderableType) -> None:
    """A terminal gets what rich draws; a pipe gets the same without the blanks that fill a table's cells."""
    if console.is_terminal:
        console.print(renderable)
        return
    with console.capture() as captured:
        console.print(renderable)
    stream.write("".join(f"{line.rstrip()}\n" for line in captured.get().splitlines()))
    stream.flush()
