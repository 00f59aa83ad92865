"""When a lab is ready: what the role truths of all daemons must say together. Pure functions of what was seen."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from k8slab.snapshot import NodeStatus, Requirement
from k8slab.topology.resolved import Topology

Truths = Sequence[Mapping[str, Any]]


def requirements(topology: Topology, nodes: Sequence[NodeStatus]) -> tuple[Requirement, ...]:
    """One per kind of daemon that the lab has and whose truth we know how to ask, in the topology's order."""
    seen = {node.name: node for node in nodes}
    names = dict.fromkeys(daemon.name for daemon in topology.daemons)
    met = []
    for name in names:
        rule = RULES.get(name)
        if rule is not None:
            expected = topology.with_daemon(name)
            truths = [
                daemon.truth
                for node in expected
                for daemon in seen[node.name].daemons
                if daemon.name == name and daemon.truth
            ]
            met.append(rule(len(expected), truths, topology))
    return tuple(met)


def _etcd(count: int, truths: Truths, topology: Topology) -> Requirement:
    healthy = [truth for truth in truths if truth.get("healthy")]
    leaders = [truth for truth in healthy if truth.get("leader")]
    agreed = len({truth.get("leader_id") for truth in healthy}) == 1
    seen = f"{len(healthy)} of {count} members, {_leaders(len(leaders))}"
    return Requirement(
        f"{_count(count, 'etcd member')}, one leader", len(healthy) == count and len(leaders) == 1 and agreed, seen
    )


def _etcd_server(count: int, truths: Truths, topology: Topology) -> Requirement:
    met = _etcd(count, truths, topology)
    return Requirement("the package's etcd, healthy", met.holds, met.seen)


def _zookeeper(count: int, truths: Truths, topology: Topology) -> Requirement:
    modes = [truth.get("mode") for truth in truths if truth.get("mode")]
    leaders = modes.count("leader") + modes.count("standalone")
    seen = f"{len(modes)} of {count} servers, {_leaders(leaders)}"
    return Requirement(f"{_count(count, 'ZooKeeper server')}, one leader", len(modes) == count and leaders == 1, seen)


def _mesos_master(count: int, truths: Truths, topology: Topology) -> Requirement:
    leaders = sum(bool(truth.get("leading")) for truth in truths)
    seen = f"{len(truths)} of {count} masters, {leaders} leading"
    return Requirement(f"{_count(count, 'Mesos master')}, one leading", len(truths) == count and leaders == 1, seen)


def _mesos_slave(count: int, truths: Truths, topology: Topology) -> Requirement:
    registered = sum(bool(truth.get("registered")) for truth in truths)
    return Requirement(f"{_count(count, 'agent')} registered", registered == count, f"{registered} of {count} agents")


def _scheduler(count: int, truths: Truths, topology: Topology) -> Requirement:
    registered = sum(bool(truth.get("registered")) for truth in truths)
    return Requirement("framework registered", registered >= 1, "registered" if registered else "not registered")


def _apiserver(count: int, truths: Truths, topology: Topology) -> Requirement:
    minions = len(topology.with_daemon("mesos-slave"))
    ready = max((int(truth.get("nodes_ready", 0)) for truth in truths), default=0)
    return Requirement(f"{_count(minions, 'Kubernetes node')} Ready", ready == minions, f"{ready} of {minions} nodes")


RULES: Mapping[str, Callable[[int, Truths, Topology], Requirement]] = {
    "etcd": _etcd,
    "etcd-server": _etcd_server,
    "zookeeper": _zookeeper,
    "mesos-master": _mesos_master,
    "mesos-slave": _mesos_slave,
    "scheduler": _scheduler,
    "apiserver": _apiserver,
}


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'s' * (number != 1)}"


def _leaders(count: int) -> str:
    return {0: "no leader", 1: "one leader"}.get(count, f"{count} leaders")
