"""Pure translation: a pod's sandbox and containers as the engine's creation requests."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from k8slab.kube import quantity
from k8slab.kube.kubelet import naming
from k8slab.kube.kubelet.environment import expand
from k8slab.kube.kubelet.payload import SOURCES

_PERIOD: Final = 100_000
_LEAST_QUOTA: Final = 1_000
_LEAST_SHARES: Final = 2
_LEAST_MEMORY: Final = 6 * 1024 * 1024
_PROPAGATION: Final = {"None": "rprivate", "HostToContainer": "rslave", "Bidirectional": "rshared"}
_NO_RESTART: Final = {"Name": "no"}
# A chatty pod must not fill the disk of the node it shares with the others.
_LOG: Final = {"Type": "json-file", "Config": {"max-size": "10m", "max-file": "2"}}


@dataclass(frozen=True)
class DnsConfig:
    """``servers``: the cluster's DNS, empty when there is none; ``domain``: "cluster.local"."""

    servers: tuple[str, ...] = ()
    domain: str = "cluster.local"


def sandbox_config(pod: Mapping[str, Any], *, image: str, node: str, attempt: int, dns: DnsConfig) -> dict[str, Any]:
    """The pause container, which owns the pod's network and IPC namespaces, its host name and its host ports."""
    spec = pod["spec"]
    name = naming.container_name(pod, naming.SANDBOX, attempt)
    host: dict[str, Any] = {
        "RestartPolicy": _NO_RESTART,
        "LogConfig": _LOG,
        "IpcMode": "host" if spec.get("hostIPC") else "shareable",
        "CpuShares": _LEAST_SHARES,
        **_dns(pod, dns),
    }
    config: dict[str, Any] = {"Image": image, "Labels": naming.labels(name, node), "HostConfig": host}
    if spec.get("hostPID"):
        host["PidMode"] = "host"
    if spec.get("hostNetwork"):
        host["NetworkMode"] = "host"
        return config
    host["ExtraHosts"] = [
        f"{alias}:{entry['ip']}" for entry in spec.get("hostAliases") or () for alias in entry.get("hostnames") or ()
    ]
    config["Hostname"] = (spec.get("hostname") or pod["metadata"]["name"])[:63].rstrip("-.")
    if subdomain := spec.get("subdomain"):
        config["Domainname"] = f"{subdomain}.{pod['metadata']['namespace']}.svc.{dns.domain}"
    bindings: dict[str, list[dict[str, str]]] = {}
    for port in host_ports(pod):
        binding = {"HostIp": port.get("hostIP") or "", "HostPort": str(port["hostPort"])}
        bindings.setdefault(_exposed(port), []).append(binding)
    config["ExposedPorts"] = {key: {} for key in bindings}
    host["PortBindings"] = bindings
    return config


def host_ports(pod: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    return [port for one in pod["spec"]["containers"] for port in one.get("ports") or () if port.get("hostPort")]


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
) -> dict[str, Any]:
    """One container of the pod, living in the namespaces of the container with the id ``sandbox``."""
    spec = pod["spec"]
    context = {**(spec.get("securityContext") or {}), **(container.get("securityContext") or {})}
    name = naming.container_name(pod, container["name"], attempt)
    inside = f"container:{sandbox}"
    host: dict[str, Any] = {
        "RestartPolicy": _NO_RESTART,
        "LogConfig": _LOG,
        "NetworkMode": inside,
        "IpcMode": "host" if spec.get("hostIPC") else inside,
        "Binds": list(binds),
        **_resources(container.get("resources") or {}),
        **_privileges(context),
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
    if context.get("runAsUser") is not None:
        group = context.get("runAsGroup")
        config["User"] = str(context["runAsUser"]) + (f":{group}" if group is not None else "")
    if groups := (spec.get("securityContext") or {}).get("supplementalGroups"):
        host["GroupAdd"] = [str(group) for group in groups]
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


def _message_path(container: Mapping[str, Any]) -> str:
    return container.get("terminationMessagePath") or "/dev/termination-log"


def _exposed(port: Mapping[str, Any]) -> str:
    return f"{port['containerPort']}/{(port.get('protocol') or 'TCP').lower()}"


def _dns(pod: Mapping[str, Any], cluster: DnsConfig) -> dict[str, Any]:
    """The resolver's settings: the cluster's when the policy asks for it and there is one, else the node's."""
    spec = pod["spec"]
    policy = spec.get("dnsPolicy") or "ClusterFirst"
    own = spec.get("dnsConfig") or {}
    servers: list[str] = []
    search: list[str] = []
    options: list[str] = []
    wants_cluster = policy == "ClusterFirstWithHostNet" or (policy == "ClusterFirst" and not spec.get("hostNetwork"))
    if wants_cluster and cluster.servers:
        namespace = pod["metadata"]["namespace"]
        servers = list(cluster.servers)
        search = [f"{namespace}.svc.{cluster.domain}", f"svc.{cluster.domain}", cluster.domain]
        options = ["ndots:5"]
    servers += own.get("nameservers") or []
    search += own.get("searches") or []
    options += [
        f"{one['name']}:{one['value']}" if one.get("value") else one["name"] for one in own.get("options") or ()
    ]
    return {"Dns": servers, "DnsSearch": search, "DnsOptions": options}


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


def _privileges(context: Mapping[str, Any]) -> dict[str, Any]:
    result: dict[str, Any] = {}
    if context.get("privileged"):
        result["Privileged"] = True
    if context.get("readOnlyRootFilesystem"):
        result["ReadonlyRootfs"] = True
    options = ["no-new-privileges"] if context.get("allowPrivilegeEscalation") is False else []
    if (context.get("seccompProfile") or {}).get("type") == "Unconfined":
        options.append("seccomp=unconfined")
    if options:
        result["SecurityOpt"] = options
    capabilities = context.get("capabilities") or {}
    if capabilities.get("add"):
        result["CapAdd"] = list(capabilities["add"])
    if capabilities.get("drop"):
        result["CapDrop"] = list(capabilities["drop"])
    return result
