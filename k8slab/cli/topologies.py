"""Topologies as the command line needs them: loaded with settings, summed up, begun anew."""

from __future__ import annotations

import os
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path

from k8slab.errors import InvalidTopology, UsageError
from k8slab.topology import store
from k8slab.topology.resolve import checked_lab_name
from k8slab.topology.resolved import Topology
from k8slab.view.topologies import Summary


def load(name: str, settings: Sequence[str]) -> Topology:
    return store.load(name or store.DEFAULT, settings=[*store.environment_settings(os.environ), *settings])


def summaries() -> list[Summary]:
    return [_summary(name, path) for name, path in sorted(store.known().items())]


def _summary(name: str, path: Path) -> Summary:
    try:
        return Summary(name, str(path), store.load(name), "")
    except InvalidTopology as error:
        return Summary(name, str(path), None, error.what)


def write_new(name: str, folder: Path) -> Path:
    """The file of a new topology's folder. Raises BadName, or UsageError when something is there already."""
    checked_lab_name(name)
    target = folder / name
    text = (files("k8slab.cli") / "new-topology.yaml").read_text(encoding="utf-8").replace("NAME", name)
    try:
        target.mkdir(parents=True)
        (target / store.FILE).write_text(text, encoding="utf-8")
    except FileExistsError as error:
        raise UsageError(f"{target} is there already.", remedy="Choose another name, or edit what is there.") from error
    except OSError as error:
        raise UsageError(f"{target} cannot be made.", why=str(error)) from error
    return target / store.FILE
