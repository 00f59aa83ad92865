"""From a TaskInfo with a ContainerInfo of type DOCKER to what the engine is told."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from k8slab.mesos.agent.payload import variables
from k8slab.mesos.resources import Resources

MIB = 1 << 20
SHARES_PER_CPU = 1024
SMALLEST_SHARES = 2
SMALLEST_MEMORY = 32 * MIB
CFS_PERIOD_US = 100_000


def specification(task: Mapping[str, Any], *, sandbox: Path, mapped_directory: str, quota: bool) -> dict[str, Any]:
    """The body of the engine's create call. Raises ValueError for what cannot be had, KeyError for what is missing."""
    container, docker = task["container"], task["container"]["docker"]
    command = task.get("command") or {}
    resources = Resources.from_json(task.get("resources", ()))
    cpus, memory = resources.scalar("cpus"), int(resources.scalar("mem") * MIB)
    environment = {**variables(command), "MESOS_SANDBOX": mapped_directory}
    host: dict[str, Any] = {
        "Binds": [f"{sandbox}:{mapped_directory}", *_volumes(container, sandbox, mapped_directory)],
        "Privileged": bool(docker.get("privileged", False)),
        "NetworkMode": _network(container, docker),
        "CpuShares": max(SMALLEST_SHARES, int(cpus * SHARES_PER_CPU)),
        "Memory": max(SMALLEST_MEMORY, memory),
    }
    if quota:
        host |= {"CpuPeriod": CFS_PERIOD_US, "CpuQuota": int(cpus * CFS_PERIOD_US)}
    spec: dict[str, Any] = {
        "Image": docker["image"],
        "Env": [f"{name}={value}" for name, value in environment.items()],
        "Labels": {},
        "HostConfig": host,
        "ExposedPorts": {},
    }
    entrypoint, arguments = entry(command)
    if entrypoint:
        spec["Entrypoint"] = entrypoint
    if arguments:
        spec["Cmd"] = arguments
    if "hostname" in container:
        spec["Hostname"] = container["hostname"]
    _publish(spec, docker, resources)
    for parameter in docker.get("parameters", ()):
        _parameter(spec, parameter["key"], parameter["value"])
    return spec


def entry(command: Mapping[str, Any]) -> tuple[list[str], list[str]]:
    """Entrypoint and arguments; both empty leave it to the image."""
    value = command.get("value")
    if command.get("shell", True):
        if value is None:
            raise ValueError("Shell specified but no command value provided")
        return ["/bin/sh"], ["-c", value]
    return [value] if value else [], list(command.get("arguments", ()))


def _network(container: Mapping[str, Any], docker: Mapping[str, Any]) -> str:
    kind = docker.get("network", "HOST")
    if kind != "USER":
        return str(kind).lower()
    names = [info["name"] for info in container.get("network_infos", ()) if "name" in info]
    if len(names) != 1:
        raise ValueError("network USER needs exactly one named network in network_infos")
    return str(names[0])


def _publish(spec: dict[str, Any], docker: Mapping[str, Any], resources: Resources) -> None:
    """Host ports are resources: only the task's own can be mapped."""
    mappings = docker.get("port_mappings", ())
    if mappings and docker.get("network", "HOST") not in ("BRIDGE", "USER"):
        raise ValueError("Port mappings are only supported for bridge and user-defined networks")
    bindings: dict[str, list[dict[str, str]]] = {}
    owned = [span for (name, _), spans in resources.ranges.items() if name == "ports" for span in spans]
    for mapping in mappings:
        host_port = int(mapping["host_port"])
        if not any(low <= host_port <= high for low, high in owned):
            raise ValueError(f"Port [{host_port}] not included in resources")
        port = f"{int(mapping['container_port'])}/{mapping.get('protocol', 'tcp').lower()}"
        spec["ExposedPorts"][port] = {}
        bindings.setdefault(port, []).append({"HostPort": str(host_port)})
    spec["HostConfig"]["PortBindings"] = bindings


def _volumes(container: Mapping[str, Any], sandbox: Path, mapped_directory: str) -> list[str]:
    binds = []
    for volume in container.get("volumes", ()):
        inside = Path(mapped_directory, volume["container_path"])
        # Absolute paths stay what they are; relative ones are in the sandbox, on either side.
        outside = Path(sandbox, volume.get("host_path", volume["container_path"].lstrip("/")))
        if not Path(volume.get("host_path", "")).is_absolute():
            if not outside.resolve().is_relative_to(sandbox.resolve()):
                raise ValueError(f"volume {volume['host_path']} is not in the sandbox")
            outside.mkdir(parents=True, exist_ok=True)
        binds.append(f"{outside}:{inside}:{volume.get('mode', 'RW').lower()}")
    return binds


def _parameter(spec: dict[str, Any], key: str, value: str) -> None:
    """One option as of docker's own command line. Raises ValueError for those that are not served here."""
    host = spec["HostConfig"]
    match key:
        case "env":
            spec["Env"].append(value)
        case "label":
            name, _, text = value.partition("=")
            spec["Labels"][name] = text
        case "hostname":
            spec["Hostname"] = value
        case "workdir":
            spec["WorkingDir"] = value
        case "user":
            spec["User"] = value
        case "volume":
            host["Binds"].append(value)
        case "add-host":
            host.setdefault("ExtraHosts", []).append(value)
        case "cap-add":
            host.setdefault("CapAdd", []).append(value)
        case "cap-drop":
            host.setdefault("CapDrop", []).append(value)
        case other:
            raise ValueError(f"parameter '{other}' is not supported")
