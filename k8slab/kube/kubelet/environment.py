"""The environment of a container: declared variables, the downward API's fields, $(VAR) expansion, services."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from k8slab.kube.quantity import parse

_POD_FIELDS: Final = {
    "metadata.name": ("metadata", "name"),
    "metadata.namespace": ("metadata", "namespace"),
    "metadata.uid": ("metadata", "uid"),
    "spec.nodeName": ("spec", "nodeName"),
    "spec.serviceAccountName": ("spec", "serviceAccountName"),
    "status.podIP": ("status", "podIP"),
    "status.hostIP": ("status", "hostIP"),
}


def expand(text: str, variables: Mapping[str, str]) -> str:
    """Replace $(NAME); "$$" is a literal "$"; a reference to an unknown name stays as written."""
    parts: list[str] = []
    position = 0
    while (dollar := text.find("$", position)) >= 0 and dollar + 1 < len(text):
        parts.append(text[position:dollar])
        following = text[dollar + 1]
        end = text.find(")", dollar) if following == "(" else -1
        if following == "$":
            parts.append("$")
            position = dollar + 2
        elif end > 0:
            name = text[dollar + 2 : end]
            parts.append(variables.get(name, text[dollar : end + 1]))
            position = end + 1
        else:
            parts.append("$")
            position = dollar + 1
    parts.append(text[position:])
    return "".join(parts)


def field(pod: Mapping[str, Any], path: str) -> str:
    """The value of a downward API field. Raises KeyError for a path that is none."""
    for maps in ("labels", "annotations"):
        if path.startswith(f"metadata.{maps}['") and path.endswith("']"):
            return str((pod["metadata"].get(maps) or {}).get(path[len(maps) + 11 : -2], ""))
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


RESOURCE_FIELDS: Final = ("limits.cpu", "limits.memory", "requests.cpu", "requests.memory")


def resource_field(pod: Mapping[str, Any], container: str, reference: Mapping[str, Any]) -> str:
    """A container's own limit or request, rounded up to the reference's divisor (1 when none)."""
    owner = reference.get("containerName") or container
    spec: Mapping[str, Any] = next((one for one in pod["spec"]["containers"] if one["name"] == owner), {})
    kind, _, name = reference["resource"].partition(".")
    resources = spec.get("resources") or {}
    amounts = resources.get(kind) or resources.get("limits" if kind == "requests" else kind) or {}
    divisor = parse(reference.get("divisor") or 1) or parse(1)
    return str(math.ceil(parse(amounts.get(name, 0)) / divisor))


def container_environment(
    pod: Mapping[str, Any], container: Mapping[str, Any], services: Mapping[str, str]
) -> dict[str, str]:
    """All variables of a container; later ones see earlier ones, declared ones win over the services'."""
    result: dict[str, str] = {}
    known = dict(services)
    for variable in container.get("env") or ():
        source = variable.get("valueFrom") or {}
        if "fieldRef" in source:
            text = field(pod, source["fieldRef"]["fieldPath"])
        elif "resourceFieldRef" in source:
            text = resource_field(pod, container["name"], source["resourceFieldRef"])
        else:
            text = expand(str(variable.get("value") or ""), known)
        result[variable["name"]] = known[variable["name"]] = text
    return {**services, **result}


def service_environment(services: Iterable[Mapping[str, Any]], namespace: str, *, links: bool) -> dict[str, str]:
    """NAME_SERVICE_HOST and its kin for the services a pod can see.

    The API's own service (default/kubernetes) is always there; the others of the namespace when ``links`` is wanted.
    """
    result: dict[str, str] = {}
    for service in services:
        meta, spec = service["metadata"], service["spec"]
        master = meta["namespace"] == "default" and meta["name"] == "kubernetes"
        address = spec.get("clusterIP")
        if not address or address == "None" or not (master or (links and meta["namespace"] == namespace)):
            continue
        result.update(_one_service(meta["name"].upper().replace("-", "_"), address, spec.get("ports") or ()))
    return result


def _one_service(name: str, address: str, ports: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    if not ports:
        return {}
    result = {f"{name}_SERVICE_HOST": address, f"{name}_SERVICE_PORT": str(ports[0]["port"])}
    for port in ports:
        if port.get("name"):
            result[f"{name}_SERVICE_PORT_{port['name'].upper().replace('-', '_')}"] = str(port["port"])
    for index, port in enumerate(ports):
        protocol = port.get("protocol") or "TCP"
        url = f"{protocol.lower()}://{address}:{port['port']}"
        prefix = f"{name}_PORT_{port['port']}_{protocol}"
        if index == 0:
            result[f"{name}_PORT"] = url
        result |= {
            prefix: url,
            f"{prefix}_PROTO": protocol.lower(),
            f"{prefix}_PORT": str(port["port"]),
            f"{prefix}_ADDR": address,
        }
    return result
