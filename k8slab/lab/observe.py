"""Looking at a lab: its machines, wires and daemons, as the planner and the status table need them."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from k8slab.errors import LabError
from k8slab.lab import labels, specs
from k8slab.lab.parallel import in_parallel
from k8slab.lab.plan import Observed
from k8slab.lab.runtime.base import Machine, Runtime
from k8slab.snapshot import DaemonState, DaemonStatus
from k8slab.topology.resolved import Daemon, Node, Topology

WIRES_FILE = "/var/lib/k8slab/wires.json"
NO_SWITCH = "the lab's switch is not running"


def observe(runtime: Runtime, topology: Topology) -> Observed:
    """Everything the planner asks about. Machines that answer no questions (stopped, paused) have no daemons in it."""
    machines = machines_of(runtime, topology.lab)
    images = runtime.image_ids(sorted({*(node.image for node in topology.nodes), specs.SWITCH_IMAGE}))
    wired, problems = wires(runtime, topology.lab, machines)
    running = [node for node in topology.nodes if is_running(machines.get(node.container))]
    found = in_parallel(lambda node: daemon_statuses(runtime, node), running)
    daemons = {target: status for statuses in found for target, status in statuses.items()}
    return Observed(machines, images, wired, problems, daemons)


def machines_of(runtime: Runtime, lab: str) -> dict[str, Machine]:
    return {machine.name: machine for machine in runtime.machines() if machine.labels.get(labels.LAB) == lab}


def is_running(machine: Machine | None) -> bool:
    return machine is not None and machine.state == "running"


def wires(runtime: Runtime, lab: str, machines: Mapping[str, Machine]) -> tuple[frozenset[str], dict[str, str]]:
    """The nodes that the switch calls wired, and what it says of the others."""
    switch = specs.switch_name(lab)
    nodes = {machine.labels[labels.NODE]: machine for machine in machines.values() if labels.NODE in machine.labels}
    if not is_running(machines.get(switch)):
        return frozenset(), dict.fromkeys(nodes, NO_SWITCH)
    report = wire_report(runtime, lab)
    wired = set()
    problems = {}
    for name, machine in nodes.items():
        said = report.get("nodes", {}).get(name, {})
        if said.get("wired") and said.get("container") == machine.id and machine.state in ("running", "paused"):
            wired.add(name)
        elif machine.state in ("running", "paused"):
            problems[name] = said.get("problem") or report.get("error") or ""
    return frozenset(wired), problems


def wire_report(runtime: Runtime, lab: str) -> dict[str, Any]:
    """What the switch has published: ``{"ready", "error", "bridge", "nodes": {name: {"wired", "problem", …}}}``."""
    switch = specs.switch_name(lab)
    line = runtime.boot_log(switch, lines=1, errors=False)
    report: dict[str, Any] = {}
    try:
        report = json.loads(line)
    except ValueError:
        # Nothing said yet, or the engine's log has cut a long line in pieces.
        for content in runtime.read(switch, WIRES_FILE).values():
            report = json.loads(content)
    return report


def daemon_statuses(runtime: Runtime, node: Node) -> dict[str, DaemonStatus]:
    """The daemons of a running node by target. A node that stops answering meanwhile has none."""
    try:
        executed = runtime.execute(node.container, ["/usr/lib/k8slab/daemonctl", "status"])
    except LabError:
        return {}
    return parse_statuses(node, executed.output, now=time.time()) if executed.code == 0 else {}


def parse_statuses(node: Node, text: str, *, now: float) -> dict[str, DaemonStatus]:
    """``daemonctl status``: NAME up wantedup normallyup ready pid exitcode signal seconds RESTARTS, a line each."""
    aliases = {daemon.name: daemon.alias for daemon in node.daemons}
    found = {}
    for line in text.splitlines():
        words = line.split()
        if len(words) != 10 or words[0] not in aliases:
            continue
        name, up, wanted, normally, ready, pid, _code, _signal, seconds, restarts = words
        found[f"{node.name}/{name}"] = DaemonStatus(
            name=name,
            alias=aliases[name],
            state=_state(up == "true", wanted == "true", normally == "true", ready == "true"),
            pid=int(pid) if int(pid) > 0 else None,
            since=float(int(now) - int(seconds)) if seconds.isdigit() else None,
            restarts=int(restarts),
        )
    return found


def with_truth(observed: Observed, daemon: Daemon, answers: Mapping[str, Mapping[str, Any]]) -> DaemonStatus:
    """A daemon's status as shown: a machine that answers no questions is frozen or off, and so are its daemons."""
    status = observed.daemons.get(daemon.target)
    if status is None:
        machine = next((one for one in observed.machines.values() if one.labels.get(labels.NODE) == daemon.node), None)
        frozen = machine is not None and machine.state == "paused"
        return DaemonStatus(daemon.name, daemon.alias, "up" if frozen else "down")
    return replace(status, truth=answers.get(daemon.target, {}))


def _state(up: bool, wanted: bool, normally: bool, ready: bool) -> DaemonState:
    """A daemon that is not up though it should be has failed; its supervisor gave up or is about to try again."""
    if up:
        return "ready" if ready else "up"
    return "failed" if wanted or normally else "down"
