"""What to do with a lab that has just come up."""

from __future__ import annotations

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from k8slab.topology.resolved import Topology
from k8slab.view.look import LOUD, QUIET


def next_steps(topology: Topology, *, started: bool = True) -> RenderableType:
    """Three commands worth typing now; those that this topology has the daemons for."""
    option = "" if topology.lab == topology.name else f" --lab {topology.lab}"
    commands: list[tuple[str, str]] = []
    if not started:
        commands.append((f"k8slab run{option}", "start the daemons too"))
    elif topology.with_daemon("apiserver"):
        manifest = f"topologies/{topology.name}/nginx.yaml"
        commands.append((f"k8slab kubectl{option} create -f {manifest}", "a first pod"))
    first = next(iter(topology.daemons), None)
    if started and first:
        commands.append((f"k8slab kill{option} {first.alias}", f"and {first.name} is gone: watch who minds"))
    commands.append((f"k8slab status{option} --watch", "every daemon's own view, each second"))
    grid = Table.grid(padding=(0, 2, 0, 0))
    grid.add_column(no_wrap=True, style=LOUD)
    grid.add_column(style=QUIET)
    for command, why in commands:
        grid.add_row(f"  {command}", why)
    return Group(Text("Next:"), grid)
