"""The machine of a node, by the labels it carries: a name alone may also be the beginning of another one's id."""

from __future__ import annotations

from typing import TYPE_CHECKING

from k8slab.errors import NodeFailed, UnknownTarget
from k8slab.lab import labels
from k8slab.topology.targets import node_names

if TYPE_CHECKING:
    from k8slab.cli.session import Session
    from k8slab.lab.lab import Lab
    from k8slab.lab.runtime.base import Machine

REMEDIES = {"paused": "`k8slab node unpause{option} {node}` lets its clock go on."}
OFF = "`k8slab node start{option} {node}` powers it on."


def machines(session: Session, lab: Lab) -> dict[str, Machine]:
    """Every machine that is a node of the lab, by the node's name."""
    mine = [one for one in session.engine.machines() if one.labels.get(labels.LAB) == lab.name]
    return {one.labels[labels.NODE]: one for one in mine if labels.NODE in one.labels}


def machine(session: Session, lab: Lab, node: str) -> Machine:
    """Raises UnknownTarget for what is no node's name, NodeFailed for a node that is not there."""
    if node not in node_names(lab.topology):
        raise UnknownTarget(node, node_names(lab.topology))
    found = machines(session, lab).get(node)
    if found is None:
        raise NodeFailed(f"There is no machine {node}.", remedy=f"`k8slab run{option(lab)}` brings it back.")
    return found


def running(session: Session, lab: Lab, node: str) -> Machine:
    """The same; raises NodeFailed also for a node in which no program can be run now."""
    found = machine(session, lab, node)
    if found.state != "running":
        state = "paused" if found.state == "paused" else "off"
        remedy = REMEDIES.get(found.state, OFF).format(option=option(lab), node=node)
        raise NodeFailed(f"{node} is {state}: nothing can be run there now.", remedy=remedy)
    return found


def option(lab: Lab) -> str:
    """How a command is told that this lab is meant."""
    return "" if lab.name == lab.topology.name else f" --lab {lab.name}"
