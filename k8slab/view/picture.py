"""A status as a picture: what a terminal of a given width shows, as SVG."""

from __future__ import annotations

import io
from collections.abc import Mapping
from typing import Any

from rich.console import Console
from rich.text import Text

from k8slab.snapshot import SCHEMA, DaemonStatus, NodeStatus, Requirement, Snapshot
from k8slab.view.look import LOUD, QUIET, UNICODE, Look
from k8slab.view.status import status


def svg(snapshot: Snapshot, *, width: int, command: str) -> str:
    """The prompt, the ``command`` and its answer on a terminal ``width`` cells wide."""
    console = Console(record=True, width=width, file=io.StringIO(), force_terminal=True, highlight=False)
    console.print(Text.assemble(("$ ", QUIET), (command, LOUD)))
    console.print(status(snapshot, Look(width, symbols=UNICODE, live=True)))
    # The id is what rich would otherwise draw from the content: the same status makes the same file.
    return console.export_svg(title="k8slab", unique_id="k8slab")


def from_json(form: Mapping[str, Any]) -> Snapshot:
    """The snapshot that ``status -o json`` printed. Raises ValueError for another schema."""
    if form.get("schema") != SCHEMA or "nodes" not in form:
        raise ValueError(f"this is not the output of `k8slab status -o json` with schema {SCHEMA}")
    nodes = tuple(
        NodeStatus(**{**node, "daemons": tuple(DaemonStatus(**daemon) for daemon in node["daemons"])})
        for node in form["nodes"]
    )
    requirements = tuple(Requirement(**one) for one in form.get("requirements", ()))
    return Snapshot(form["lab"], form["topology"], form["ready"], nodes, requirements)
