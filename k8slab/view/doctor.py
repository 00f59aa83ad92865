"""Preconditions, each with how it stands and what to do."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from k8slab.snapshot import SCHEMA
from k8slab.view.look import BAD, GOOD, LOUD, MILD, PLAIN, Look
from k8slab.view.words import count


class CheckLike(Protocol):
    @property
    def name(self) -> str: ...
    @property
    def level(self) -> str: ...
    @property
    def text(self) -> str: ...
    @property
    def remedy(self) -> str: ...


def checks(found: Sequence[CheckLike], look: Look = PLAIN) -> RenderableType:
    symbols = look.symbols
    signs = {"ok": (symbols.ready, GOOD), "warn": (symbols.warning, MILD), "fail": (symbols.failed, BAD)}
    grid = Table.grid(padding=(0, 2, 0, 0))
    for _ in range(2):
        grid.add_column(no_wrap=True)
    grid.add_column()
    for check in found:
        grid.add_row(Text(*signs[check.level]), Text(check.name), Text(check.text))
        if check.remedy and check.level != "ok":
            grid.add_row("", "", Text(check.remedy, LOUD))
    return Group(grid, _verdict(found))


def _verdict(found: Sequence[CheckLike]) -> Text:
    failed = sum(check.level == "fail" for check in found)
    warned = sum(check.level == "warn" for check in found)
    if failed:
        return Text(f"{count(failed, 'check')} failed: a lab cannot run here yet.", BAD)
    if warned:
        return Text(f"A lab can run here; {count(warned, 'warning')}.", MILD)
    return Text("A lab can run here.", GOOD)


def checks_json(found: Sequence[CheckLike]) -> dict[str, Any]:
    listed = [{"name": check.name, "level": check.level, "text": check.text, "remedy": check.remedy} for check in found]
    return {"schema": SCHEMA, "ok": all(check.level != "fail" for check in found), "checks": listed}
