"""What of a pod this kubelet cannot do. Such a pod is refused aloud: to run half of what it asks for would be a lie."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from k8slab.kube.kubelet.environment import RESOURCE_FIELDS, knows_field

_VOLUME_SOURCES: Final = frozenset({"emptyDir", "hostPath"})
_CONTAINER_UNSUPPORTED: Final = (
    "envFrom",
    "volumeDevices",
)
_POD_UNSUPPORTED: Final = (
    "ephemeralContainers",
    "hostUsers",
    "resourceClaims",
    "runtimeClassName",
    "setHostnameAsFQDN",
)
_POD_SECURITY: Final = frozenset({"runAsUser", "runAsGroup", "runAsNonRoot", "supplementalGroups"})
_CONTAINER_SECURITY: Final = frozenset(
    {"privileged", "capabilities", "runAsUser", "runAsGroup", "runAsNonRoot", "readOnlyRootFilesystem"}
    | {"allowPrivilegeEscalation", "seccompProfile"}
)
_HOST_PATH_TYPES: Final = frozenset({"", "DirectoryOrCreate", "Directory", "FileOrCreate", "File", "Socket"})


def unsupported(pod: Mapping[str, Any]) -> list[str]:
    """One sentence for each thing that is asked for and cannot be given; empty when the pod can run as written."""
    return list(_problems(pod["spec"]))


def _problems(spec: Mapping[str, Any]) -> Iterator[str]:
    for name in _POD_UNSUPPORTED:
        if spec.get(name):
            yield f"spec.{name} is not supported by this kubelet"
    yield from _foreign("spec.securityContext", spec.get("securityContext"), _POD_SECURITY)
    volumes: dict[str, str] = {}
    for volume in spec.get("volumes") or ():
        source = next((key for key in volume if key != "name"), "emptyDir")
        volumes[volume["name"]] = source
        if source not in _VOLUME_SOURCES:
            yield f"volume {volume['name']}: {source} is not supported by this kubelet"
        elif source == "hostPath" and (volume[source].get("type") or "") not in _HOST_PATH_TYPES:
            yield f"volume {volume['name']}: hostPath type {volume[source]['type']} is not supported by this kubelet"
    for container in (*(spec.get("initContainers") or ()), *spec["containers"]):
        yield from _container_problems(container, volumes, spec.get("securityContext") or {})


def _container_problems(
    container: Mapping[str, Any], volumes: Mapping[str, str], pod_security: Mapping[str, Any]
) -> Iterator[str]:
    where = f"container {container['name']}"
    for name in _CONTAINER_UNSUPPORTED:
        if container.get(name):
            yield f"{where}: {name} is not supported by this kubelet"
    yield from _foreign(f"{where}: securityContext", container.get("securityContext"), _CONTAINER_SECURITY)
    security = {**pod_security, **(container.get("securityContext") or {})}
    if (security.get("seccompProfile") or {}).get("type") == "Localhost":
        yield f"{where}: seccompProfile Localhost is not supported by this kubelet"
    if security.get("runAsNonRoot") and not security.get("runAsUser"):
        yield f"{where}: runAsNonRoot without a runAsUser other than 0 is not supported by this kubelet"
    for variable in container.get("env") or ():
        source = variable.get("valueFrom") or {}
        path = (source.get("fieldRef") or {}).get("fieldPath")
        resource = (source.get("resourceFieldRef") or {}).get("resource")
        if path is not None and not knows_field(path):
            yield f"{where}: env {variable['name']}: field {path} is not supported by this kubelet"
        elif resource is not None and resource not in RESOURCE_FIELDS:
            yield f"{where}: env {variable['name']}: resource {resource} is not supported by this kubelet"
        for key in source:
            if key not in ("fieldRef", "resourceFieldRef"):
                yield f"{where}: env {variable['name']}: {key} is not supported by this kubelet"
    for mount in container.get("volumeMounts") or ():
        if mount["name"] not in volumes:
            yield f"{where}: volumeMount {mount['name']} names no volume of the pod"
        for key in ("subPath", "subPathExpr", "mountPropagation", "recursiveReadOnly"):
            if mount.get(key) and mount[key] not in ("None", "Disabled"):
                yield f"{where}: volumeMount {mount['name']}: {key} is not supported by this kubelet"


def _foreign(where: str, context: Mapping[str, Any] | None, known: frozenset[str]) -> Iterator[str]:
    for key, value in (context or {}).items():
        if key not in known and value:
            yield f"{where}.{key} is not supported by this kubelet"
