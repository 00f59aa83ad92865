"""The planner: what should be, what is, and the steps from one to the other. Pure: it asks and changes nothing."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from k8slab.lab import labels, specs
from k8slab.lab.runtime.base import Machine
from k8slab.lab.steps import (
    Button,
    CreateNode,
    PlugWire,
    PressButton,
    RemoveMachine,
    StartDaemon,
    StartNode,
    StartSwitch,
    Step,
    StopDaemon,
    UnpauseNode,
)
from k8slab.lab.switch.names import link_name
from k8slab.snapshot import DaemonStatus
from k8slab.topology import graph
from k8slab.topology.resolved import Daemon, Node, Topology


@dataclass(frozen=True)
class Observed:
    """What is there of a lab: its machines by container name, wires by node name, daemons by target.

    ``images`` are the current ids of the images the lab uses, ``problems`` what the switch says of unwired nodes.
    """

    machines: Mapping[str, Machine]
    images: Mapping[str, str]
    wired: frozenset[str]
    problems: Mapping[str, str]
    daemons: Mapping[str, DaemonStatus]


NOTHING = Observed({}, {}, frozenset(), {}, {})


def plan(
    topology: Topology, observed: Observed, *, socket: str, daemons: bool = True, timeout: float | None = None
) -> list[Step]:
    """The steps that make the lab whole, in an order that respects ``after``; empty when there is nothing to do.

    ``daemons`` false stops at wired nodes. ``timeout`` (seconds) stands for every daemon's own.
    """
    return _Planner(topology, observed, socket, timeout).steps(daemons)


def plan_start(
    topology: Topology, chosen: Collection[Daemon], observed: Observed, *, timeout: float | None = None
) -> list[Step]:
    """Steps that start ``chosen`` in order, leaving alone what is ready. What they need is not started with them."""
    wanted = [daemon for daemon in chosen if _state(observed, daemon) != "ready"]
    return _starts(topology, wanted, observed, waiting_for=frozenset(), timeout=timeout)


def plan_kill(topology: Topology, chosen: Collection[Daemon], observed: Observed, *, signal: str = "") -> list[Step]:
    """Steps that kill ``chosen``, those that need others first."""
    going = [daemon for daemon in chosen if _state(observed, daemon) != "down"]
    backwards = graph.dependents(after_of(topology))
    return [
        StopDaemon(
            subject=daemon.target,
            node=topology.node(daemon.node),
            daemon=daemon,
            signal=signal,
            after=frozenset(
                f"StopDaemon:{other.target}" for other in going if other.name in backwards.get(daemon.name, ())
            ),
        )
        for daemon in sorted(going, key=lambda one: -_rank(topology)[one.name])
    ]


def plan_power(topology: Topology, verb: str, nodes: Sequence[Node], observed: Observed) -> list[Step]:
    """Steps for a machine's buttons. Stopping is cutting the power; a machine that comes back is wired again."""
    steps: list[Step] = []
    for node in nodes:
        state = observed.machines[node.container].state
        mine: list[Step] = []
        if verb == "pause" and state == "running":
            mine.append(_press(node, "pause", "paused"))
        if verb == "unpause" and state == "paused":
            mine.append(_press(node, "unpause", "unpaused"))
        if verb in ("stop", "restart") and state in ("running", "paused"):
            mine.append(_press(node, "kill", "stopped"))
        if verb == "restart" or (verb == "start" and state in ("stopped", "created")):
            start = StartNode(subject=node.name, node=node, after=frozenset(step.key for step in mine))
            wire = PlugWire(
                subject=node.name,
                node=node,
                network=topology.network,
                host_end=link_name(topology.lab, node.name),
                again=False,
                after=frozenset({start.key}),
            )
            mine += [start, wire]
        steps += mine
    return steps


def after_of(topology: Topology) -> dict[str, tuple[str, ...]]:
    return {daemon.name: daemon.after for daemon in topology.daemons}


class _Planner:
    def __init__(self, topology: Topology, observed: Observed, socket: str, timeout: float | None) -> None:
        self.topology, self.observed, self.socket, self.timeout = topology, observed, socket, timeout

    def steps(self, daemons: bool) -> list[Step]:
        switch = self._switch()
        strays = self._strays()
        powered = {node.name: self._machine(node) for node in self.topology.nodes}
        switched = bool(switch)
        wires = [wire for node in self.topology.nodes if (wire := self._wire(node, powered[node.name], switched))]
        steps = [*switch, *strays, *(step for node in self.topology.nodes for step in powered[node.name]), *wires]
        if not daemons:
            return steps
        fresh = {node.name for node in self.topology.nodes if _boots(powered[node.name])}
        cold = [daemon for daemon in self.topology.daemons if self._is_to_start(daemon, fresh)]
        waiting_for = frozenset(wire.key for wire in wires)
        return [*steps, *_starts(self.topology, cold, self.observed, waiting_for=waiting_for, timeout=self.timeout)]

    def _switch(self) -> list[Step]:
        spec = specs.switch_spec(self.topology, socket=self.socket)
        machine = self.observed.machines.get(spec.name)
        if machine is None:
            return [StartSwitch(subject="switch", container=spec.name, spec=spec, reason="it is missing")]
        changed = self._changed(machine, spec.labels[labels.SPEC], spec.image)
        if changed:
            remove = RemoveMachine(subject="switch", container=spec.name, reason=changed)
            start = StartSwitch(subject="switch", container=spec.name, spec=spec, reason=changed)
            return [remove, _with_after(start, remove)]
        if machine.state != "running":
            reason = f"it is {machine.state}"
            return [StartSwitch(subject="switch", container=spec.name, spec=None, reason=reason)]
        return []

    def _strays(self) -> list[Step]:
        """Machines of this lab that its topology no longer has."""
        expected = {node.container for node in self.topology.nodes} | {specs.switch_name(self.topology.lab)}
        return [
            RemoveMachine(
                subject=machine.labels.get(labels.NODE, name), container=name, reason="no longer in the topology"
            )
            for name, machine in sorted(self.observed.machines.items())
            if name not in expected and labels.CLIENT not in machine.labels
        ]

    def _machine(self, node: Node) -> list[Step]:
        machine = self.observed.machines.get(node.container)
        spec = specs.node_spec(self.topology, node)
        if machine is None:
            return [CreateNode(subject=node.name, node=node, spec=spec, reason="it is missing")]
        changed = self._changed(machine, spec.labels[labels.SPEC], spec.image)
        if changed:
            remove = RemoveMachine(subject=node.name, container=node.container, reason=changed)
            create = CreateNode(subject=node.name, node=node, spec=spec, reason=changed)
            return [remove, _with_after(create, remove)]
        match machine.state:
            case "paused":
                return [UnpauseNode(subject=node.name, node=node, reason="it is paused")]
            case "created" | "stopped":
                reason = "it was never started" if machine.state == "created" else "it is stopped"
                return [StartNode(subject=node.name, node=node, reason=reason)]
        return []

    def _changed(self, machine: Machine, fingerprint: str, image: str) -> str:
        if machine.labels.get(labels.SPEC) != fingerprint:
            return "the topology asks for it differently now"
        if image in self.observed.images and machine.image != self.observed.images[image]:
            return "its image was built anew"
        return ""

    def _wire(self, node: Node, powered: Sequence[Step], switched: bool) -> PlugWire | None:
        if not powered and not switched and node.name in self.observed.wired:
            return None
        again = not powered and not switched
        reason = self.observed.problems.get(node.name) or "it is not wired" if again else ""
        return PlugWire(
            subject=node.name,
            node=node,
            network=self.topology.network,
            host_end=link_name(self.topology.lab, node.name),
            again=again,
            reason=reason,
            after=frozenset([*(step.key for step in powered), *(["StartSwitch:switch"] if switched else [])]),
        )

    def _is_to_start(self, daemon: Daemon, fresh: Collection[str]) -> bool:
        return daemon.node in fresh or _state(self.observed, daemon) != "ready"


def _starts(
    topology: Topology,
    cold: Sequence[Daemon],
    observed: Observed,
    *,
    waiting_for: frozenset[str],
    timeout: float | None,
) -> list[Step]:
    """Start steps in graph order. Each waits for its own node's wire and for every cold daemon that it needs."""
    rank = _rank(topology)
    return [
        StartDaemon(
            subject=daemon.target,
            node=topology.node(daemon.node),
            daemon=daemon,
            timeout=timeout or daemon.timeout,
            reason=_reason(observed, daemon),
            after=frozenset(
                [
                    *({f"PlugWire:{daemon.node}"} & waiting_for),
                    *(f"StartDaemon:{other.target}" for other in cold if other.name in daemon.after),
                ]
            ),
        )
        for daemon in sorted(cold, key=lambda one: rank[one.name])
    ]


def _reason(observed: Observed, daemon: Daemon) -> str:
    match _state(observed, daemon):
        case "down":
            return "it is down"
        case "failed":
            return "it has failed"
        case "up":
            return "it is up but not ready"
    return ""


def _boots(powered: Sequence[Step]) -> bool:
    """Whether these steps boot the machine, so that what was known of its daemons is void."""
    return any(isinstance(step, CreateNode | StartNode) for step in powered)


def _state(observed: Observed, daemon: Daemon) -> str:
    status = observed.daemons.get(daemon.target)
    return status.state if status else "down"


def _rank(topology: Topology) -> dict[str, int]:
    return graph.ranks(after_of(topology))


def _press(node: Node, button: Button, outcome: str) -> PressButton:
    return PressButton(subject=node.name, node=node, button=button, outcome=outcome)


def _with_after(step: Step, first: Step) -> Step:
    return type(step)(**{**step.__dict__, "after": step.after | {first.key}})
