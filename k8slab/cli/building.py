"""Showing images as they are built: a bar for each on a terminal, a line for each step in a pipe."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from k8slab.cli.session import Session, is_live, look

if TYPE_CHECKING:
    from rich.console import RenderableType

    from k8slab.lab.images import BuildEvent
    from k8slab.lab.images.events import Listener

FRAMES_PER_SECOND = 6


@contextmanager
def watched(session: Session) -> Iterator[Listener]:
    """A listener for the build, which is called by one thread at a time."""
    if is_live(session.err):
        with _drawn(session) as listener:
            yield listener
    else:
        yield _lines(session)


def _lines(session: Session) -> Listener:
    from k8slab.view.build import Builds, advanced, news

    builds = Builds()
    symbols = look(session.err).symbols

    def listen(event: BuildEvent) -> None:
        nonlocal builds
        line = news(builds, event, symbols)
        builds = advanced(builds, event, at=time.monotonic())
        if line:
            print(line, file=session.err.file, flush=True)

    return listen


@contextmanager
def _drawn(session: Session) -> Iterator[Listener]:
    from rich.live import Live

    from k8slab.view.build import Builds, advanced, bars

    builds = Builds()

    def listen(event: BuildEvent) -> None:
        nonlocal builds
        builds = advanced(builds, event, at=time.monotonic())

    def frame() -> RenderableType:
        return bars(builds, look(session.err), now=time.monotonic())

    with Live(console=session.err, get_renderable=frame, refresh_per_second=FRAMES_PER_SECOND, transient=True):
        yield listen
