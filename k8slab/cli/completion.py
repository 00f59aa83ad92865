"""What the shell offers when Tab is pressed: quick, and silent whatever is wrong.

Labs are taken from their folders, and from the engine only when there is none.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import typer

from k8slab.errors import LabError

if TYPE_CHECKING:
    from k8slab.topology.resolved import Topology

Words = list[str]


def _silently(offer: Callable[[typer.Context], Words]) -> Callable[[typer.Context, str], Words]:
    """A half-typed line is no place for an error message."""

    def wrapped(context: typer.Context, incomplete: str) -> list[str]:
        try:
            words = offer(context)
        except (LabError, OSError, ValueError):
            return []
        given = {word for values in context.params.values() if isinstance(values, list) for word in values}
        return [word for word in words if word.startswith(incomplete) and word not in given]

    return wrapped


@_silently
def labs(context: typer.Context) -> Words:
    return _labs()


@_silently
def topologies(context: typer.Context) -> Words:
    from k8slab.topology import store

    return sorted(store.known())


@_silently
def targets(context: typer.Context) -> Words:
    from k8slab.topology.targets import names

    return names(_topology(context))


@_silently
def logs(context: typer.Context) -> Words:
    from k8slab.topology.targets import log_names

    return log_names(_topology(context))


@_silently
def nodes(context: typer.Context) -> Words:
    from k8slab.topology.targets import node_names

    return node_names(_topology(context))


@_silently
def packages(context: typer.Context) -> Words:
    from k8slab.topology.packages.universe import UNIVERSE

    return sorted(UNIVERSE)


@_silently
def images(context: typer.Context) -> Words:
    from k8slab.lab.images.recipes import catalogue

    return [recipe.name.rpartition("/")[2].partition(":")[0] for recipe in catalogue()]


def _labs() -> Words:
    from k8slab.lab.lab import existing, open_engine, state_directory

    folder = state_directory()
    kept = sorted(path.name for path in folder.iterdir() if path.is_dir()) if folder.is_dir() else []
    return kept or sorted(existing(open_engine()))


def _topology(context: typer.Context) -> Topology:
    """The topology of the lab meant, from its folder if it has one; of the default one when nothing is known."""
    from k8slab.lab.lab import open_engine, open_lab, state_directory
    from k8slab.topology import store

    folders = {path.parent.name: path for path in state_directory().glob("*/topology.json")}
    name = context.params.get("lab_name") or (store.DEFAULT if store.DEFAULT in folders else next(iter(folders), ""))
    if name in folders:
        return store.restored(folders[name].read_text(), lab=name)
    return open_lab(open_engine(), name).topology if name else store.load()
