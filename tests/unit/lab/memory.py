"""An engine in memory: it keeps what it is told, so that tests see what a lab makes of a plan."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from k8slab.errors import NodeFailed
from k8slab.lab import labels
from k8slab.lab.runtime.base import EngineInfo, Executed, Kind, Machine, MachineSpec, Verb, Volume
from k8slab.lab.specs import FILES, unpacked


@dataclass
class MemoryRuntime:
    """Every machine is wired by its switch at once; ``broken`` daemons die, ``slow`` ones never get ready."""

    machines_by_name: dict[str, Machine] = field(default_factory=dict)
    volumes_by_name: dict[str, Volume] = field(default_factory=dict)
    daemons: dict[str, dict[str, str]] = field(default_factory=dict)
    unwired: set[str] = field(default_factory=set)
    broken: set[str] = field(default_factory=set)
    slow: set[str] = field(default_factory=set)
    no_images: bool = False
    calls: list[str] = field(default_factory=list)

    def info(self) -> EngineInfo:
        return EngineInfo("24.0", "/run/docker.sock", False, "2", "overlay2", "", "/nowhere")

    def image_ids(self, names: Sequence[str]) -> Mapping[str, str]:
        return {} if self.no_images else {name: f"id-of-{name}" for name in names}

    def machines(self) -> list[Machine]:
        return list(self.machines_by_name.values())

    def volumes(self) -> list[Volume]:
        return list(self.volumes_by_name.values())

    def create(self, spec: MachineSpec) -> None:
        self.calls.append(f"create {spec.name}")
        machine = Machine(f"id-{spec.name}", spec.name, "created", f"id-of-{spec.image}", spec.labels)
        self.machines_by_name[spec.name] = machine
        files = unpacked(spec.environment[FILES]) if FILES in spec.environment else {}
        services = [path.split("/") for path in files if path.startswith("/etc/service/")]
        self.daemons[spec.name] = {parts[3]: "down" for parts in services if parts[4:] == ["run"]}
        for mount in spec.mounts:
            if mount.is_volume:
                self.volumes_by_name[mount.source] = Volume(mount.source, spec.volume_labels)

    def power(self, name: str, verb: Verb) -> None:
        self.calls.append(f"{verb} {name}")
        states = {"start": "running", "unpause": "running", "pause": "paused", "kill": "stopped", "stop": "stopped"}
        self.machines_by_name[name] = replace(self.machines_by_name[name], state=states[verb])

    def remove(self, kind: Kind, name: str) -> None:
        self.calls.append(f"remove {name}")
        if kind == "machine":
            self.machines_by_name.pop(name, None)
        else:
            self.volumes_by_name.pop(name, None)

    def boot_log(self, name: str, *, lines: int = 2000, errors: bool = True) -> str:
        if errors:
            return f"{name} has booted\n"
        return self.read(name, "")["wires.json"].decode()

    def execute(self, name: str, command: Sequence[str]) -> Executed:
        self.calls.append(f"{name}: {' '.join(command)}")
        if name not in self.machines_by_name:
            raise NodeFailed(f"There is no machine {name}.")
        states = self.daemons.get(name, {})
        match list(command):
            case [_, "start", daemon, _]:
                if daemon in self.broken:
                    return Executed(3, "")
                if daemon in self.slow:
                    return Executed(4, "")
                states[daemon] = "ready"
            case [_, "stop", daemon, *_]:
                states[daemon] = "down"
            case [_, "status"]:
                return Executed(0, "\n".join(_status(daemon, state) for daemon, state in states.items()))
            case ["tail", *_]:
                return Executed(0, "the end of the log\n")
            case ["k8slab-switch", "recheck"]:
                self.unwired.clear()
            case ["k8slab-switch", "clean"]:
                return Executed(0, '{"links": [{"name": "v1"}], "bridge": "", "rules": []}')
        return Executed(0, "")

    def read(self, name: str, path: str) -> dict[str, bytes]:
        nodes = {
            machine.labels[labels.NODE]: {
                "wired": machine.labels[labels.NODE] not in self.unwired,
                "container": machine.id,
                "problem": "its wire is gone",
            }
            for machine in self.machines_by_name.values()
            if labels.NODE in machine.labels and machine.state in ("running", "paused")
        }
        return {"wires.json": json.dumps({"ready": True, "nodes": nodes}).encode()}


def _status(daemon: str, state: str) -> str:
    flags = {
        "ready": "true true true true 42 -1 -1",
        "up": "true true true false 42 -1 -1",
        "down": "false false false false -1 0 15",
        "failed": "false true true false -1 1 -1",
    }
    return f"{daemon} {flags[state]} 5 0"
