"""A lab: observe it, plan what it needs, carry that out. The one object that the command line talks to."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from k8slab.errors import LabChanged, NoSuchLab, TimedOut, UsageError
from k8slab.lab import checks, export, labels, observe, perform, remove, specs
from k8slab.lab.apply import Event, Listener, Outcome, carry_out
from k8slab.lab.lock import holds_only_the_lock, locked
from k8slab.lab.plan import Observed, plan, plan_kill, plan_power, plan_start
from k8slab.lab.probes.truths import truths
from k8slab.lab.requirements import requirements
from k8slab.lab.runtime.base import Runtime
from k8slab.lab.steps import RemoveMachine, Step
from k8slab.snapshot import Change, NodeState, NodeStatus, Phase, Snapshot, Timings
from k8slab.topology import store, targets
from k8slab.topology.resolved import Daemon, Node, Topology

# How long another command on the same lab is waited for, and how long the truths may take once all daemons are up.
LOCK_PATIENCE = 120.0
TRUTH_PATIENCE = 60.0
UNCHANGED_PATIENCE = 30.0
LOOK_EVERY = 0.1

PowerVerb = Literal["stop", "start", "restart", "pause", "unpause"]
Asker = Callable[[Topology, Sequence[Daemon]], Mapping[str, Mapping[str, Any]]]


@dataclass(frozen=True)
class RunResult:
    snapshot: Snapshot
    changes: tuple[Change, ...]
    timings: Timings


def state_directory() -> Path:
    """Where lab folders are: ``$XDG_STATE_HOME/k8slab``."""
    base = Path(os.environ.get("XDG_STATE_HOME", ""))
    # The specification says that a relative path is to be ignored.
    return (base if base.is_absolute() else Path.home() / ".local" / "state") / "k8slab"


def open_engine() -> Runtime:
    """The engine of this machine. Raises EngineUnreachable or EngineForbidden."""
    from k8slab.lab.runtime.engine import DockerRuntime, connect

    return DockerRuntime(connect())


def existing(runtime: Runtime) -> dict[str, str]:
    """The labs of which anything is left on the engine: name of the lab to name of its topology ("" if unknown)."""
    found: dict[str, str] = {}
    marks = [one.labels for one in runtime.machines()] + [one.labels for one in runtime.volumes()]
    for mark in marks:
        lab = mark.get(labels.LAB)
        if lab:
            found[lab] = found.get(lab) or mark.get(labels.TOPOLOGY, "")
    return found


def open_lab(runtime: Runtime, name: str = "") -> Lab:
    """The lab called ``name``; without one the default topology's own, or the only one there is. Raises NoSuchLab."""
    labs = existing(runtime)
    if not name:
        if store.DEFAULT not in labs and len(labs) != 1:
            raise NoSuchLab("", labs)
        name = store.DEFAULT if store.DEFAULT in labs else next(iter(labs))
    if name not in labs:
        raise NoSuchLab(name, labs)
    return Lab(runtime, _remembered(runtime, name, labs[name]))


def _remembered(runtime: Runtime, lab: str, topology: str) -> Topology:
    """What the lab was last run as: its switch knows, else its folder, else the topology it was made from."""
    if source := _source(runtime, lab):
        return store.restored(source, lab=lab)
    kept = state_directory() / lab / perform.TOPOLOGY_FILE
    if kept.is_file():
        return store.restored(kept.read_text(), lab=lab)
    return store.load(topology or lab, lab=lab, settings=store.environment_settings(os.environ))


def _source(runtime: Runtime, lab: str) -> str:
    """The topology that the lab's switch was made for; "" without a switch."""
    marks = (machine.labels for machine in observe.machines_of(runtime, lab).values())
    return next((mark[labels.SOURCE] for mark in marks if labels.SOURCE in mark), "")


class Lab:
    """``ask`` gets the role truths; everything else goes through ``runtime``."""

    def __init__(self, runtime: Runtime, topology: Topology, *, ask: Asker = truths) -> None:
        self.runtime = runtime
        self.topology = topology
        self.name = topology.lab
        self.directory = state_directory() / topology.lab
        self._ask = ask

    def plan(self, *, daemons: bool = True, timeout: float | None = None) -> list[Step]:
        """What ``run`` would do now. Creates nothing, needs no lock."""
        info = checks.demand(self.runtime, self.topology)
        observed = observe.observe(self.runtime, self.topology)
        return plan(self.topology, observed, socket=info.socket, daemons=daemons, timeout=timeout)

    def run(self, *, listener: Listener, start: bool = True, timeout: float | None = None) -> RunResult:
        """Bring everything up, or back up. Raises the first failing check, failed step, or TimedOut."""
        begin = time.monotonic()
        with self._locked(listener, anew=True):
            steps = self.plan(daemons=start, timeout=timeout)
            checked = time.monotonic()
            perform.write_lab_folder(self.directory, self.topology)
            outcome = self._carry_out(steps, listener)
            snapshot = self._await_truths(timeout or TRUTH_PATIENCE, bool(steps)) if start else self.snapshot()
            total = time.monotonic() - begin
            phases = {"checks": checked - begin, **{phase.name: phase.seconds for phase in outcome.phases}}
            if "daemons" in phases:
                # Ready means the truths hold: what they take beyond the last daemon's own readiness counts.
                phases["daemons"] += max(0.0, total - outcome.elapsed - (checked - begin))
            rounded = tuple(Phase(name, round(seconds, 3)) for name, seconds in phases.items())
            return RunResult(snapshot, outcome.changes, Timings(rounded, round(total, 3)))

    def start(self, wanted: Sequence[str], *, listener: Listener, timeout: float | None = None) -> tuple[Change, ...]:
        chosen = targets.daemons(self.topology, wanted)
        with self._locked(listener):
            observed = observe.observe(self.runtime, self.topology)
            off = self._off(observed, chosen)
            if off:
                raise self._unreachable("started", observed, off)
            return self._carry_out(plan_start(self.topology, chosen, observed, timeout=timeout), listener).changes

    def kill(self, wanted: Sequence[str], *, listener: Listener, signal: str = "") -> tuple[Change, ...]:
        chosen = targets.daemons(self.topology, wanted)
        with self._locked(listener):
            observed = observe.observe(self.runtime, self.topology)
            off = self._off(observed, chosen)
            if len(off) == len({daemon.node for daemon in chosen}):
                raise self._unreachable("killed", observed, off)
            if off:
                listener(Event("note", text=f"Left as they are, because their nodes do not run: {', '.join(off)}."))
            within_reach = [daemon for daemon in chosen if daemon.node not in off]
            return self._carry_out(plan_kill(self.topology, within_reach, observed, signal=signal), listener).changes

    def power(self, verb: PowerVerb, wanted: Sequence[str], *, listener: Listener) -> tuple[Change, ...]:
        """Press a button of machines; those that come back are waited for until they are wired."""
        chosen = targets.nodes(self.topology, wanted)
        with self._locked(listener):
            observed = observe.observe(self.runtime, self.topology)
            nodes = [self.topology.node(name) for name in chosen]
            self._demand_there(observed, nodes)
            return self._carry_out(plan_power(self.topology, verb, nodes, observed), listener).changes

    def shed(self, node: str, *, listener: Listener) -> tuple[Change, ...]:
        """Remove a machine that the lab's topology has no more; nothing else of the lab is touched."""
        with self._locked(listener):
            planned = self.plan(daemons=False)
            machine = [step for step in planned if isinstance(step, RemoveMachine) and step.subject == node]
            switch = [step for step in planned if step.subject == "switch"]
            # The switch last: it is what remembers that there is something to take out, should this be cut off.
            first = frozenset(step.key for step in machine)
            steps = [*machine, *(replace(step, after=step.after | first) for step in switch)]
            changes = self._carry_out(steps, listener).changes
            perform.write_lab_folder(self.directory, self.topology)
            return changes

    def manual(self, wanted: Sequence[str]) -> tuple[tuple[Daemon, str], ...]:
        chosen = targets.daemons(self.topology, wanted or [targets.ALL])
        return tuple((daemon, specs.manual_lines(daemon)) for daemon in chosen)

    def snapshot(self) -> Snapshot:
        observed = observe.observe(self.runtime, self.topology)
        ready = [daemon for daemon in self.topology.daemons if _is_up(observed, daemon)]
        answers = self._ask(self.topology, ready)
        nodes = tuple(_node_status(self.topology, node, observed, answers) for node in self.topology.nodes)
        met = requirements(self.topology, nodes)
        everything_up = all(node.wired and node.state == "running" for node in nodes) and all(
            daemon.state == "ready" for node in nodes for daemon in node.daemons
        )
        ready_now = everything_up and all(one.holds for one in met)
        return Snapshot(self.name, self.topology.name, ready_now, nodes, met)

    def remove(self, *, listener: Listener) -> tuple[Change, ...]:
        """Everything the lab owns, whatever is left of it. A second call finds nothing."""
        with self._locked(listener, regardless=True):
            changes = remove.everything(self.runtime, self.name, listener)
            # While the lock is held, and last: whoever waits for it finds it gone and begins anew.
            shutil.rmtree(self.directory, ignore_errors=True)
            return changes

    def export(self, directory: Path) -> Path:
        """Every log, state and version, for a bug report."""
        return export.export(self.runtime, self.topology, self.snapshot(), directory)

    def log_command(self, target: str, *, follow: bool, lines: int) -> tuple[str, tuple[str, ...]]:
        """The container, and the command in it, that print the logs of what ``target`` means on one node."""
        chosen = targets.logs(self.topology, target)
        nodes = dict.fromkeys(node for node, _ in chosen)
        if len(nodes) > 1:
            raise UsageError(
                f"{target!r} runs on {len(nodes)} nodes; whose log?",
                remedy=f"For example: `k8slab logs {'/'.join(chosen[0])}`.",
            )
        files = [f"/var/log/{name}/current" for _, name in chosen]
        # By name, so that a rotated log is followed into its new file.
        return self.topology.node(chosen[0][0]).container, ("tail", "-n", str(lines), *(["-F"] * follow), *files)

    def read_log(self, target: str, *, lines: int) -> str:
        """The end of a log of a node that need not run."""
        container, command = self.log_command(target, follow=False, lines=lines)
        texts = [
            content.decode(errors="replace")
            for path in command[3:]
            for content in self.runtime.read(container, path).values()
        ]
        listed = [text.splitlines(keepends=True) for text in texts]
        return "".join("".join(one[max(0, len(one) - lines) :]) for one in listed)

    def environment(self) -> dict[str, str]:
        """Variables that point the real clients at this lab."""
        perform.write_lab_folder(self.directory, self.topology)
        return perform.client_environment(self.directory, self.topology)

    def _carry_out(self, steps: Sequence[Step], listener: Listener) -> Outcome:
        return carry_out(steps, perform.Performer(self.runtime, self.topology).perform, listener)

    def _await_truths(self, patience: float, changed: bool) -> Snapshot:
        """A lab in which nothing was changed has no reason to become more ready than it is: a short look is enough."""
        patience = patience if changed else min(patience, UNCHANGED_PATIENCE)
        deadline = time.monotonic() + patience
        while True:
            snapshot = self.snapshot()
            if snapshot.ready:
                return snapshot
            if time.monotonic() > deadline:
                raise _not_ready(snapshot, patience)
            perform.pause(LOOK_EVERY)

    def _demand_unchanged(self, source: str, *, anew: bool) -> None:
        now = _source(self.runtime, self.name)
        if now not in (source, self.topology.source) and not (anew and not now):
            raise LabChanged(self.name)

    def _demand_there(self, observed: Observed, nodes: Sequence[Node]) -> None:
        missing = [node.name for node in nodes if node.container not in observed.machines]
        if missing:
            raise UsageError(f"Not there: {', '.join(missing)}.", remedy="`k8slab run` makes what is missing.")

    def _off(self, observed: Observed, chosen: Sequence[Daemon]) -> list[str]:
        """The nodes of ``chosen`` that do not run, in order."""
        nodes = dict.fromkeys(daemon.node for daemon in chosen)
        return [
            name for name in nodes if not observe.is_running(observed.machines.get(self.topology.node(name).container))
        ]

    def _unreachable(self, what: str, observed: Observed, off: Sequence[str]) -> UsageError:
        machine = observed.machines.get(self.topology.node(off[0]).container)
        state = machine.state if machine else "missing"
        button = {"paused": f"`k8slab node unpause {off[0]}`", "missing": "`k8slab run`"}.get(
            state, f"`k8slab node start {off[0]}`"
        )
        return UsageError(
            f"No daemon of {', '.join(off)} can be {what}: {off[0]} is {state}.",
            remedy=f"{button} first; `k8slab run` brings everything up.",
        )

    @contextmanager
    def _locked(self, listener: Listener, *, regardless: bool = False, anew: bool = False) -> Iterator[None]:
        """Alone at work on the lab. Who waited carries out no plan for what the lab was, unless ``regardless``; one
        that was removed meanwhile may be made ``anew``, which undoes nothing."""
        there = self.directory.exists()
        waited_since: list[str] = []

        def say(text: str) -> None:
            waited_since.append(_source(self.runtime, self.name))
            listener(Event("note", text=text))

        with locked(self.directory, self.name, wait=LOCK_PATIENCE, say=say):
            try:
                if waited_since and not regardless:
                    self._demand_unchanged(waited_since[0], anew=anew)
                yield
            finally:
                # What failed before anything was made leaves nothing behind, not even an empty folder.
                if not there and holds_only_the_lock(self.directory):
                    shutil.rmtree(self.directory, ignore_errors=True)


def _is_up(observed: Observed, daemon: Daemon) -> bool:
    status = observed.daemons.get(daemon.target)
    return status is not None and status.state in ("ready", "up")


def _node_status(
    topology: Topology, node: Node, observed: Observed, answers: Mapping[str, Mapping[str, Any]]
) -> NodeStatus:
    machine = observed.machines.get(node.container)
    state: NodeState = "missing"
    if machine is not None:
        state = "stopped" if machine.state == "created" else machine.state
    wired = node.name in observed.wired and state in ("running", "paused")
    return NodeStatus(
        name=node.name,
        role=node.role,
        address=str(node.address),
        mac=node.mac,
        state=state,
        wired=wired,
        daemons=tuple(observe.with_truth(observed, daemon, answers) for daemon in node.daemons),
        problem="" if wired else observed.problems.get(node.name, ""),
    )


def _not_ready(snapshot: Snapshot, seconds: float) -> TimedOut:
    missing = [f"{one.name}: {one.seen}" for one in snapshot.requirements if not one.holds]
    unready = [
        f"{node.name}/{one.name} is {one.state}"
        for node in snapshot.nodes
        for one in node.daemons
        if one.state != "ready"
    ]
    return TimedOut(
        f"The daemons are up, but the lab is not whole after {seconds:g} s.",
        why="; ".join(missing or unready),
        remedy="`k8slab status` shows each daemon's own view, `k8slab logs TARGET` its log.",
    )
