"""Pure translation: a pod's sandbox and containers as the engine's creation requests."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from k8slab.kube import quantity
from k8slab.kube.kubelet import naming, security
from k8slab.kube.kubelet.environment import expand
from k8slab.kube.kubelet.payload import SOURCES
from k8slab.kube.kubelet.privileges import Machine
from k8slab.kube.kubelet.resolver import names_of
from k8slab.kube.kubelet.spec import all_containers
from k8slab.kube.kubelet.status import qos_class

_PERIOD: Final = 100_000
_LEAST_QUOTA: Final = 1_000
_LEAST_SHARES: Final = 2
_LEAST_MEMORY: Final = 6 * 1024 * 1024
_PROPAGATION: Final = {"None": "rprivate", "HostToContainer": "rslave", "Bidirectional": "rshared"}
_SANDBOX_SCORE: Final = -998
_GUARANTEED_SCORE: Final = -997
_NO_RESTART: Final = {"Name": "no"}
# A chatty pod must not fill the disk of the node it shares with the others.
_LOG: Final = {"Type": "json-file", "Config": {"max-size": "10m", "max-file": "2"}}


def sandbox_config(
    pod: Mapping[str, Any], *, image: str, node: str, attempt: int, domain: str, machine: Machine
) -> dict[str, Any]:
    """The pause container, which owns the pod's network and IPC namespaces, its host name and its host ports.

    ``domain``: the cluster's, such as "cluster.local".
    """
    spec = pod["spec"]
    name = naming.container_name(pod, naming.SANDBOX, attempt)
    host: dict[str, Any] = {
        "RestartPolicy": _NO_RESTART,
        "LogConfig": _LOG,
        "IpcMode": "host" if spec.get("hostIPC") else "shareable",
        "CpuShares": _LEAST_SHARES,
        "OomScoreAdj": max(_SANDBOX_SCORE, machine.oom_score),
        "Sysctls": {one["name"]: one.get("value") or "" for one in security.of_pod(pod).get("sysctls") or ()},
    }
    config: dict[str, Any] = {"Image": image, "Labels": naming.labels(name, node), "HostConfig": host}
    if spec.get("hostPID"):
        host["PidMode"] = "host"
    if spec.get("hostNetwork"):
        host["NetworkMode"] = "host"
        return config
    hostname, subdomain = names_of(pod, domain)
    if subdomain and spec.get("setHostnameAsFQDN"):
        hostname = f"{hostname}.{subdomain}"
    config |= {"Hostname": hostname, "Domainname": "" if spec.get("setHostnameAsFQDN") else subdomain}
    bindings: dict[str, list[dict[str, str]]] = {}
    for port in host_ports(pod):
        binding = {"HostIp": port.get("hostIP") or "", "HostPort": str(port["hostPort"])}
        bindings.setdefault(_exposed(port), []).append(binding)
    config["ExposedPorts"] = {key: {} for key in bindings}
    host["PortBindings"] = bindings
    return config


def host_ports(pod: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    return [port for one in all_containers(pod) for port in one.get("ports") or () if port.get("hostPort")]


def container_config(
    pod: Mapping[str, Any],
    container: Mapping[str, Any],
    *,
    image: str,
    node: str,
    attempt: int,
    sandbox: str,
    environment: Mapping[str, str],
    binds: Sequence[str],
    user: str,
    machine: Machine,
) -> dict[str, Any]:
    """One container of the pod, living in the namespaces of the container with the id ``sandbox``.

    ``user``: "user[:group]", empty for the image's own.
    """
    spec = pod["spec"]
    name = naming.container_name(pod, container["name"], attempt)
    inside = f"container:{sandbox}"
    host: dict[str, Any] = {
        "RestartPolicy": _NO_RESTART,
        "LogConfig": _LOG,
        "NetworkMode": inside,
        "IpcMode": "host" if spec.get("hostIPC") else inside,
        "Binds": list(binds),
        **_resources(container.get("resources") or {}),
        "OomScoreAdj": max(oom_score(pod, container, machine.memory), machine.oom_score),
        **security.privileges(pod, container),
    }
    if spec.get("hostPID"):
        host["PidMode"] = "host"
    elif spec.get("shareProcessNamespace"):
        host["PidMode"] = inside
    config: dict[str, Any] = {
        "Image": image,
        "Labels": naming.labels(name, node) | {naming.LABEL_MESSAGE_PATH: _message_path(container)},
        "Env": [f"{key}={value}" for key, value in environment.items()],
        "HostConfig": host,
        "OpenStdin": bool(container.get("stdin")),
        "StdinOnce": bool(container.get("stdinOnce")),
        "Tty": bool(container.get("tty")),
    }
    if container.get("command"):
        config["Entrypoint"] = [expand(word, environment) for word in container["command"]]
    if container.get("args"):
        config["Cmd"] = [expand(word, environment) for word in container["args"]]
    if container.get("workingDir"):
        config["WorkingDir"] = container["workingDir"]
    if user:
        config["User"] = user
    return config


def binds(
    pod: Mapping[str, Any], container: Mapping[str, Any], sources: Sequence[Path], message_file: Path
) -> list[str]:
    """ "host:inside[:options]" for each mount; ``sources``: where on the node each of them comes from."""
    made_of_objects = {
        volume["name"] for volume in pod["spec"].get("volumes") or () if any(key in volume for key in SOURCES)
    }
    result = []
    for mount, source in zip(container.get("volumeMounts") or (), sources, strict=True):
        options = ["ro"] if mount.get("readOnly") or mount["name"] in made_of_objects else []
        options += [_PROPAGATION[mount["mountPropagation"]]] if mount.get("mountPropagation") else []
        result.append(":".join([str(source), mount["mountPath"], *filter(None, [",".join(options)])]))
    return [*result, f"{message_file}:{_message_path(container)}"]


def oom_score(pod: Mapping[str, Any], container: Mapping[str, Any], memory: int) -> int:
    """How soon the kernel kills the container when the machine's ``memory`` (bytes) runs out: 1000 is at once."""
    match qos_class(pod):
        case "Guaranteed":
            return _GUARANTEED_SCORE
        case "BestEffort":
            return 1000
    resources = container.get("resources") or {}
    requests = {**(resources.get("limits") or {}), **(resources.get("requests") or {})}
    score = 1000 - 1000 * quantity.whole(requests.get("memory", 0)) // max(1, memory)
    return min(999, max(1000 + _GUARANTEED_SCORE, score))


def _message_path(container: Mapping[str, Any]) -> str:
    return container.get("terminationMessagePath") or "/dev/termination-log"


def _exposed(port: Mapping[str, Any]) -> str:
    return f"{port['containerPort']}/{(port.get('protocol') or 'TCP').lower()}"


def _resources(resources: Mapping[str, Any]) -> dict[str, Any]:
    limits = resources.get("limits") or {}
    requests = {**limits, **(resources.get("requests") or {})}
    shares = int(quantity.cores(requests.get("cpu", 0)) * 1024)
    result: dict[str, Any] = {"CpuShares": max(_LEAST_SHARES, shares)}
    if cpu := quantity.cores(limits.get("cpu", 0)):
        result |= {"CpuPeriod": _PERIOD, "CpuQuota": max(_LEAST_QUOTA, int(cpu * _PERIOD))}
    if memory := quantity.whole(limits.get("memory", 0)):
        # The same for both: a pod over its memory limit is killed, not swapped.
        result["Memory"] = result["MemorySwap"] = max(_LEAST_MEMORY, memory)
    return result
