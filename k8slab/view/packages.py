"""Packages: which have a place in a lab, how they fare, what their options are."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rich.console import Group, RenderableType
from rich.text import Text

from k8slab.snapshot import SCHEMA, NodeStatus, Snapshot, as_json
from k8slab.topology.packages.package import Package
from k8slab.topology.packages.universe import UNIVERSE
from k8slab.topology.resolved import Place, Topology
from k8slab.view.look import BAD, GOOD, LOUD, PLAIN, QUIET, Look
from k8slab.view.table import plain_table

if TYPE_CHECKING:
    from k8slab.snapshot import Change, Timings


def listed(topology: Topology, snapshot: Snapshot, look: Look = PLAIN) -> RenderableType:
    if not topology.packages:
        return Text(f"Lab {topology.lab} has no place for packages: its topology names none.")
    table = plain_table("NAME", "VERSION", "STATE", "ADDRESS")
    table.add_column("DESCRIPTION", overflow="fold", style=QUIET)
    for place in topology.packages:
        package = UNIVERSE[place.name]
        state, style = _state(place, snapshot)
        address = _endpoint(topology) if place.installed else str(place.address)
        table.add_row(Text(place.name, LOUD), package.version, Text(state, style), address, Text(package.description))
    return table


def listed_json(topology: Topology, snapshot: Snapshot) -> dict[str, Any]:
    found = [
        {
            "name": place.name,
            "version": UNIVERSE[place.name].version,
            "description": UNIVERSE[place.name].description,
            "installed": place.installed,
            "state": _state(place, snapshot)[0],
            "node": place.name if place.installed else None,
            "address": str(place.address),
            "options": dict(place.options),
        }
        for place in topology.packages
    ]
    return {"schema": SCHEMA, "lab": topology.lab, "packages": found}


def installed(topology: Topology, name: str, look: Look = PLAIN) -> RenderableType:
    option = "" if topology.lab == topology.name else f" --lab {topology.lab}"
    commands = [
        (f"export KUBERNETES_MASTER={_endpoint(topology)}", "for a kubectl of your own"),
        (f"k8slab kubectl{option} get nodes", "with the lab's"),
        (f"k8slab package list{option}", "how it fares"),
    ]
    widest = max(len(command) for command, _ in commands)
    lines = [Text.assemble((f"  {command:{widest}}", LOUD), (f"  # {why}", QUIET)) for command, why in commands]
    told = Text(f"{look.symbols.ready} {name} {UNIVERSE[name].version} is installed and ready", GOOD)
    return Group(told, *lines)


def installed_json(topology: Topology, name: str, result: Any) -> dict[str, Any]:
    changes: tuple[Change, ...] = result.changes
    timings: Timings = result.timings
    place = next(one for one in topology.packages if one.name == name)
    package = {"name": name, "version": UNIVERSE[name].version, "options": dict(place.options)}
    return {**as_json(result.snapshot, timings, changes), "package": package}


def described(package: Package, look: Look = PLAIN) -> RenderableType:
    table = plain_table("OPTION", "TYPE", "DEFAULT")
    table.add_column("WHAT", overflow="fold")
    for name, schema in sorted(package.schema()["properties"][package.name]["properties"].items()):
        default = "" if schema["default"] == "" else str(schema["default"])
        table.add_row(
            Text(name, LOUD), schema.get("type", ""), Text(default or "-", QUIET), Text(schema["description"])
        )
    head = Text.assemble((f"{package.name} {package.version}", LOUD), f"\n{package.description}\n")
    use = Text(
        f'\nk8slab package install {package.name} --options FILE, with {{"{package.name}": {{OPTION: …}}}} in it.'
    )
    return Group(head, table, use)


def described_json(package: Package) -> dict[str, Any]:
    return {
        "schema": SCHEMA,
        "name": package.name,
        "version": package.version,
        "description": package.description,
        "options": package.schema(),
    }


def left_behind(place: Place) -> str:
    """What uninstalling leaves where it is, in a sentence; "" when that is nothing."""
    servers = place.options.get("etcd-servers")
    if not servers:
        return ""
    return f"Kubernetes' objects are still at {servers}, below /registry: a new installation finds them there."


def _state(place: Place, snapshot: Snapshot) -> tuple[str, str]:
    if not place.installed:
        return "not installed", QUIET
    node = next(one for one in snapshot.nodes if one.name == place.name)
    up = sum(one.state == "ready" for one in node.daemons)
    if node.state != "running":
        return f"its machine is {node.state}", BAD
    return ("ready", GOOD) if _is_whole(node) else (f"{up} of {len(node.daemons)} daemons ready", BAD)


def _is_whole(node: NodeStatus) -> bool:
    return node.wired and all(one.state == "ready" for one in node.daemons)


def _endpoint(topology: Topology) -> str:
    return f"http://{topology.addresses('apiserver')[0]}"
