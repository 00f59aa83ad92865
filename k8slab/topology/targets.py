"""What a person may point at: an alias, a daemon's name, a role, a node, ``node/daemon`` or ``all``."""

from __future__ import annotations

from collections.abc import Sequence

from k8slab.errors import UnknownTarget
from k8slab.topology.resolved import Daemon, Topology

ALL = "all"


def daemons(topology: Topology, targets: Sequence[str]) -> tuple[Daemon, ...]:
    """The daemons that ``targets`` mean, each once, in the topology's order. Raises UnknownTarget."""
    chosen: set[str] = set()
    for target in targets:
        matching = [daemon.target for daemon in topology.daemons if _matches(topology, daemon, target)]
        if not matching:
            raise UnknownTarget(target, names(topology))
        chosen.update(matching)
    return tuple(daemon for daemon in topology.daemons if daemon.target in chosen)


def nodes(topology: Topology, targets: Sequence[str]) -> tuple[str, ...]:
    """The nodes that ``targets`` mean (names, roles or ``all``), each once. Raises UnknownTarget."""
    chosen: set[str] = set()
    for target in targets:
        matching = [node.name for node in topology.nodes if target in (ALL, node.name, node.role)]
        if not matching:
            raise UnknownTarget(target, [ALL, *node_names(topology)])
        chosen.update(matching)
    return tuple(node.name for node in topology.nodes if node.name in chosen)


def logs(topology: Topology, target: str) -> tuple[tuple[str, str], ...]:
    """(node, program) for every log that ``target`` means, daemons' first. Raises UnknownTarget."""
    others = [(node.name, name) for node in topology.nodes for name in node.logs]
    found = [(node, name) for node, name in others if target in (name, f"{node}/{name}")]
    try:
        found = [*((daemon.node, daemon.name) for daemon in daemons(topology, [target])), *found]
    except UnknownTarget:
        if not found:
            raise UnknownTarget(target, log_names(topology)) from None
    return tuple(found)


def log_names(topology: Topology) -> list[str]:
    """Everything that can be the target of a log."""
    programs = {name for node in topology.nodes for name in node.logs}
    own = [*sorted(programs), *(f"{node.name}/{name}" for node in topology.nodes for name in node.logs)]
    return [*names(topology), *own]


def node_names(topology: Topology) -> list[str]:
    return [node.name for node in topology.nodes]


def names(topology: Topology) -> list[str]:
    """Everything that can be a target, for suggestions and shell completion."""
    aliases = {word for daemon in topology.daemons for word in (daemon.alias, daemon.name)}
    return [ALL, *sorted(aliases), *node_names(topology), *(daemon.target for daemon in topology.daemons)]


def _matches(topology: Topology, daemon: Daemon, target: str) -> bool:
    node, slash, name = target.partition("/")
    if slash:
        return daemon.node == node and name in (daemon.name, daemon.alias)
    role = topology.node(daemon.node).role
    return target in (ALL, daemon.alias, daemon.name, daemon.node) or (
        target == role and not _is_daemon(topology, role)
    )


def _is_daemon(topology: Topology, word: str) -> bool:
    """Whether ``word`` names a daemon: mesos-master the daemon wins over mesos-master the role."""
    return any(word in (daemon.name, daemon.alias) for daemon in topology.daemons)
