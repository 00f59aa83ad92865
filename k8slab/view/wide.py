"""The status with a line for each daemon, and with what only wide paper has room for."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from rich.console import Group, RenderableType
from rich.text import Text

from k8slab.snapshot import DaemonStatus, NodeStatus, Snapshot
from k8slab.view.look import DAEMON_STYLES, MILD, PLAIN, Look, Symbols, daemon_symbol
from k8slab.view.status import footer, node_row, shared_problem, title
from k8slab.view.table import GAP, plain_table
from k8slab.view.truth import truth
from k8slab.view.words import age

HEADINGS = ("NODE", "ROLE", "ADDRESS", "MAC", "STATE", "WIRE", "DAEMON", "PID", "RESTARTS", "SINCE", "TRUTH")
RIGHT = ("PID", "RESTARTS", "SINCE")
# What a terminal that is too narrow does without, one after the other; the last column wraps only then.
DISPENSABLE = ("ROLE", "MAC", "PID", "WIRE")


def wide(snapshot: Snapshot, look: Look = PLAIN, *, now: float) -> RenderableType:
    """``now`` in epoch seconds, for how long ago each daemon last changed."""
    known = shared_problem(snapshot.nodes)
    lines = [line for node in snapshot.nodes for line in _lines(node, look.symbols, known, now)]
    headings = _fitting(lines, look.width)
    table = plain_table(*headings[:-1], right=RIGHT)
    table.add_column(headings[-1])
    for line in lines:
        table.add_row(*(line[heading] for heading in headings))
    return Group(title(snapshot, look), table, footer(snapshot, look))


def _lines(node: NodeStatus, symbols: Symbols, known: str, now: float) -> Iterator[dict[str, Text]]:
    row = node_row(node, symbols, known=known)
    problem = Text("" if node.problem == known else node.problem, MILD)
    empty = dict.fromkeys(HEADINGS, Text())
    first = empty | {
        "NODE": Text(node.name),
        "ROLE": Text(node.role),
        "ADDRESS": Text(node.address),
        "MAC": Text(node.mac),
        "STATE": row.state,
        "WIRE": row.wire,
        "TRUTH": problem,
    }
    if not node.daemons:
        yield first
    for index, daemon in enumerate(node.daemons):
        line = first if index == 0 else empty
        told = truth(daemon) if node.state == "running" else None
        said = Text(symbols.between).join(part for part in (line["TRUTH"], told) if part)
        yield line | _daemon(daemon, symbols, now) | {"TRUTH": said}


def _daemon(daemon: DaemonStatus, symbols: Symbols, now: float) -> dict[str, Text]:
    words = daemon.name if daemon.state == "ready" else f"{daemon.name} {daemon.state}"
    return {
        "DAEMON": Text(f"{daemon_symbol(daemon.state, symbols)} {words}", DAEMON_STYLES[daemon.state]),
        "PID": Text("-" if daemon.pid is None else str(daemon.pid)),
        "RESTARTS": Text(str(daemon.restarts)),
        "SINCE": Text("-" if daemon.since is None else age(now - daemon.since)),
    }


def _fitting(lines: Sequence[dict[str, Text]], width: int) -> list[str]:
    headings = list(HEADINGS)
    for name in DISPENSABLE:
        widths = [max(len(heading), *(line[heading].cell_len for line in lines)) for heading in headings]
        if sum(widths) + GAP * (len(widths) - 1) <= width:
            break
        headings.remove(name)
    return headings
