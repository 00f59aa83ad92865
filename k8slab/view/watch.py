"""One frame of a status that is looked at again and again."""

from __future__ import annotations

import time

from rich.console import Group, RenderableType
from rich.text import Text

from k8slab.errors import LabError
from k8slab.snapshot import NodeStatus, Snapshot
from k8slab.view import status
from k8slab.view.look import BAD, QUIET, Look
from k8slab.view.table import node_table
from k8slab.view.wide import wide as full
from k8slab.view.words import count, seconds

# The cursor needs a line of its own below the frame.
SPARE_LINES = 1


def frame(
    snapshot: Snapshot | None, trouble: LabError | None, look: Look, *, now: float, since: float, wide: bool = False
) -> RenderableType:
    """The last picture there is, fitted into the terminal's height, and the trouble that keeps it from being newer."""
    parts: list[RenderableType] = []
    if trouble is not None:
        words = f"{look.symbols.failed} {trouble.what} {trouble.why} (for {seconds(max(0.0, now - since))})"
        line = Text(words, BAD)
        line.truncate(look.width, overflow="ellipsis")
        parts.append(line)
    if snapshot is not None:
        parts.insert(0, _picture(snapshot, look, now, len(parts), wide))
    return Group(*parts)


def _picture(snapshot: Snapshot, look: Look, now: float, taken: int, wide: bool) -> RenderableType:
    if wide:
        return full(snapshot, look, now=now)
    clock = time.strftime("%H:%M:%S", time.localtime(now))
    head = status.title(snapshot, look, note=clock)
    foot = status.footer(snapshot, look)
    shared = status.shared_problem(snapshot.nodes)
    rows = {node.name: status.node_row(node, look.symbols, known=shared) for node in snapshot.nodes}
    lines_of_foot = len(snapshot.requirements) + bool(shared)
    room = look.height - lines_of_foot - taken - 2 - SPARE_LINES
    shown = list(snapshot.nodes)
    if len(shown) > max(room, 3):
        chosen = sorted(range(len(shown)), key=lambda index: (_is_well(shown[index]), index))[: max(room - 1, 2)]
        shown = [shown[index] for index in sorted(chosen)]
    parts: list[RenderableType] = [head, node_table([rows[node.name] for node in shown], look)]
    hidden = len(snapshot.nodes) - len(shown)
    if hidden:
        parts.append(Text(f"{look.symbols.more} and {count(hidden, 'node')} more", QUIET))
    return Group(*parts, foot)


def _is_well(node: NodeStatus) -> bool:
    return node.state == "running" and node.wired and all(daemon.state == "ready" for daemon in node.daemons)
