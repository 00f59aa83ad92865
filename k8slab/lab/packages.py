"""Putting a package into a lab, and taking it out: daemons, the framework in Mesos with its executors, the machine."""

from __future__ import annotations

from k8slab.errors import StepFailed
from k8slab.lab import observe, perform
from k8slab.lab.apply import Event, Listener
from k8slab.lab.lab import Lab
from k8slab.snapshot import Change
from k8slab.topology.packages.places import place, without_package
from k8slab.topology.resolved import Topology


def uninstall(lab: Lab, name: str, *, listener: Listener) -> tuple[Change, ...]:
    """Nothing is done where the package is not installed. Raises StepFailed when Mesos cannot be asked to end it."""
    if not place(lab.topology, name).installed:
        return ()
    smaller = without_package(lab.topology, name)
    machine = lab.topology.node(name).container
    done: tuple[Change, ...] = ()
    if observe.is_running(observe.machines_of(lab.runtime, lab.name).get(machine)):
        done += lab.kill([name], listener=listener)
    framework = str(place(lab.topology, name).options["framework-name"])
    listener(Event("note", text=f"Ending the framework {framework}, and waiting for its executors."))
    _end_framework(lab, name, framework)
    return done + Lab(lab.runtime, smaller).shed(name, listener=listener)


def _end_framework(lab: Lab, name: str, framework: str) -> None:
    remedy = f"`k8slab start zk mm` if no master leads, then `k8slab package uninstall {name}` again."
    there = observe.machines_of(lab.runtime, lab.name)
    hosts = [lab.topology.node(name), *lab.topology.with_daemon("mesos-master")]
    running = [node for node in hosts if observe.is_running(there.get(node.container))]
    if not running:
        raise StepFailed("No machine runs from which Mesos could be asked to end the framework.", remedy=remedy)
    words = [
        "km",
        "teardown",
        f"--mesos-master={masters(lab.topology)}",
        f"--framework-name={framework}",
        f"--framework-hostname={name}",
    ]
    asked = lab.runtime.execute(running[0].container, words)
    if asked.code != 0:
        raise StepFailed(f"The framework {framework} could not be ended.", remedy=remedy, output=asked.output)


def masters(topology: Topology) -> str:
    """As Mesos' clients take them."""
    return perform.client_environment(perform.NOWHERE, topology)["MESOS_MASTER"]
