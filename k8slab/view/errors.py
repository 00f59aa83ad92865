"""An error as a person meets it: what, why, what to do, and the output that tells more."""

from __future__ import annotations

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from k8slab.errors import LabError
from k8slab.view.look import BAD, LOUD, PLAIN, QUIET, Look


def error(failure: LabError, look: Look = PLAIN) -> RenderableType:
    grid = Table.grid(padding=(0, 1, 0, 0))
    grid.add_column(no_wrap=True)
    grid.add_column()
    grid.add_row(Text(look.symbols.failed, BAD), Text(failure.what, LOUD))
    for text in filter(None, [failure.why, failure.remedy]):
        grid.add_row("", Text(text))
    output = failure.output.rstrip()
    return Group(grid, Text(output, QUIET)) if output else grid
