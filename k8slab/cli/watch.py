"""``status --watch``: the same table each second, whatever comes and goes meanwhile."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from dataclasses import replace
from threading import Event

from k8slab.cli.session import Session, is_live, look
from k8slab.errors import LabError, NoSuchLab
from k8slab.snapshot import Snapshot, as_json
from k8slab.view.watch import frame

EVERY = 1.0


def watch(session: Session, lab: str, *, form: str) -> None:
    """Until Ctrl-C, which is how one ends it: nothing is wrong then."""
    watcher = Watcher(session, lab)
    watcher.look()
    if watcher.snapshot is None and watcher.trouble is not None:
        raise watcher.trouble
    try:
        if is_live(session.out) and form != "json":
            _drawn(session, watcher, form)
        else:
            _printed(session, watcher, form)
    except KeyboardInterrupt:
        return


class Watcher:
    """The last snapshot that could be had, and what has kept the next from being had since ``trouble_since``."""

    def __init__(self, session: Session, lab: str) -> None:
        self.session, self.lab = session, lab
        self.snapshot: Snapshot | None = None
        self.trouble: LabError | None = None
        self.trouble_since = 0.0

    def look(self) -> None:
        """Opens the lab afresh each time: it may have been removed, or brought up with another topology."""
        try:
            found = self.session.lab(self.lab)
            self.snapshot, self.trouble = found.snapshot(), None
            self.lab = found.name
        except LabError as error:
            if self.trouble is None:
                self.trouble_since = time.time()
            self.trouble = error
            if isinstance(error, NoSuchLab):
                self.snapshot = None


def _drawn(session: Session, watcher: Watcher, form: str) -> None:
    from rich.live import Live

    with Live(console=session.out, auto_refresh=False, vertical_overflow="crop") as live:
        before = session.out.size
        for beat, _ in enumerate(_ticks()):
            if beat:
                watcher.look()
            here = look(session.out)
            now = time.time()
            if session.out.size != before:
                # The terminal has broken the old frame's lines anew; what is left of them cannot be drawn over.
                session.out.clear()
                before = session.out.size
            picture = frame(
                watcher.snapshot, watcher.trouble, here, now=now, since=watcher.trouble_since, wide=form == "wide"
            )
            live.update(picture, refresh=True)


def _printed(session: Session, watcher: Watcher, form: str) -> None:
    """In a pipe a picture follows only when it says something new; as JSON each is one line."""
    before: object = None
    for beat, _ in enumerate(_ticks()):
        if beat:
            watcher.look()
        now: object = (essence(watcher.snapshot), watcher.trouble and watcher.trouble.what)
        if now != before:
            if form == "json":
                told = watcher.trouble.as_json() if watcher.trouble else watcher.snapshot and as_json(watcher.snapshot)
                print(json.dumps(told), flush=True)
            else:
                since = watcher.trouble_since
                picture = frame(
                    watcher.snapshot,
                    watcher.trouble,
                    look(session.out),
                    now=time.time(),
                    since=since,
                    wide=form == "wide",
                )
                session.answer(picture)
            before = now


def essence(snapshot: Snapshot | None) -> Snapshot | None:
    """The snapshot without its moments, which are whole seconds and move by one from look to look."""
    if snapshot is None:
        return None
    nodes = [
        replace(node, daemons=tuple(replace(daemon, since=None) for daemon in node.daemons)) for node in snapshot.nodes
    ]
    return replace(snapshot, nodes=tuple(nodes))


def _ticks() -> Iterator[None]:
    """A beat each second; late ones are not made up for."""
    due = time.monotonic()
    while True:
        Event().wait(max(0.0, due - time.monotonic()))
        yield
        due = max(due + EVERY, time.monotonic())
