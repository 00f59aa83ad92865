"""The command lines that start daemons by hand, each under the shell it is to be pasted into."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from k8slab.snapshot import SCHEMA
from k8slab.topology.resolved import Daemon, Topology


def manual(found: Sequence[tuple[Daemon, str]], topology: Topology) -> str:
    """Comments tell where each goes. Plain text: a line broken by a terminal's edge would start something else."""
    option = "" if topology.lab == topology.name else f" --lab {topology.lab}"
    return "\n\n".join(
        f"# {daemon.name} on {daemon.node}, in `k8slab shell{option} {daemon.node}`:\n{lines}"
        for daemon, lines in found
    )


def manual_json(lab: str, found: Sequence[tuple[Daemon, str]]) -> dict[str, Any]:
    daemons = [
        {"target": daemon.target, "node": daemon.node, "daemon": daemon.name, "lines": lines.splitlines()}
        for daemon, lines in found
    ]
    return {"schema": SCHEMA, "lab": lab, "daemons": daemons}
