"""What of a pod this kubelet cannot do. Such a pod is refused aloud: to run half of what it asks for would be a lie."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import Any, Final

from k8slab.kube.kubelet import hostpath, payload
from k8slab.kube.kubelet.downward import MAPS, RESOURCE_FIELDS, knows_field

_VOLUME_SOURCES: Final = frozenset({"emptyDir", "hostPath", *payload.SOURCES})
_MEDIUMS: Final = frozenset({"", "Memory"})
_ENV_SOURCES: Final = frozenset({"fieldRef", "resourceFieldRef", "configMapKeyRef", "secretKeyRef"})
_CONTAINER_UNSUPPORTED: Final = ("volumeDevices",)
_POD_UNSUPPORTED: Final = (
    "ephemeralContainers",
    "hostUsers",
    "resourceClaims",
    "runtimeClassName",
    "setHostnameAsFQDN",
)
_POD_SECURITY: Final = frozenset({"runAsUser", "runAsGroup", "runAsNonRoot", "supplementalGroups", "fsGroup"})
_CONTAINER_SECURITY: Final = frozenset(
    {"privileged", "capabilities", "runAsUser", "runAsGroup", "runAsNonRoot", "readOnlyRootFilesystem"}
    | {"allowPrivilegeEscalation", "seccompProfile"}
)


def unsupported(pod: Mapping[str, Any]) -> list[str]:
    """One sentence for each thing that is asked for and cannot be given; empty when the pod can run as written."""
    return list(_problems(pod["spec"]))


def _problems(spec: Mapping[str, Any]) -> Iterator[str]:
    for name in _POD_UNSUPPORTED:
        if spec.get(name):
            yield f"spec.{name} is not supported by this kubelet"
    yield from _foreign("spec.securityContext", spec.get("securityContext"), _POD_SECURITY)
    volumes = [volume["name"] for volume in spec.get("volumes") or ()]
    for volume in spec.get("volumes") or ():
        yield from _volume_problems(volume)
    for container in (*(spec.get("initContainers") or ()), *spec["containers"]):
        yield from _container_problems(container, volumes, spec.get("securityContext") or {})


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


def _container_problems(
    container: Mapping[str, Any], volumes: Collection[str], pod_security: Mapping[str, Any]
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


def _foreign(where: str, context: Mapping[str, Any] | None, known: frozenset[str]) -> Iterator[str]:
    for key, value in (context or {}).items():
        if key not in known and value:
            yield f"{where}.{key} is not supported by this kubelet"
