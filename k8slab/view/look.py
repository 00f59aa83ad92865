"""How things may look on the paper at hand: its size, and the signs its encoding has."""

from __future__ import annotations

from dataclasses import dataclass

from k8slab.snapshot import DaemonState, NodeState


@dataclass(frozen=True)
class Symbols:
    """A sign for each state, so that no meaning hangs on colour alone."""

    ready: str
    up: str
    down: str
    failed: str
    warning: str
    between: str
    onwards: str
    range: str
    again: str
    more: str


UNICODE = Symbols(
    ready="✓", up="◐", down="○", failed="✗", warning="!", between=" · ", onwards="▸", range="…", again="↻", more="…"
)
ASCII = Symbols(
    ready="+", up="~", down="-", failed="x", warning="!", between=" | ", onwards=">", range="..", again="x", more="..."
)

# Wider than anything we print: a pipe has no edge to wrap at.
ENDLESS = 10_000


@dataclass(frozen=True)
class Look:
    """``width`` and ``height`` in cells. ``live`` is a terminal that can be drawn over; else the text is plain."""

    width: int = ENDLESS
    height: int = ENDLESS
    symbols: Symbols = UNICODE
    live: bool = False


PLAIN = Look()

DAEMON_STYLES: dict[DaemonState, str] = {"ready": "green", "up": "yellow", "down": "bright_black", "failed": "bold red"}
NODE_STYLES: dict[NodeState, str] = {
    "running": "green",
    "paused": "yellow",
    "stopped": "red",
    "missing": "bold red",
}
GOOD, BAD, MILD, QUIET, LOUD = "green", "bold red", "yellow", "bright_black", "bold"


def symbols_for(encoding: str | None) -> Symbols:
    """Those signs that ``encoding`` can write."""
    try:
        "".join(vars(UNICODE).values()).encode(encoding or "ascii")
    except (UnicodeEncodeError, LookupError):
        return ASCII
    return UNICODE


def daemon_symbol(state: DaemonState, symbols: Symbols) -> str:
    return {"ready": symbols.ready, "up": symbols.up, "down": symbols.down, "failed": symbols.failed}[state]
