"""How each step is done, and the files a lab's folder holds for people."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from k8slab.errors import DaemonFailed, DaemonTimedOut, NodeFailed, WireFailed
from k8slab.lab import observe, specs
from k8slab.lab.lock import make
from k8slab.lab.runtime.base import Runtime
from k8slab.lab.steps import (
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
from k8slab.topology.resolved import Daemon, Node, Topology

TOPOLOGY_FILE = "topology.json"
KUBECONFIG_FILE = "kubeconfig"
# For those who only want to know addresses.
NOWHERE = Path()
DAEMONCTL = "/usr/lib/k8slab/daemonctl"
RECHECK = ("k8slab-switch", "recheck")
DIED, NOT_READY = 3, 4
WIRE_PATIENCE = 30.0
WIRE_LOOK_EVERY = 0.04
LOG_TAIL = 20


class Performer:
    """Does the steps of one plan. Safe to use from many threads."""

    def __init__(self, runtime: Runtime, topology: Topology) -> None:
        self.runtime, self.topology = runtime, topology
        self.wires = WireWatch(runtime, topology.lab)

    def perform(self, step: Step) -> None:
        match step:
            case RemoveMachine():
                self.runtime.remove("machine", step.container)
            case StartSwitch():
                if step.spec is not None:
                    self.runtime.create(step.spec)
                self.runtime.power(step.container, "start")
            case CreateNode():
                self.runtime.create(step.spec)
                self.runtime.power(step.node.container, "start")
            case StartNode():
                self.runtime.power(step.node.container, "start")
            case UnpauseNode():
                self.runtime.power(step.node.container, "unpause")
            case PressButton():
                self.runtime.power(step.node.container, step.button)
            case PlugWire():
                if step.again:
                    # Not a signal from the engine: it would take the switch for stopped on purpose, and a restarted
                    # engine would leave it down.
                    self.runtime.execute(specs.switch_name(self.topology.lab), RECHECK)
                self.wires.wait_for(step.node, WIRE_PATIENCE)
            case StartDaemon():
                self._start(step.node, step.daemon, step.timeout)
            case StopDaemon():
                self._stop(step.node, step.daemon, step.signal)
            case _:
                raise AssertionError(f"nobody knows how to do {type(step).__name__}")

    def _start(self, node: Node, daemon: Daemon, timeout: float) -> None:
        seconds = str(max(1, round(timeout)))
        executed = self.runtime.execute(node.container, [DAEMONCTL, "start", daemon.name, seconds])
        if executed.code == 0:
            return
        log = log_tail(self.runtime, node, daemon)
        if executed.code == NOT_READY:
            raise DaemonTimedOut(node.name, daemon.name, timeout, log)
        why = "It died each of three times it was started." if executed.code == DIED else executed.output.strip()
        raise DaemonFailed(node.name, daemon.name, why, log)

    def _stop(self, node: Node, daemon: Daemon, signal: str) -> None:
        words = [DAEMONCTL, "stop", daemon.name, *([signal] if signal else [])]
        executed = self.runtime.execute(node.container, words)
        if executed.code != 0:
            raise NodeFailed(
                f"{daemon.name} on {node.name} could not be killed.",
                why=executed.output.strip() or f"its supervisor answered {executed.code}",
                remedy=f"`k8slab kill {daemon.target} --signal KILL` does not ask it.",
            )


class WireWatch:
    """Many steps wait for wires at once; the switch's report is read for all of them together, not once for each."""

    def __init__(self, runtime: Runtime, lab: str) -> None:
        self.runtime, self.lab = runtime, lab
        self._lock = threading.Lock()
        self._report: Mapping[str, Any] = {}
        self._read_at = 0.0

    def wait_for(self, node: Node, seconds: float) -> None:
        """Until the switch calls ``node`` wired. Raises WireFailed with what the switch says instead."""
        deadline = time.monotonic() + seconds
        said: Mapping[str, Any] = {}
        while time.monotonic() < deadline:
            report = self._latest()
            said = report.get("nodes", {}).get(node.name, {})
            if said.get("wired"):
                return
            pause(WIRE_LOOK_EVERY)
        why = said.get("problem") or self._report.get("error") or "the switch does not see it"
        raise WireFailed(
            f"{node.name} was not wired within {seconds:g} s.",
            why=why,
            remedy=f"`docker logs {specs.switch_name(self.lab)}` has the switch's own words.",
        )

    def _latest(self) -> Mapping[str, Any]:
        with self._lock:
            if time.monotonic() - self._read_at >= WIRE_LOOK_EVERY:
                self._report = observe.wire_report(self.runtime, self.lab)
                self._read_at = time.monotonic()
            return self._report


def pause(seconds: float) -> None:
    """Between two looks at something that sends no event."""
    threading.Event().wait(seconds)


def log_tail(runtime: Runtime, node: Node, daemon: Daemon, lines: int = LOG_TAIL) -> str:
    """The last lines of a daemon's log; whatever keeps them from being read is said in their place."""
    executed = runtime.execute(node.container, ["tail", "-n", str(lines), f"/var/log/{daemon.name}/current"])
    return executed.output


def write_lab_folder(directory: Path, topology: Topology) -> None:
    """The resolved topology and a kubeconfig: for people and their tools; the lab itself lives without them."""
    make(directory)
    _put(directory / TOPOLOGY_FILE, topology.source)
    apiservers = topology.addresses("apiserver")
    if apiservers:
        config = kubeconfig(topology.lab, f"http://{apiservers[0]}")
        _put(directory / KUBECONFIG_FILE, yaml.safe_dump(config, sort_keys=False))


def _put(path: Path, text: str) -> None:
    """Write a file that others may be reading: they see the old one or the new one, never half of it."""
    if path.is_file() and path.read_text() == text:
        return
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    draft.write_text(text)
    draft.replace(path)


def kubeconfig(lab: str, server: str) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": lab, "cluster": {"server": server}}],
        "contexts": [{"name": lab, "context": {"cluster": lab, "user": lab}}],
        "users": [{"name": lab, "user": {}}],
        "current-context": lab,
    }


def client_environment(directory: Path, topology: Topology) -> dict[str, str]:
    """Variables under which kubectl, etcdctl and Mesos' tools find this lab."""
    found = {"K8SLAB_LAB": topology.lab}
    apiservers = topology.addresses("apiserver")
    if apiservers:
        found["KUBECONFIG"] = str(directory / KUBECONFIG_FILE)
        found["KUBERNETES_MASTER"] = f"http://{apiservers[0]}"
    # Where a package brings an etcd of its own, that is the one with Kubernetes' objects.
    members = topology.addresses("etcd-server") or topology.addresses("etcd")
    if members:
        found["ETCDCTL_API"] = "3"
        found["ETCDCTL_ENDPOINTS"] = ",".join(f"http://{member}" for member in members)
    masters, keepers = ",".join(topology.addresses("mesos-master")), ",".join(topology.addresses("zookeeper"))
    if keepers:
        found["ZOOKEEPER"] = keepers
    if masters:
        found["MESOS_MASTER"] = f"zk://{keepers}/mesos" if keepers else masters
    return found
