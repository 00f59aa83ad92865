"""A plan at work: the status table as it fills up, and the same as plain lines for a pipe."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Group, RenderableType
from rich.text import Text

from k8slab.topology.resolved import Daemon, Node
from k8slab.view.look import BAD, GOOD, LOUD, MILD, QUIET, Look, Symbols
from k8slab.view.progress import EventLike, Progress, StepLike, StepProgress, phases
from k8slab.view.table import Row, node_table
from k8slab.view.words import at_work, count, seconds

# Title, headings, phases, what runs now, and the line the cursor is left on.
LINES_AROUND = 6


def live(progress: Progress, nodes: Sequence[Node], look: Look, *, title: str, now: float) -> RenderableType:
    """``nodes`` are those to show, in order; they are taken to be well where the plan has nothing to do on them."""
    rows = [(_row(progress, node, look.symbols, now), _is_over(progress, node)) for node in nodes]
    shown, hidden = _fitting(rows, look.height - LINES_AROUND)
    head = Text.assemble((title, LOUD), (f"  {seconds(now - progress.began)}", QUIET))
    parts: list[RenderableType] = [head]
    if progress.planned:
        parts.append(node_table(shown, look, last="NOW"))
        if hidden:
            parts.append(Text(f"{look.symbols.more} and {count(hidden, 'node')} more", QUIET))
        parts += [Text(f"{look.symbols.failed} {told}", BAD) for told in _failures(progress)]
        parts.append(phase_line(progress, look.symbols, now))
    parts.append(now_line(progress, look, now))
    return Group(*parts)


def phase_line(progress: Progress, symbols: Symbols, now: float) -> Text:
    line = Text()
    for phase in phases(progress, now=now):
        whole = phase.done == phase.total
        style = BAD if phase.failed else GOOD if whole else MILD if phase.seconds else QUIET
        sign = (
            symbols.failed
            if phase.failed
            else symbols.ready
            if whole
            else symbols.up
            if phase.seconds
            else symbols.down
        )
        line.append("   " if line else "")
        line.append(f"{sign} {phase.name} {phase.done}/{phase.total}", style)
        line.append(f" {seconds(phase.seconds)}" if phase.seconds else "", QUIET)
    return line


def now_line(progress: Progress, look: Look, now: float) -> Text:
    """What is being done at this moment, cut to one line."""
    if not progress.planned:
        text = "looking at what is there" if not progress.notes else progress.notes[-1]
    elif progress.complete:
        text = progress.notes[-1] if progress.notes else "waiting until all agree that the lab is whole"
    else:
        text = ", ".join(f"{_at_work(one.step)} ({seconds(now - one.began)})" for one in progress.running)
    line = Text(f"{look.symbols.onwards} {text}", QUIET)
    # Room for the ^C that a terminal writes here itself: one line more, and the frame could not be drawn over.
    line.truncate(look.width - 4, overflow="ellipsis")
    return line


def event_line(event: EventLike, *, elapsed: float, symbols: Symbols) -> str:
    """An event as a line for a pipe; empty when it is not worth one."""
    clock = f"{elapsed:7.2f} s"
    match event.kind, event.step:
        case "plan", _:
            return f"{clock}  {count(len(event.steps), 'step')} to do" if event.steps else ""
        case "note", _:
            return f"{clock}  {event.text}"
        case "done", step if step is not None:
            reason = f" ({step.reason})" if step.reason else ""
            return f"{clock}  {symbols.ready} {step.did} {named(step.subject)}{reason}, {event.seconds:.2f} s"
        case "failed", step if step is not None:
            return f"{clock}  {symbols.failed} could not {step.doing} {named(step.subject)}: {event.text}"
    return ""


def named(subject: str) -> str:
    """``etcd-0/etcd`` as people say it."""
    node, slash, daemon = subject.partition("/")
    return f"{daemon} on {node}" if slash else subject


def touched(progress: Progress, nodes: Sequence[Node]) -> tuple[Node, ...]:
    """The nodes on which the plan has something to do."""
    subjects = {one.step.subject.partition("/")[0] for one in progress.steps.values()}
    return tuple(node for node in nodes if node.name in subjects)


def _row(progress: Progress, node: Node, symbols: Symbols, now: float) -> Row:
    machine = _steps(progress, node, "nodes")
    wires = _steps(progress, node, "wires")
    state = _cell(machine, "running")
    wire = _cell(wires, "wired")
    cells = tuple(_daemon_cell(progress, daemon, symbols) for daemon in node.daemons)
    busy = [one for one in progress.running if one.step.subject.partition("/")[0] == node.name]
    times = tuple(Text(_clock(node, one.step, now - one.began), MILD) for one in busy)
    settled = not machine or machine[-1].state == "done"
    return Row(
        node=node.name,
        role=node.role,
        address=str(node.address),
        state=state,
        wire=wire,
        condition=wire if settled and wires else state,
        daemons=cells,
        truth=times,
        told=(Text(" ").join(cells), *times),
    )


def _cell(steps: Sequence[StepProgress], otherwise: str) -> Text:
    """The word for where a node's machine or wire is: what is being done to it, or what was done last."""
    current = next((one for one in steps if one.state != "done"), steps[-1] if steps else None)
    if current is None:
        return Text(otherwise, GOOD)
    match current.state:
        case "waiting":
            return Text("waiting", QUIET)
        case "running":
            return Text(at_work(current.step.did), MILD)
        case "failed":
            return Text("failed", BAD)
    well = current.step.did not in ("stopped", "paused", "removed")
    return Text(otherwise if well else current.step.did, GOOD if well else MILD)


def _daemon_cell(progress: Progress, daemon: Daemon, symbols: Symbols) -> Text:
    steps = [one for one in progress.steps.values() if one.step.subject == daemon.target]
    current = steps[-1] if steps else None
    match current.state if current else "none":
        case "waiting":
            return Text(f"{symbols.down} {daemon.alias}", QUIET)
        case "running":
            return Text(f"{symbols.up} {daemon.alias}", MILD)
        case "failed":
            return Text(f"{symbols.failed} {daemon.alias} failed", BAD)
        case "done" if current and current.step.doing == "kill":
            return Text(f"{symbols.down} {daemon.alias} down", QUIET)
    return Text(f"{symbols.ready} {daemon.alias}", GOOD)


def _steps(progress: Progress, node: Node, phase: str) -> list[StepProgress]:
    return [one for one in progress.steps.values() if one.step.phase == phase and one.step.subject == node.name]


def _is_over(progress: Progress, node: Node) -> bool:
    mine = [one for one in progress.steps.values() if one.step.subject.partition("/")[0] == node.name]
    return all(one.state == "done" for one in mine)


def _fitting(rows: Sequence[tuple[Row, bool]], height: int) -> tuple[list[Row], int]:
    """As many rows as ``height`` has lines for: those at work first, then the others in order."""
    if len(rows) <= height:
        return [row for row, _ in rows], 0
    room = max(1, height - 1)
    by_need = sorted(range(len(rows)), key=lambda index: (rows[index][1], index))
    chosen = sorted(by_need[:room])
    return [rows[index][0] for index in chosen], len(rows) - room


def _at_work(step: StepLike) -> str:
    return f"{at_work(step.did)} {named(step.subject)}"


def _clock(node: Node, step: StepLike, passed: float) -> str:
    """How long a step has been at work, in its node's own row; what it does stands in the row already."""
    alias = next((daemon.alias for daemon in node.daemons if daemon.target == step.subject), "")
    return f"{alias} {seconds(passed)}".strip()


def _failures(progress: Progress) -> list[str]:
    return [f"could not {one.step.doing} {named(one.step.subject)}: {one.text}" for one in progress.failed]
