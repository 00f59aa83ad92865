"""Installing on paper: a topology with a package in its place, without it, or with what another one has installed."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from k8slab.errors import InvalidOptions, InvalidTopology, UnknownPackage, UsageError
from k8slab.topology import store
from k8slab.topology.packages.package import Options, Package
from k8slab.topology.packages.universe import UNIVERSE
from k8slab.topology.resolved import Place, Topology
from k8slab.topology.source import Source, read


def package(name: str) -> Package:
    """Raises UnknownPackage."""
    if name not in UNIVERSE:
        raise UnknownPackage(name, UNIVERSE)
    return UNIVERSE[name]


def place(topology: Topology, name: str) -> Place:
    """Raises UsageError where the topology has no place for the package."""
    found = next((one for one in topology.packages if one.name == package(name).name), None)
    if found is None:
        raise UsageError(
            f"Lab {topology.lab} has no place for the package {name}.",
            why=f"The topology {topology.name} names no address for its machine.",
            remedy=f"Give it one under `packages`, as the topology dcos has: `{name}: {{address: …}}`.",
        )
    return found


def options_of(name: str, file: Path | None) -> tuple[dict[str, Any], Options]:
    """What a file of options says, as it stands there and as it is meant. Raises InvalidOptions with every problem."""
    chosen = package(name)
    try:
        source = read(file) if file else Source("no options", {}, {})
    except InvalidTopology as error:
        raise InvalidOptions(name, error.problems) from error
    value = {} if source.value is None else source.value
    if not isinstance(value, dict) or not isinstance(value.get(name) or {}, dict):
        what = f'options stand under the package\'s name: {{"{name}": {{…}}}}.'
        raise InvalidOptions(name, [source.problem((), what)])
    strangers = [str(key) for key in value if key != name]
    if strangers:
        what = f"only {name} is read here, and its options below it."
        raise InvalidOptions(name, [source.problem((key,), f"{key}: {what}") for key in strangers])
    given = dict(value.get(name) or {})
    judged, problems = chosen.judged(given)
    if judged is None:
        raise InvalidOptions(
            name, [source.problem((name, *option.split(".")), f"{name}.{option}: {what}") for option, what in problems]
        )
    return given, judged


def with_package(topology: Topology, name: str, options: Mapping[str, Any]) -> Topology:
    """The topology with the package installed; as it is where it is already, with the same options. Raises UsageError
    where it is with others: what runs with the old ones, and what these have written, would be left to nobody."""
    there = place(topology, name)
    if there.installed:
        meant, _ = package(name).judged(options)
        asked = package(name).effective(meant) if meant else {}
        differing = sorted(one for one in asked if asked[one] != there.options[one])
        if differing:
            shown = ", ".join(f"{one}: {json.dumps(there.options[one])}" for one in differing)
            raise UsageError(
                f"{name} is installed in lab {topology.lab} already.",
                why=f"It was installed with other options ({shown}).",
                remedy=f"`k8slab package uninstall {name}` first; `k8slab package list` shows it.",
            )
        return topology
    return _placed(topology, name, {"installed": True, "options": dict(options)})


def without_package(topology: Topology, name: str) -> Topology:
    return _placed(topology, name, {})


def carried_over(wanted: Topology, there: Topology) -> Topology:
    """``wanted`` with those packages that are installed ``there``: they are the lab's, not its file's."""
    mine = {one.name: one for one in wanted.packages}
    for one in there.packages:
        if one.name in mine and not mine[one.name].installed and one.installed:
            given = json.loads(there.source)["packages"][one.name].get("options", {})
            wanted = _placed(wanted, one.name, {"installed": True, "options": given})
    return wanted


def _placed(topology: Topology, name: str, state: Mapping[str, Any]) -> Topology:
    value = json.loads(topology.source)
    value["packages"][name] = {"address": value["packages"][name]["address"], **state}
    return store.restored(json.dumps(value), lab=topology.lab)
