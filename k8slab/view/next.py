"""What to do with a lab that has just come up."""

from __future__ import annotations

from rich.console import Group, RenderableType
from rich.text import Text

from k8slab.topology.resolved import Topology
from k8slab.view.look import LOUD, PLAIN, QUIET, Look


def next_steps(topology: Topology, look: Look = PLAIN, *, manifest: str = "", started: bool = True) -> RenderableType:
    """Three commands worth typing now. ``manifest`` is a file with a first pod, as the person here would name it."""
    option = "" if topology.lab == topology.name else f" --lab {topology.lab}"
    commands: list[tuple[str, str]] = []
    if not started:
        commands.append((f"k8slab run{option}", "start the daemons too"))
    elif manifest and topology.with_daemon("apiserver"):
        commands.append((_create(topology, manifest, option), "a first pod"))
    first = next(iter(topology.daemons), None)
    if started and first:
        commands.append((f"k8slab kill{option} {first.alias}", "who minds?"))
    commands.append((f"k8slab status{option} --watch", "each second"))
    widest = max(len(command) for command, _ in commands)
    lines = [Text.assemble((f"  {command:{widest}}", LOUD), (f"  # {why}", QUIET)) for command, why in commands]
    if max(line.cell_len for line in lines) > look.width:
        lines = [Text(f"  {command}", LOUD) for command, _ in commands]
    return Group(Text("Next:"), *lines)


def _create(topology: Topology, manifest: str, option: str) -> str:
    if manifest.endswith(".json"):
        # In the words of the API's first version, which kubectl does not speak any more.
        return f"curl -L http://{topology.addresses('apiserver')[0]}/api/v1beta1/pods -XPOST -d @{manifest}"
    return f"k8slab kubectl{option} create -f {manifest}"
