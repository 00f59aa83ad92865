"""The downward API: what of a pod its own containers may read, as text."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any, Final

from k8slab.kube.quantity import parse

RESOURCE_FIELDS: Final = tuple(
    f"{kind}.{name}" for kind in ("limits", "requests") for name in ("cpu", "memory", "ephemeral-storage")
)
MAPS: Final = ("metadata.labels", "metadata.annotations")
_POD_FIELDS: Final = {
    "metadata.name": ("metadata", "name"),
    "metadata.namespace": ("metadata", "namespace"),
    "metadata.uid": ("metadata", "uid"),
    "spec.nodeName": ("spec", "nodeName"),
    "spec.serviceAccountName": ("spec", "serviceAccountName"),
    "status.podIP": ("status", "podIP"),
    "status.hostIP": ("status", "hostIP"),
}


def field(pod: Mapping[str, Any], path: str) -> str:
    """The value of a downward API field; of all labels or annotations: key="value" lines. KeyError for no such path."""
    for maps in MAPS:
        if path.startswith(f"{maps}['") and path.endswith("']"):
            return str((pod["metadata"].get(maps[9:]) or {}).get(path[len(maps) + 2 : -2], ""))
        if path == maps:
            pairs = sorted((pod["metadata"].get(maps[9:]) or {}).items())
            return "\n".join(f"{key}={json.dumps(value, ensure_ascii=False)}" for key, value in pairs)
    if path in ("status.podIPs", "status.hostIPs"):
        return field(pod, path[:-1])
    section, key = _POD_FIELDS[path]
    return str((pod.get(section) or {}).get(key, ""))


def knows_field(path: str) -> bool:
    try:
        field({"metadata": {}, "spec": {}, "status": {}}, path)
    except KeyError:
        return False
    return True


def resource_field(
    pod: Mapping[str, Any], container: str, reference: Mapping[str, Any], allocatable: Mapping[str, Any]
) -> str:
    """A container's limit or request in units of the reference's divisor (1 when none), rounded up.

    What it does not limit is limited by what its node has: ``allocatable``.
    """
    owner = reference.get("containerName") or container
    everyone = (*pod["spec"]["containers"], *(pod["spec"].get("initContainers") or ()))
    spec: Mapping[str, Any] = next((one for one in everyone if one["name"] == owner), {})
    kind, _, name = reference["resource"].partition(".")
    resources = spec.get("resources") or {}
    limits, requests = resources.get("limits") or {}, resources.get("requests") or {}
    amount = limits.get(name, allocatable.get(name, 0)) if kind == "limits" else requests.get(name, limits.get(name, 0))
    divisor = parse(reference.get("divisor") or 1) or parse(1)
    return str(math.ceil(parse(amount) / divisor))
