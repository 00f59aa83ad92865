"""Taking a lab away: nodes, then what the switch made on the host, then the switch, then the volumes."""

from __future__ import annotations

import json
from collections.abc import Callable

from k8slab.errors import ImageMissing, StepFailed
from k8slab.lab import labels, observe, specs
from k8slab.lab.apply import Event, Listener
from k8slab.lab.parallel import in_parallel
from k8slab.lab.runtime.base import Machine, Runtime
from k8slab.snapshot import Change

CLEAN = ("k8slab-switch", "clean")


def everything(runtime: Runtime, lab: str, listener: Listener) -> tuple[Change, ...]:
    """Remove all that carries the lab's mark; what is gone already is not an error. Returns what was there."""
    machines = observe.machines_of(runtime, lab)
    switch = machines.pop(specs.switch_name(lab), None)
    changes: list[Change] = []
    for change in in_parallel(lambda machine: _remove_node(runtime, machine, listener), machines.values()):
        changes.append(change)
    if switch is not None or _is_marked_on_host(lab):
        changes += _clean_host(runtime, lab, switch, listener)
    if switch is not None:
        runtime.remove("machine", switch.name)
        changes.append(Change("removed", "switch"))
    owned = [volume.name for volume in runtime.volumes() if volume.labels.get(labels.LAB) == lab]
    in_parallel(lambda name: runtime.remove("volume", name), owned)
    changes += [Change("removed", f"volume {name}") for name in owned]
    return tuple(changes)


def _remove_node(runtime: Runtime, machine: Machine, listener: Listener) -> Change:
    name = machine.labels.get(labels.NODE, machine.name)
    runtime.remove("machine", machine.name)
    listener(Event("note", text=f"removed {name}"))
    return Change("removed", name)


def _clean_host(runtime: Runtime, lab: str, switch: Machine | None, listener: Listener) -> list[Change]:
    """Let the switch take back its bridge, links and firewall rules; a fresh one does it when the lab's is not up."""
    listener(Event("note", text="removing bridge, wires and firewall rules"))
    if observe.is_running(switch):
        return _cleaned(runtime, specs.switch_name(lab))
    return _with_stand_in(runtime, lab, lambda name: _cleaned(runtime, name))


def _cleaned(runtime: Runtime, name: str) -> list[Change]:
    executed = runtime.execute(name, CLEAN)
    if executed.code != 0:
        raise StepFailed(
            "The switch could not take back what it had made on the host.",
            why=executed.output.strip().splitlines()[-1] if executed.output.strip() else "",
            remedy="Run `k8slab rm` again; `ip -br link` and `iptables-save | grep k8slab` show what is left.",
            output=executed.output,
        )
    report = json.loads(executed.output)
    found = [Change("removed", f"wire {link['name']}") for link in report.get("links", [])]
    if report.get("bridge"):
        found.append(Change("removed", f"bridge {report['bridge']}"))
    return found + [Change("removed", f"firewall rule {rule}") for rule in report.get("rules", [])]


def _with_stand_in(runtime: Runtime, lab: str, use: Callable[[str], list[Change]]) -> list[Change]:
    """A switch that wires nothing (its program sleeps) and has all the rights to clean up after the real one."""
    if not runtime.image_ids([specs.SWITCH_IMAGE]):
        raise ImageMissing([specs.SWITCH_IMAGE])
    spec = specs.cleaner_spec(lab, socket=runtime.info().socket)
    runtime.remove("machine", spec.name)
    runtime.create(spec)
    try:
        runtime.power(spec.name, "start")
        return use(spec.name)
    finally:
        runtime.remove("machine", spec.name)


def _is_marked_on_host(lab: str) -> bool:
    # Slow to import, and needed only here.
    from k8slab.lab.switch import survey

    return bool(survey.marked_links(lab))
