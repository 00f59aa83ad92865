"""The command lines that start daemons by hand, each under the shell it is to be pasted into."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rich.console import Group, RenderableType
from rich.text import Text

from k8slab.snapshot import SCHEMA
from k8slab.topology.resolved import Daemon, Topology
from k8slab.view.look import PLAIN, QUIET, Look


def manual(found: Sequence[tuple[Daemon, str]], topology: Topology, look: Look = PLAIN) -> RenderableType:
    """Comments tell where each goes, so that all of it may be pasted or read as a script."""
    option = "" if topology.lab == topology.name else f" --lab {topology.lab}"
    parts: list[RenderableType] = []
    for index, (daemon, lines) in enumerate(found):
        heading = f"# {daemon.name} on {daemon.node}, in `k8slab shell{option} {daemon.node}`:"
        # Never wrapped: a broken line would no longer be what starts the daemon.
        parts += [Text("\n" * (index > 0) + heading, QUIET), Text(lines, no_wrap=True, overflow="ignore")]
    return Group(*parts)


def manual_json(lab: str, found: Sequence[tuple[Daemon, str]]) -> dict[str, Any]:
    daemons = [
        {"target": daemon.target, "node": daemon.node, "daemon": daemon.name, "lines": lines.splitlines()}
        for daemon, lines in found
    ]
    return {"schema": SCHEMA, "lab": lab, "daemons": daemons}
