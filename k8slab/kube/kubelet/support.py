"""What of a pod this kubelet cannot do. Such a pod is refused aloud: to run half of what it asks for would be a lie."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import Any, Final

from k8slab.kube.kubelet import hostpath, payload, security
from k8slab.kube.kubelet.downward import MAPS, RESOURCE_FIELDS, knows_field
from k8slab.kube.kubelet.privileges import this_machine

_VOLUME_SOURCES: Final = frozenset({"emptyDir", "hostPath", *payload.SOURCES})
_MEDIUMS: Final = frozenset({"", "Memory"})
_ENV_SOURCES: Final = frozenset({"fieldRef", "resourceFieldRef", "configMapKeyRef", "secretKeyRef"})
_CONTAINER_UNSUPPORTED: Final = ("volumeDevices",)
_POD_UNSUPPORTED: Final = (
    "ephemeralContainers",
    "hostUsers",
    "resourceClaims",
    "runtimeClassName",
)
_POD_SECURITY: Final = frozenset(
    {"runAsUser", "runAsGroup", "runAsNonRoot", "supplementalGroups", "fsGroup", "fsGroupChangePolicy"}
    | {"seccompProfile", "appArmorProfile", "sysctls"}
)
_CONTAINER_SECURITY: Final = frozenset(
    {"privileged", "capabilities", "runAsUser", "runAsGroup", "runAsNonRoot", "readOnlyRootFilesystem"}
    | {"allowPrivilegeEscalation", "seccompProfile", "appArmorProfile", "procMount"}
)
# Those that change nothing outside of the pod.
_SAFE_SYSCTLS: Final = frozenset(
    {"kernel.shm_rmid_forced", "net.ipv4.ip_local_port_range", "net.ipv4.ip_local_reserved_ports"}
    | {"net.ipv4.tcp_syncookies", "net.ipv4.ping_group_range", "net.ipv4.ip_unprivileged_port_start"}
    | {"net.ipv4.tcp_keepalive_time", "net.ipv4.tcp_keepalive_intvl", "net.ipv4.tcp_keepalive_probes"}
    | {"net.ipv4.tcp_fin_timeout", "net.ipv4.tcp_rmem", "net.ipv4.tcp_wmem"}
)


def unsupported(pod: Mapping[str, Any], missing: Collection[str] | None = None) -> list[str]:
    """One sentence for each thing that is asked for and cannot be given; empty when the pod can run as written.

    ``missing``: capabilities that nobody has here, this machine's when not given.
    """
    return list(_problems(pod, this_machine().missing if missing is None else missing))


def _problems(pod: Mapping[str, Any], missing: Collection[str]) -> Iterator[str]:
    spec = pod["spec"]
    for name in _POD_UNSUPPORTED:
        if spec.get(name):
            yield f"spec.{name} is not supported by this kubelet"
    yield from _foreign("spec.securityContext", spec.get("securityContext"), _POD_SECURITY)
    for sysctl in security.of_pod(pod).get("sysctls") or ():
        if (name := sysctl.get("name") or "") not in _SAFE_SYSCTLS:
            yield f'forbidden sysctl: "{name}" not allowlisted'
    volumes = [volume["name"] for volume in spec.get("volumes") or ()]
    for volume in spec.get("volumes") or ():
        yield from _volume_problems(volume)
    for container in (*(spec.get("initContainers") or ()), *spec["containers"]):
        yield from _container_problems(container, volumes)
        yield from _security_problems(pod, container, missing)


def _volume_problems(volume: Mapping[str, Any]) -> Iterator[str]:
    where = f"volume {volume['name']}"
    source = next((key for key in volume if key != "name"), "emptyDir")
    said = "is not supported by this kubelet"
    if source not in _VOLUME_SOURCES:
        yield f"{where}: {source} {said}"
    elif source == "hostPath" and (volume[source].get("type") or "") not in hostpath.TYPES:
        yield f"{where}: hostPath type {volume[source]['type']} {said}"
    elif source == "emptyDir" and (volume[source].get("medium") or "") not in _MEDIUMS:
        yield f"{where}: emptyDir medium {volume[source]['medium']} {said}"
    projections = (volume.get("projected") or {}).get("sources") or ()
    yield from (
        f"{where}: projected {key} {said}" for one in projections for key in one if key not in payload.PROJECTED
    )
    for downward in (volume.get("downwardAPI"), *(one.get("downwardAPI") for one in projections)):
        for item in (downward or {}).get("items") or ():
            yield from (f"{where}: {problem}" for problem in _reference_problems(item, maps=True))


def _reference_problems(source: Mapping[str, Any], *, maps: bool) -> Iterator[str]:
    """``maps``: whether all labels or annotations may be meant."""
    path = (source.get("fieldRef") or {}).get("fieldPath")
    resource = (source.get("resourceFieldRef") or {}).get("resource")
    if path is not None and (not knows_field(path) or (path in MAPS and not maps)):
        yield f"field {path} is not supported by this kubelet"
    elif resource is not None and resource not in RESOURCE_FIELDS:
        yield f"resource {resource} is not supported by this kubelet"


def _container_problems(container: Mapping[str, Any], volumes: Collection[str]) -> Iterator[str]:
    where = f"container {container['name']}"
    for name in _CONTAINER_UNSUPPORTED:
        if container.get(name):
            yield f"{where}: {name} is not supported by this kubelet"
    for variable in container.get("env") or ():
        source = variable.get("valueFrom") or {}
        yield from (
            f"{where}: env {variable['name']}: {problem}" for problem in _reference_problems(source, maps=False)
        )
        for key in source:
            if key not in _ENV_SOURCES:
                yield f"{where}: env {variable['name']}: {key} is not supported by this kubelet"
    for mount in container.get("volumeMounts") or ():
        if mount["name"] not in volumes:
            yield f"{where}: volumeMount {mount['name']} names no volume of the pod"
        if mount.get("recursiveReadOnly") in ("IfPossible", "Enabled"):
            yield f"{where}: volumeMount {mount['name']}: recursiveReadOnly is not supported by this kubelet"


def _security_problems(pod: Mapping[str, Any], container: Mapping[str, Any], missing: Collection[str]) -> Iterator[str]:
    where = f"container {container['name']}: securityContext"
    yield from _foreign(where, container.get("securityContext"), _CONTAINER_SECURITY)
    context = security.of_container(pod, container)
    for profile in ("seccompProfile", "appArmorProfile"):
        if (context.get(profile) or {}).get("type") == "Localhost":
            yield f"{where}: {profile} Localhost is not supported by this kubelet"
    if context.get("procMount") not in (None, "Default"):
        yield f"{where}: procMount {context['procMount']} is not supported by this kubelet"
    wanted = set((context.get("capabilities") or {}).get("add") or ())
    everything = bool(context.get("privileged")) or "ALL" in wanted
    if withheld := sorted(set(missing) if everything else set(missing) & wanted):
        what = "privileged" if context.get("privileged") else "capabilities"
        yield f"{where}: {what}: this machine gives nobody {', '.join(f'CAP_{name}' for name in withheld)}"


def _foreign(where: str, context: Mapping[str, Any] | None, known: frozenset[str]) -> Iterator[str]:
    for key, value in (context or {}).items():
        if key not in known and value:
            yield f"{where}.{key} is not supported by this kubelet"
