"""Which daemon needs which, drawn: as a tree for people, as text for drawing programs."""

from __future__ import annotations

from rich.console import RenderableType
from rich.text import Text
from rich.tree import Tree

from k8slab.topology import graph
from k8slab.topology.resolved import Topology
from k8slab.view.look import LOUD, PLAIN, QUIET, Look
from k8slab.view.words import folded


def tree(topology: Topology, look: Look = PLAIN) -> RenderableType:
    """Stage by stage: everything in one stage starts at once, as soon as what it comes after is ready."""
    needs = after_of(topology)
    ranks = graph.ranks(needs)
    root = Tree(Text(topology.name, LOUD), guide_style=QUIET)
    for rank in sorted({ranks[name] for name in needs}):
        stage = root.add(Text(f"stage {rank + 1}", QUIET))
        for name in (name for name in needs if ranks[name] == rank):
            nodes = folded([node.name for node in topology.with_daemon(name)], look.symbols)
            after = f"  after {', '.join(needs[name])}" if needs[name] else ""
            stage.add(Text.assemble((name, LOUD), f" on {nodes}", (after, QUIET)))
    return root


def mermaid(topology: Topology) -> str:
    lines = ["graph LR"]
    for name, needs in after_of(topology).items():
        number = len(topology.with_daemon(name))
        lines.append(f'  {_id(name)}["{name} ×{number}"]')
        lines += [f"  {_id(need)} --> {_id(name)}" for need in needs]
    return "\n".join(lines)


def dot(topology: Topology) -> str:
    lines = [f'digraph "{topology.name}" {{', "  rankdir=LR;", "  node [shape=box];"]
    for name, needs in after_of(topology).items():
        lines.append(f'  "{name}" [label="{name} ×{len(topology.with_daemon(name))}"];')
        lines += [f'  "{need}" -> "{name}";' for need in needs]
    return "\n".join([*lines, "}"])


def after_of(topology: Topology) -> dict[str, tuple[str, ...]]:
    return {daemon.name: daemon.after for daemon in topology.daemons}


def _id(name: str) -> str:
    return name.replace("-", "_")
