"""The switch's published picture: ``wires.json``, replaced whole at every change so that no reader sees half of it.

The same line goes to stdout: its last line is what the host asks the engine for many times a second while it waits for
wires, at a tenth of what reading a file out of a container costs. The file serves where that line is not whole.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

SCHEMA = 1


@dataclass(frozen=True)
class NodeState:
    """``wired`` is true once a packet from ``verified_from`` (a node, or "host" for a lone node) was answered;
    ``milliseconds`` is what making the wire took."""

    container: str
    pid: int
    address: str
    mac: str
    wired: bool = False
    verified_from: str = ""
    problem: str = ""
    milliseconds: float = 0.0


@dataclass(frozen=True)
class BridgeState:
    name: str = ""
    address: str = ""
    own: bool = False
    group: int = 0


@dataclass(frozen=True)
class State:
    """``pid`` is the switch's own, for whoever asks it to look anew.

    ``ready`` is true after the first scan's nodes have all been wired or found wanting; ``error`` holds what concerns
    the lab as a whole (bridge, firewall), ``warning`` what does not stop it from working.
    """

    pid: int = 0
    ready: bool = False
    error: str = ""
    warning: str = ""
    bridge: BridgeState = field(default_factory=BridgeState)
    nodes: dict[str, NodeState] = field(default_factory=dict)

    def as_json(self) -> dict[str, Any]:
        return {"schema": SCHEMA, **asdict(self)}


def publish(state: State, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_suffix(".new")
    line = json.dumps(state.as_json(), separators=(",", ":"))
    draft.write_text(line + "\n")
    draft.replace(path)
    print(line, flush=True)
