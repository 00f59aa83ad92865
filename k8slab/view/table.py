"""One row per node, in as many columns as the paper has room for."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from rich.console import JustifyMethod
from rich.table import Table
from rich.text import Text

from k8slab.view.look import QUIET, Look

GAP = 2
# A column that wraps its parts needs at least this much to stay readable.
LEAST_WRAPPED = 32


@dataclass(frozen=True)
class Row:
    """A node as shown.

    ``condition`` says state and wire in one word, and ``told`` each daemon with its truth beside it, for paper that is
    too narrow for columns of their own.
    """

    node: str
    role: str
    address: str
    state: Text
    wire: Text
    condition: Text
    daemons: tuple[Text, ...]
    truth: tuple[Text, ...]
    told: tuple[Text, ...]


Cell = Callable[[Row], Text]
Column = tuple[str, Cell]
Layout = tuple[Column, ...]


def _daemons(row: Row) -> Text:
    return Text(" ").join(row.daemons)


NODE: Column = ("NODE", lambda row: Text(row.node))
ROLE: Column = ("ROLE", lambda row: Text(row.role))
ADDRESS: Column = ("ADDRESS", lambda row: Text(row.address))
STATE: Column = ("STATE", lambda row: row.state)
WIRE: Column = ("WIRE", lambda row: row.wire)
CONDITION: Column = ("STATE", lambda row: row.condition)
DAEMONS: Column = ("DAEMONS", _daemons)

# Layouts whose last column is the truth alone, and those in which it stands beside each daemon.
APART: tuple[Layout, ...] = (
    (NODE, ROLE, ADDRESS, STATE, WIRE, DAEMONS),
    (NODE, ADDRESS, STATE, WIRE, DAEMONS),
    (NODE, ADDRESS, CONDITION, DAEMONS),
)
TOGETHER: tuple[Layout, ...] = ((NODE, ADDRESS, CONDITION), (NODE, CONDITION), (NODE,))


def node_table(rows: Sequence[Row], look: Look, *, last: str = "TRUTH") -> Table:
    """The rows in the richest layout that fits; ``last`` heads the column of ``truth``."""
    between = look.symbols.between
    longest = max((len(between.join(part.plain for part in row.truth)) for row in rows), default=0)
    for layout in APART:
        if _width(layout, rows) + GAP + max(longest, len(last)) <= look.width:
            return _table(layout, rows, last if longest else "", lambda row: flowed(row.truth, look.width, between))
    layout = next((one for one in TOGETHER if _width(one, rows) + GAP + LEAST_WRAPPED <= look.width), TOGETHER[-1])
    room = look.width - _width(layout, rows) - GAP
    return _table(layout, rows, "DAEMONS", lambda row: flowed(row.told, room, "  "))


def _table(layout: Layout, rows: Sequence[Row], last: str, tell: Cell) -> Table:
    table = plain_table(*(heading for heading, _ in layout))
    table.add_column(last, overflow="fold")
    for row in rows:
        table.add_row(*(cell(row) for _, cell in layout), tell(row))
    return table


def plain_table(*headings: str, right: Sequence[str] = (), folded: Sequence[str] = ()) -> Table:
    """A table without lines: headings, then columns held apart by spaces, fit for grep and awk too.

    On paper too narrow for a row the columns ``folded`` go on in the next line, so that no other loses anything.
    """
    table = Table(box=None, padding=(0, GAP, 0, 0), pad_edge=False, header_style="bold", show_edge=False)
    for heading in headings:
        justify: JustifyMethod = "right" if heading in right else "left"
        table.add_column(heading, no_wrap=heading not in folded, overflow="fold", justify=justify)
    return table


def flowed(parts: Sequence[Text], width: int, between: str) -> Text:
    """The parts in a row, broken only between them as long as each fits in ``width``."""
    lines: list[Text] = []
    for part in parts:
        if lines and lines[-1].cell_len + len(between) + part.cell_len <= width:
            lines[-1] = Text.assemble(lines[-1], (between, QUIET), part)
        else:
            lines.append(part)
    return Text("\n").join(lines)


def _width(layout: Layout, rows: Sequence[Row]) -> int:
    widths = [max([len(heading), *(cell(row).cell_len for row in rows)]) for heading, cell in layout]
    return sum(widths) + GAP * (len(widths) - 1)
