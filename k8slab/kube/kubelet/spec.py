"""What a pod declares, read with the API's defaults."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

Container = Mapping[str, Any]

DEFAULT_GRACE: Final = 30


def main_containers(pod: Mapping[str, Any]) -> Sequence[Container]:
    return list(pod["spec"]["containers"])


def init_containers(pod: Mapping[str, Any]) -> Sequence[Container]:
    """In the order in which they run, sidecars among them."""
    return list(pod["spec"].get("initContainers") or ())


def all_containers(pod: Mapping[str, Any]) -> Sequence[Container]:
    return [*init_containers(pod), *main_containers(pod)]


def container_named(pod: Mapping[str, Any], name: str) -> Container:
    """An empty one for a name that the pod does not have."""
    return next((one for one in all_containers(pod) if one["name"] == name), {})


def told_status(pod: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    """The container's part of the status that the pod comes with, an empty one when it has none."""
    status = pod.get("status") or {}
    statuses = (*(status.get("initContainerStatuses") or ()), *(status.get("containerStatuses") or ()))
    return next((one for one in statuses if one.get("name") == name), {})


def is_sidecar(container: Container) -> bool:
    """Of an init container: whether it goes on beside the main containers."""
    return container.get("restartPolicy") == "Always"


def is_static(pod: Mapping[str, Any]) -> bool:
    """Whether it is a file on its node, which runs it with or without the API."""
    return (pod["metadata"].get("annotations") or {}).get("kubernetes.io/config.source") == "file"


def restart_policy(pod: Mapping[str, Any]) -> str:
    return str(pod["spec"].get("restartPolicy") or "Always")


def termination_grace(pod: Mapping[str, Any]) -> int:
    """Seconds that its containers have from being asked to end to being killed."""
    grace = pod["spec"].get("terminationGracePeriodSeconds")
    return DEFAULT_GRACE if grace is None else int(grace)


def updated_spec(before: Mapping[str, Any], now: Mapping[str, Any]) -> dict[str, Any]:
    """The spec of ``now``, with the ports of ``before``: the API may know less of host ports than the node was told."""
    spec = dict(now["spec"])
    for field in ("initContainers", "containers"):
        ports = {one["name"]: one["ports"] for one in before["spec"].get(field) or () if "ports" in one}
        if field in spec:
            spec[field] = [
                {**one, "ports": ports[one["name"]]} if one["name"] in ports else one for one in spec[field] or ()
            ]
    return spec
