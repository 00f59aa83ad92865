"""Showing a lab at work: one table that fills up on a terminal, one line for each event in a pipe."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Lock
from typing import TYPE_CHECKING

from k8slab.cli.session import Session, is_live, look

if TYPE_CHECKING:
    from rich.console import RenderableType

    from k8slab.lab.apply import Event, Listener
    from k8slab.topology.resolved import Topology

FRAMES_PER_SECOND = 6


@contextmanager
def watched(session: Session, topology: Topology, title: str, *, whole: bool = False) -> Iterator[Listener]:
    """A listener for the lab. ``whole`` shows every node, otherwise those that something is done to."""
    if is_live(session.err):
        with _drawn(session, topology, title, whole) as listener:
            yield listener
    else:
        yield _lines(session)


def _lines(session: Session) -> Listener:
    from k8slab.view.live import event_line

    began = time.monotonic()
    symbols = look(session.err).symbols
    lock = Lock()

    def listen(event: Event) -> None:
        line = event_line(event, elapsed=time.monotonic() - began, symbols=symbols)
        if line:
            with lock:
                print(line, file=session.err.file, flush=True)

    return listen


@contextmanager
def _drawn(session: Session, topology: Topology, title: str, whole: bool) -> Iterator[Listener]:
    from rich.live import Live

    from k8slab.view.live import live, touched
    from k8slab.view.progress import Progress, advanced

    progress = Progress(began=time.monotonic())
    lock = Lock()

    def listen(event: Event) -> None:
        nonlocal progress
        with lock:
            progress = advanced(progress, event, at=time.monotonic())

    def frame() -> RenderableType:
        nodes = topology.nodes if whole else touched(progress, topology.nodes)
        return live(progress, nodes, look(session.err), title=title, now=time.monotonic())

    with Live(console=session.err, get_renderable=frame, refresh_per_second=FRAMES_PER_SECOND, transient=True) as drawn:
        try:
            yield listen
        except BaseException:
            # The last picture shows where it stopped; after success a better one follows.
            drawn.transient = False
            raise
