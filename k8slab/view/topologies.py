"""Topologies on paper: which there are, and what one of them is made of."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from k8slab.snapshot import SCHEMA
from k8slab.topology.resolved import Place, Topology
from k8slab.view.look import BAD, GOOD, LOUD, PLAIN, QUIET, Look
from k8slab.view.table import plain_table
from k8slab.view.words import count


@dataclass(frozen=True)
class Summary:
    """A topology found in a folder; ``topology`` is None when it is invalid, and ``problem`` tells why."""

    name: str
    file: str
    topology: Topology | None
    problem: str


def listed(found: Sequence[Summary], look: Look = PLAIN) -> RenderableType:
    table = plain_table("NAME", "NODES", "SUBNET", right=("NODES",))
    table.add_column("ROLES")
    table.add_column("FILE", overflow="fold", style=QUIET)
    for one in found:
        if one.topology is None:
            told = Text(f"{look.symbols.failed} {one.problem}", BAD)
            table.add_row(Text(one.name), "-", "-", told, Text(one.file))
            continue
        roles = Counter(node.role for node in one.topology.nodes)
        table.add_row(
            Text(one.name, LOUD),
            str(len(one.topology.nodes)),
            str(one.topology.network.subnet),
            Text(", ".join(f"{number} {role}" for role, number in roles.items())),
            Text(one.file),
        )
    return table


def listed_json(found: Sequence[Summary]) -> dict[str, Any]:
    topologies = [
        {
            "name": one.name,
            "file": one.file,
            "valid": one.topology is not None,
            "problem": one.problem,
            "nodes": len(one.topology.nodes) if one.topology else 0,
        }
        for one in found
    ]
    return {"schema": SCHEMA, "topologies": topologies}


def shown(topology: Topology, look: Look = PLAIN) -> RenderableType:
    network = topology.network
    facts = Table.grid(padding=(0, 2, 0, 0))
    facts.add_column(style=QUIET, no_wrap=True)
    facts.add_column()
    for name, value in (
        ("subnet", f"{network.subnet}, the host at {network.gateway}"),
        ("services", str(network.services)),
        ("pods", str(network.pods)),
        ("egress", "out through the host" if network.egress else "none: the lab is hermetic"),
        *(("package", _placed(place)) for place in topology.packages),
    ):
        facts.add_row(name, value)
    table = plain_table("NODE", "ROLE", "ADDRESS", "MAC", "PODS")
    table.add_column("DAEMONS")
    for node in topology.nodes:
        daemons = ", ".join(
            daemon.name if daemon.alias == daemon.name else f"{daemon.name} ({daemon.alias})" for daemon in node.daemons
        )
        pods = str(node.pods) if node.pods else "-"
        cells = (node.name, node.role, str(node.address), node.mac, pods, daemons)
        table.add_row(*(Text(cell) for cell in cells))
    return Group(Text(topology.name, LOUD), facts, Text(), table)


def _placed(place: Place) -> str:
    return f"{place.name} {'is' if place.installed else 'can be'} installed at {place.address}"


def shown_json(topology: Topology) -> dict[str, Any]:
    network = topology.network
    return {
        "schema": SCHEMA,
        "name": topology.name,
        "network": {
            "subnet": str(network.subnet),
            "gateway": str(network.gateway),
            "services": str(network.services),
            "pods": str(network.pods),
            "mtu": network.mtu,
            "egress": network.egress,
        },
        "nodes": [
            {
                "name": node.name,
                "container": node.container,
                "role": node.role,
                "image": node.image,
                "address": f"{node.address}/{node.prefix}",
                "mac": node.mac,
                "pods": str(node.pods) if node.pods else None,
                "daemons": [
                    {"name": one.name, "alias": one.alias, "command": one.command, "after": list(one.after)}
                    for one in node.daemons
                ],
            }
            for node in topology.nodes
        ],
        "packages": [
            {
                "name": place.name,
                "address": str(place.address),
                "installed": place.installed,
                "options": {**place.options},
            }
            for place in topology.packages
        ],
    }


def valid(topology: Topology, look: Look = PLAIN) -> RenderableType:
    daemons = sum(1 for _ in topology.daemons)
    told = f"{count(len(topology.nodes), 'node')}, {count(daemons, 'daemon')}"
    return Text.assemble((f"{look.symbols.ready} {topology.name} is valid", GOOD), f": {told}.")


def valid_json(topology: Topology) -> dict[str, Any]:
    return {"schema": SCHEMA, "topology": topology.name, "valid": True, "problems": []}
