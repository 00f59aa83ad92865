"""The environment of a container: declared variables, the downward API's fields, $(VAR) expansion, services."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from k8slab.kube.kubelet.downward import field, resource_field
from k8slab.kube.kubelet.objects import Supplies, Undecodable, values

_VARIABLE: Final = re.compile(r"[-._a-zA-Z][-._a-zA-Z0-9]*")
_ENV_FROM: Final = (("configMapRef", "configmaps", "configMap"), ("secretRef", "secrets", "secret"))
_KEY_REFS: Final = (("configMapKeyRef", "configmaps", "ConfigMap"), ("secretKeyRef", "secrets", "Secret"))


class ConfigError(Exception):
    """What of a container's configuration cannot be had; the container waits with CreateContainerConfigError."""


@dataclass(frozen=True)
class Environment:
    """``skipped``: a sentence for each source of variables some of whose keys are no names for variables."""

    variables: dict[str, str]
    skipped: tuple[str, ...] = ()


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


async def container_environment(
    pod: Mapping[str, Any], container: Mapping[str, Any], services: Mapping[str, str], supplies: Supplies
) -> Environment:
    """All variables of a container; later ones see earlier ones, declared ones win over the services'.

    Raises ConfigError, ApiError and ApiUnavailable.
    """
    own: dict[str, str] = {}
    skipped: list[str] = []
    for source in container.get("envFrom") or ():
        taken, invalid = await _all_of(pod, source, supplies)
        own |= taken
        skipped += invalid
    for variable in container.get("env") or ():
        source = variable.get("valueFrom") or {}
        if source:
            text = await _value_from(pod, container, source, supplies)
        else:
            text = expand(str(variable.get("value") or ""), {**services, **own})
        if text is not None:
            own[variable["name"]] = text
    return Environment({**services, **own}, tuple(skipped))


async def _all_of(
    pod: Mapping[str, Any], source: Mapping[str, Any], supplies: Supplies
) -> tuple[dict[str, str], list[str]]:
    """The variables that an object's keys make, and a sentence about those keys that make none."""
    resource, reference = next((name, source[key]) for key, name, _ in _ENV_FROM if key in source)
    found = await _object(pod, resource, reference, supplies)
    if found is None:
        return {}, []
    prefix = source.get("prefix") or ""
    named = {prefix + key: value for key, value in _texts(found).items()}
    invalid = sorted(key for key in named if not _VARIABLE.fullmatch(key))
    if not invalid:
        return named, []
    word = next(word for _, name, word in _ENV_FROM if name == resource)
    said = (
        f"Keys [{', '.join(invalid)}] from the EnvFrom {word} {pod['metadata']['namespace']}/{reference['name']} "
        "were skipped since they are considered invalid environment variable names."
    )
    return {key: value for key, value in named.items() if key not in invalid}, [said]


async def _value_from(
    pod: Mapping[str, Any], container: Mapping[str, Any], source: Mapping[str, Any], supplies: Supplies
) -> str | None:
    if "fieldRef" in source:
        return field(pod, source["fieldRef"]["fieldPath"])
    if "resourceFieldRef" in source:
        return resource_field(pod, container["name"], source["resourceFieldRef"], await supplies.allocatable())
    key, resource, word = next(one for one in _KEY_REFS if one[0] in source)
    reference = source[key]
    found = await _object(pod, resource, reference, supplies)
    if found is None:
        return None
    texts = _texts(found)
    if reference["key"] not in texts:
        if reference.get("optional"):
            return None
        where = f"{pod['metadata']['namespace']}/{reference['name']}"
        raise ConfigError(f"couldn't find key {reference['key']} in {word} {where}")
    return texts[reference["key"]]


async def _object(
    pod: Mapping[str, Any], resource: str, reference: Mapping[str, Any], supplies: Supplies
) -> Mapping[str, Any] | None:
    """None for one that is not there and need not be."""
    found = await supplies.find(pod, resource, str(reference.get("name") or ""))
    if found is None and not reference.get("optional"):
        raise ConfigError(f'{resource[:-1]} "{reference.get("name")}" not found')
    return found


def _texts(obj: Mapping[str, Any]) -> dict[str, str]:
    if obj["kind"] == "ConfigMap":
        return dict(obj.get("data") or {})
    try:
        return {key: value.decode(errors="surrogateescape") for key, value in values(obj).items()}
    except Undecodable as error:
        raise ConfigError(str(error)) from error


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
