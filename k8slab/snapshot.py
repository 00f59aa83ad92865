"""The frozen picture of a lab: made by ``lab``, drawn by ``view``, printed by ``status -o json``.

The JSON form carries ``schema`` so that scripts can tell when a field changes its meaning.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, is_dataclass
from typing import Any, Literal

SCHEMA = 1

NodeState = Literal["running", "stopped", "missing", "paused"]
DaemonState = Literal["ready", "up", "down", "failed"]


@dataclass(frozen=True)
class DaemonStatus:
    """One supervised process. ``since`` is the epoch second of its last change, None when it never started."""

    name: str
    alias: str
    state: DaemonState
    pid: int | None = None
    since: float | None = None
    restarts: int = 0
    truth: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class NodeStatus:
    """One machine of the lab. ``address`` has no prefix length. ``problem`` says why it is not as it should be."""

    name: str
    role: str
    address: str
    mac: str
    state: NodeState
    wired: bool
    daemons: tuple[DaemonStatus, ...] = ()
    problem: str = ""


@dataclass(frozen=True)
class Requirement:
    """One role truth the whole lab must show to be ready, such as "3 etcd members with one leader"."""

    name: str
    holds: bool
    seen: str


@dataclass(frozen=True)
class Snapshot:
    lab: str
    topology: str
    ready: bool
    nodes: tuple[NodeStatus, ...]
    requirements: tuple[Requirement, ...] = ()


@dataclass(frozen=True)
class Phase:
    """Elapsed seconds from the first to the last moment of a phase; phases may overlap."""

    name: str
    seconds: float


@dataclass(frozen=True)
class Timings:
    phases: tuple[Phase, ...]
    total: float


@dataclass(frozen=True)
class Change:
    """One thing a command did: verb ("created", "wired", "started"), what it was done to, and why."""

    verb: str
    subject: str
    reason: str = ""
    seconds: float = field(default=0.0, compare=False)


def as_json(
    snapshot: Snapshot, timings: Timings | None = None, changes: tuple[Change, ...] | None = None
) -> dict[str, Any]:
    """The documented JSON form: ``{"schema", "lab", "topology", "ready", "nodes", "requirements"}`` and, for ``run``,
    ``"timings"`` and ``"changes"``."""
    form: dict[str, Any] = {"schema": SCHEMA, **plain(snapshot)}
    if timings is not None:
        form["timings"] = plain(timings)
    if changes is not None:
        form["changes"] = [plain(change) for change in changes]
    return form


def plain(value: Any) -> Any:
    """A frozen record as JSON knows it: objects, arrays and scalars."""
    if is_dataclass(value):
        return {item.name: plain(getattr(value, item.name)) for item in fields(value)}
    if isinstance(value, Mapping):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, tuple | list | frozenset | set):
        return [plain(item) for item in value]
    return value
