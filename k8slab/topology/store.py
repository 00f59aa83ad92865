"""Where topologies are found, and the settings that a command line lays over one (``--set``, ``K8SLAB_SET``)."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import k8slab
from k8slab.errors import InvalidTopology, UnknownTopology, UsageError
from k8slab.topology.resolve import resolve
from k8slab.topology.resolved import Topology
from k8slab.topology.source import Location, Source, parse, read

DEFAULT = "k8s-mesos"
FILE = "topology.yaml"
# The short words of the command line for what a class changes most.
SHORTHANDS = {"egress": "network.egress", "subnet": "network.subnet", "mtu": "network.mtu"}


def folders() -> tuple[Path, ...]:
    """The folders that hold topologies: those of K8SLAB_TOPOLOGIES, then the project's own."""
    named = [Path(part) for part in os.environ.get("K8SLAB_TOPOLOGIES", "").split(os.pathsep) if part]
    return (*named, Path(k8slab.__file__).resolve().parent.parent / "topologies")


def known() -> dict[str, Path]:
    """Topologies by name; a name found twice is the first folder's."""
    found: dict[str, Path] = {}
    for folder in folders():
        for file in sorted(folder.glob(f"*/{FILE}")):
            found.setdefault(file.parent.name, file)
    return found


def find(name: str) -> Path:
    """The file of the topology called ``name``, which may also be a path to a folder or file."""
    by_name = known()
    if name in by_name:
        return by_name[name]
    path = Path(name)
    if path.is_dir() and (path / FILE).is_file():
        return path / FILE
    if path.is_file():
        return path
    raise UnknownTopology(name, by_name)


def load(name: str = DEFAULT, *, lab: str = "", settings: Sequence[str] = ()) -> Topology:
    """The resolved topology ``name`` with ``settings`` over it. Raises UnknownTopology, InvalidTopology, UsageError."""
    return resolve(with_settings(read(find(name)), settings), lab=lab)


def restored(text: str, *, lab: str) -> Topology:
    """The topology whose ``source`` is ``text``, as a lab called ``lab`` keeps it."""
    return resolve(Source(f"lab {lab}", json.loads(text), {}), lab=lab)


def with_settings(source: Source, settings: Sequence[str]) -> Source:
    """A copy of ``source`` in which each ``dotted.key=value`` is set; values are read as YAML."""
    value: Any = source.value
    laid: dict[Location, str] = {}
    for setting in settings:
        key, equals, text = setting.partition("=")
        if not equals or not key.strip():
            raise UsageError(f"{setting!r} is not KEY=VALUE.", remedy="For example: --set nodes.etcd.count=5")
        path = SHORTHANDS.get(key.strip(), key.strip()).split(".")
        try:
            parsed = parse(text, setting).value
        except InvalidTopology as error:
            why = " ".join(problem.what for problem in error.problems)
            raise UsageError(f"The value of {setting!r} cannot be read.", why=why) from error
        value = _replaced(value, path, parsed, setting)
        laid[tuple(path)] = setting
    return Source(source.file, value, source.lines, laid)


def environment_settings(environment: Mapping[str, str]) -> list[str]:
    """``K8SLAB_SET`` as a list of settings."""
    return [part for part in environment.get("K8SLAB_SET", "").split(",") if part.strip()]


def _replaced(value: Any, path: Sequence[str], new: Any, setting: str) -> Any:
    if not path:
        return new
    if value is None:
        value = {}
    if not isinstance(value, dict):
        raise UsageError(f"--set {setting}: {path[0]!r} is below a value that has no parts.")
    return {**value, path[0]: _replaced(value.get(path[0]), path[1:], new, setting)}
