"""Everything that a bug report needs, in one folder: the status, versions, and the logs of every machine and daemon."""

from __future__ import annotations

import json
import platform
from pathlib import Path, PurePosixPath
from typing import Any

import k8slab
from k8slab.lab import observe, specs
from k8slab.lab.parallel import in_parallel
from k8slab.lab.runtime.base import Machine, Runtime
from k8slab.snapshot import Snapshot, as_json, plain
from k8slab.topology.resolved import Topology

LOGS = "/var/log"
SUPERVISORS_OWN = ("lock", "state")
SANDBOXES = "/var/lib/mesos/slaves"
LOGS_OF_ALL_CONTAINERS = """
docker ps -a --no-trunc
for name in $(docker ps -a --format '{{.Names}}'); do
    echo "== $name"
    docker logs --timestamps "$name" 2>&1
done
"""


def export(runtime: Runtime, topology: Topology, snapshot: Snapshot, directory: Path) -> Path:
    """Write the lab's state and logs below ``directory``; machines that are off are read all the same."""
    directory.mkdir(parents=True, exist_ok=True)
    machines = observe.machines_of(runtime, topology.lab)
    _write(directory / "status.json", as_json(snapshot))
    _write(directory / "topology.json", json.loads(topology.source))
    _write(directory / "versions.json", _versions(runtime, topology))
    _write(directory / "machines.json", [plain(machine) for machine in machines.values()])
    if specs.switch_name(topology.lab) in machines:
        _write(directory / "wires.json", observe.wire_report(runtime, topology.lab))
    in_parallel(
        lambda machine: _machine(runtime, topology, machine, directory / "logs" / machine.name), machines.values()
    )
    return directory


def _versions(runtime: Runtime, topology: Topology) -> dict[str, Any]:
    images = sorted({*(node.image for node in topology.nodes), specs.SWITCH_IMAGE})
    return {
        "k8slab": k8slab.__version__,
        "python": platform.python_version(),
        "kernel": platform.release(),
        "system": platform.platform(),
        "engine": plain(runtime.info()),
        "images": dict(runtime.image_ids(images)),
    }


def _machine(runtime: Runtime, topology: Topology, machine: Machine, folder: Path) -> None:
    _put(folder / "boot.log", runtime.boot_log(machine.name).encode())
    daemons = {daemon.name for node in topology.nodes if node.container == machine.name for daemon in node.daemons}
    for path, content in runtime.read(machine.name, LOGS).items():
        within = PurePosixPath(path).relative_to("log")
        if within.parts[0] in daemons and within.name not in SUPERVISORS_OWN:
            _put(folder / within, content)
    if "mesos-slave" in daemons:
        _sandboxes(runtime, machine, folder)
    if "docker" in daemons and observe.is_running(machine):
        logs = runtime.execute(machine.name, ["sh", "-c", LOGS_OF_ALL_CONTAINERS])
        _put(folder / "containers.log", logs.output.encode())


def _sandboxes(runtime: Runtime, machine: Machine, folder: Path) -> None:
    """What executors and tasks of Mesos have written."""
    for path, content in runtime.read(machine.name, SANDBOXES).items():
        if PurePosixPath(path).name in ("stdout", "stderr"):
            _put(folder / "sandboxes" / path, content)


def _put(path: Path, content: bytes) -> None:
    if content:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)


def _write(path: Path, value: Any) -> None:
    path.write_text(json.dumps(value, indent=2, sort_keys=True) + "\n")
