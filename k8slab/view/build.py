"""Images being built: a bar for each, folded from what the build tells."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Protocol

from rich.console import Group, RenderableType
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from k8slab.snapshot import SCHEMA, plain
from k8slab.view.look import BAD, GOOD, LOUD, MILD, PLAIN, QUIET, Look, Symbols
from k8slab.view.table import plain_table
from k8slab.view.words import seconds, size

BAR_WIDTH = 16


class BuildEventLike(Protocol):
    @property
    def image(self) -> str: ...
    @property
    def step(self) -> int: ...
    @property
    def steps(self) -> int: ...
    @property
    def text(self) -> str: ...
    @property
    def fraction(self) -> float | None: ...
    @property
    def seconds(self) -> float: ...
    @property
    def state(self) -> str: ...


class BuiltLike(Protocol):
    @property
    def image(self) -> str: ...
    @property
    def size(self) -> int: ...
    @property
    def seconds(self) -> float: ...
    @property
    def state(self) -> str: ...
    @property
    def origin(self) -> str: ...


@dataclass(frozen=True)
class ImageProgress:
    """The last that was heard of an image, and at which moment."""

    event: BuildEventLike
    at: float

    @property
    def share(self) -> float:
        """How much of the image is done, 0–1: whole steps and the part of the one at work."""
        event = self.event
        if event.state in ("built", "current"):
            return 1.0
        return max(0.0, min(1.0, (event.step - 1 + (event.fraction or 0.0)) / event.steps)) if event.step else 0.0


@dataclass(frozen=True)
class Builds:
    images: Mapping[str, ImageProgress] = field(default_factory=lambda: MappingProxyType({}))


def advanced(builds: Builds, event: BuildEventLike, *, at: float) -> Builds:
    return Builds(MappingProxyType({**builds.images, event.image: ImageProgress(event, at)}))


def bars(builds: Builds, look: Look, *, now: float) -> RenderableType:
    grid = Table.grid(padding=(0, 2, 0, 0))
    for _ in range(3):
        grid.add_column(no_wrap=True)
    grid.add_column(no_wrap=True, overflow="ellipsis", ratio=1)
    grid.add_column(no_wrap=True, justify="right", style=QUIET)
    grid.expand = True
    for name, one in builds.images.items():
        event = one.event
        bar = ProgressBar(
            total=1.0, completed=one.share, width=BAR_WIDTH, style=QUIET, complete_style=MILD, finished_style=GOOD
        )
        running = event.state == "building"
        passed = event.seconds + (now - one.at if running else 0.0)
        step = f"{event.step}/{event.steps} " if running else ""
        told = Text(f"{step}{event.text}", BAD if event.state == "failed" else "")
        grid.add_row(
            _sign(event.state, look.symbols), Text(name), bar, told, "" if event.state == "waiting" else seconds(passed)
        )
    return Group(Text("Building images", LOUD), grid)


def news(builds: Builds, event: BuildEventLike, symbols: Symbols) -> str:
    """A line for a pipe when a step begins or an image ends; empty for what only moves a bar."""
    before = builds.images.get(event.image)
    if event.state == "waiting":
        return ""
    if event.state == "building":
        if before and before.event.state == "building" and before.event.step == event.step:
            return ""
        return f"{event.image}: {event.step}/{event.steps} {event.text}"
    return f"{event.image}: {_sign(event.state, symbols).plain} {event.text}, {event.seconds:.1f} s"


def built(images: Sequence[BuiltLike], look: Look = PLAIN) -> RenderableType:
    table = plain_table("IMAGE", "STATE", "SIZE", "TOOK", right=("SIZE", "TOOK"))
    for one in images:
        state = Text(f"{look.symbols.ready} {one.state}", GOOD if one.state == "built" else QUIET)
        table.add_row(Text(one.image), state, size(one.size), seconds(one.seconds) if one.state == "built" else "-")
    origin = next((one.origin for one in images if one.origin), "")
    return Group(table, Text(f"The root of the images: {origin}.", QUIET)) if origin else table


def built_json(images: Sequence[BuiltLike]) -> dict[str, Any]:
    return {"schema": SCHEMA, "images": [plain(one) for one in images]}


def _sign(state: str, symbols: Symbols) -> Text:
    match state:
        case "built" | "current":
            return Text(symbols.ready, GOOD)
        case "failed":
            return Text(symbols.failed, BAD)
        case "building":
            return Text(symbols.up, MILD)
    return Text(symbols.down, QUIET)
