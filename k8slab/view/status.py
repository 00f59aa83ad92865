"""The status of a lab: one row per node, and below it what makes the whole lab ready."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from k8slab.snapshot import DaemonStatus, NodeStatus, Snapshot
from k8slab.view.look import (
    BAD,
    DAEMON_STYLES,
    GOOD,
    LOUD,
    MILD,
    NODE_STYLES,
    PLAIN,
    QUIET,
    Look,
    Symbols,
    daemon_symbol,
)
from k8slab.view.table import GAP, Row, node_table
from k8slab.view.truth import truth, truths
from k8slab.view.words import count


def status(snapshot: Snapshot, look: Look = PLAIN) -> RenderableType:
    shared = shared_problem(snapshot.nodes)
    rows = [node_row(node, look.symbols, known=shared) for node in snapshot.nodes]
    return Group(title(snapshot, look), node_table(rows, look), footer(snapshot, look))


def shared_problem(nodes: Sequence[NodeStatus]) -> str:
    """What troubles all nodes alike: said once, below, it leaves the rows readable."""
    problems = [node.problem for node in nodes if node.state != "missing"]
    return problems[0] if len(problems) > 1 and len(set(problems)) == 1 else ""


def title(snapshot: Snapshot, look: Look, *, note: str = "") -> Text:
    """One line: the lab, the verdict, and how much of it is as it should be; in fewer words where they do not fit."""
    for brief in (False, True):
        line = _title(snapshot, look.symbols, note, brief)
        if line.cell_len <= look.width:
            return line
    line.truncate(look.width, overflow="ellipsis")
    return line


def _title(snapshot: Snapshot, symbols: Symbols, note: str, brief: bool) -> Text:
    daemons = [daemon for node in snapshot.nodes for daemon in node.daemons]
    running = sum(node.state == "running" for node in snapshot.nodes)
    wired = sum(node.wired for node in snapshot.nodes)
    ready = sum(daemon.state == "ready" for daemon in daemons)
    well, word = (running, "running") if wired >= running else (wired, "wired")
    line = Text()
    line.append(snapshot.lab, LOUD)
    if snapshot.topology != snapshot.lab and not brief:
        line.append(f" ({snapshot.topology})", QUIET)
    line.append("  ")
    line.append(*((f"{symbols.ready} ready", GOOD) if snapshot.ready else (f"{symbols.failed} not ready", BAD)))
    line.append("  ")
    line.append(_of(well, len(snapshot.nodes), "node", word, brief))
    line.append(symbols.between)
    line.append(_of(ready, len(daemons), "daemon", "ready", brief))
    return line.append(f"  {note}", QUIET) if note else line


def node_row(node: NodeStatus, symbols: Symbols, *, known: str = "") -> Row:
    """``known`` is a problem that is told elsewhere."""
    problem = [] if node.problem in ("", known) else [Text(node.problem, MILD)]
    state = Text(node.state, NODE_STYLES[node.state])
    cells = tuple(daemon_cell(daemon, symbols) for daemon in node.daemons)
    said = [truth(daemon) if node.state == "running" else None for daemon in node.daemons]
    told = [Text.assemble(cell, " ", one) if one else cell for cell, one in zip(cells, said, strict=True)]
    plugged = node.state in ("running", "paused")
    wire = Text(
        "wired" if node.wired else "unwired" if plugged else "-", GOOD if node.wired else BAD if plugged else QUIET
    )
    return Row(
        node=node.name,
        role=node.role,
        address=node.address,
        state=state,
        wire=wire,
        condition=wire if plugged and not node.wired else state,
        daemons=cells,
        truth=(*problem, *truths(node)),
        told=(*problem, *told),
    )


def daemon_cell(daemon: DaemonStatus, symbols: Symbols) -> Text:
    """Sign and alias; the state in words too as soon as it is not the wished one."""
    words = daemon.alias if daemon.state == "ready" else f"{daemon.alias} {daemon.state}"
    cell = Text(f"{daemon_symbol(daemon.state, symbols)} {words}", DAEMON_STYLES[daemon.state])
    return cell.append(f" {symbols.again}{daemon.restarts}", MILD) if daemon.restarts else cell


def footer(snapshot: Snapshot, look: Look) -> RenderableType:
    """What does not hold, a line each, with what is seen instead; then what holds, side by side."""
    good, bad = look.symbols.ready, look.symbols.failed
    shared = shared_problem(snapshot.nodes)
    lines = [Text(f"{bad} {shared}", BAD)] if shared else []
    lines += [
        Text.assemble((f"{bad} {one.name}", BAD), f": {one.seen}") for one in snapshot.requirements if not one.holds
    ]
    met = [Text.assemble((good, GOOD), f" {one.name}") for one in snapshot.requirements if one.holds]
    return Group(*lines, *([side_by_side(met, look)] if met else []))


def side_by_side(texts: Sequence[Text], look: Look) -> RenderableType:
    widest = max(text.cell_len for text in texts)
    columns = max(1, min(len(texts), (look.width + GAP) // (widest + GAP))) if look.live else 1
    grid = Table.grid(padding=(0, GAP, 0, 0))
    for _ in range(columns):
        grid.add_column(no_wrap=True)
    lines = -(-len(texts) // columns)
    for line in range(lines):
        grid.add_row(*texts[line::lines])
    return grid


def _of(some: int, all_of_them: int, what: str, state: str, brief: bool) -> str:
    if some == all_of_them:
        return count(some, what)
    return f"{some}/{count(all_of_them, what)}" if brief else f"{some} of {count(all_of_them, what)} {state}"
