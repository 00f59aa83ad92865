"""What volumes and variables must be like that are made of other objects, with the original's sentences."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from k8slab.kube.api import validation
from k8slab.kube.api.errors import FieldProblem

_MODE: Final = "must be a number between 0 and 0777 (octal), both inclusive"
_HOST_PATHS: Final = (
    *("", "BlockDevice", "CharDevice", "Directory", "DirectoryOrCreate", "File", "FileOrCreate", "Socket"),
)
_VOLUME_FIELDS: Final = (
    *("metadata.annotations", "metadata.labels", "metadata.name", "metadata.namespace", "metadata.uid"),
)
_ENV_FIELDS: Final = (
    *("metadata.name", "metadata.namespace", "metadata.uid", "spec.nodeName", "spec.serviceAccountName"),
    *("status.hostIP", "status.hostIPs", "status.podIP", "status.podIPs"),
)
_KNOWN_FIELDS: Final = frozenset({*_VOLUME_FIELDS, *_ENV_FIELDS})
_RESOURCES: Final = (
    *("limits.cpu", "limits.ephemeral-storage", "limits.memory"),
    *("requests.cpu", "requests.ephemeral-storage", "requests.memory"),
)
_KEYED: Final = re.compile(r"metadata\.(?:labels|annotations)\['.+'\]")
_SOURCES: Final = ("fieldRef", "resourceFieldRef", "configMapKeyRef", "secretKeyRef", "fileKeyRef")
_PROJECTIONS: Final = ("secret", "configMap", "downwardAPI", "serviceAccountToken", "clusterTrustBundle")
_SHORTEST_TOKEN: Final = 600
_LONGEST_TOKEN: Final = 2**32


def source_problems(volume: Mapping[str, Any], path: str) -> Iterator[FieldProblem]:
    """Of one volume, whose place is ``path``."""
    if (secret := volume.get("secret")) is not None:
        where = f"{path}.secret"
        if not secret.get("secretName"):
            yield validation.required(f"{where}.secretName")
        yield from _modes(secret, where)
        yield from _keys(secret.get("items") or (), f"{where}.items")
    if (config := volume.get("configMap")) is not None:
        where = f"{path}.configMap"
        if not config.get("name"):
            yield validation.required(f"{where}.name")
        yield from _modes(config, where)
        yield from _keys(config.get("items") or (), f"{where}.items")
    if (downward := volume.get("downwardAPI")) is not None:
        yield from _modes(downward, f"{path}.downwardAPI")
        yield from _downward(downward.get("items") or (), f"{path}.downwardAPI")
    if (projected := volume.get("projected")) is not None:
        yield from _modes(projected, f"{path}.projected")
        yield from _projected(projected.get("sources") or (), f"{path}.projected")
    if (host := volume.get("hostPath")) is not None:
        where = f"{path}.hostPath"
        if not host.get("path"):
            yield validation.required(f"{where}.path")
        elif ".." in host["path"].split("/"):
            yield validation.invalid(f"{where}.path", host["path"], "must not contain '..'")
        yield from validation.one_of(f"{where}.type", host.get("type") or "", _HOST_PATHS)
    if (claim := volume.get("persistentVolumeClaim")) is not None and not claim.get("claimName"):
        yield validation.required(f"{path}.persistentVolumeClaim.claimName")
    if (share := volume.get("nfs")) is not None:
        yield from (validation.required(f"{path}.nfs.{one}") for one in ("server", "path") if not share.get(one))
        if share.get("path") and not share["path"].startswith("/"):
            yield validation.invalid(f"{path}.nfs.path", share["path"], "must be an absolute path")


def env_problems(variable: Mapping[str, Any], path: str) -> Iterator[FieldProblem]:
    """Of one variable's ``valueFrom``."""
    source = variable.get("valueFrom")
    if source is None:
        return
    where = f"{path}.valueFrom"
    named = [name for name in _SOURCES if source.get(name) is not None]
    if not named:
        known = ", ".join(f"`{name}`" for name in _SOURCES[:-1])
        yield validation.invalid(where, "", f"must specify one of: {known} or `{_SOURCES[-1]}`")
    elif variable.get("value"):
        yield validation.invalid(where, "", "may not be specified when `value` is not empty")
    elif len(named) > 1:
        yield validation.invalid(where, "", "may not have more than one field specified at a time")
    if (reference := source.get("fieldRef")) is not None:
        yield from _field(reference, f"{where}.fieldRef", _ENV_FIELDS)
    if (reference := source.get("resourceFieldRef")) is not None:
        yield from _resource(reference, f"{where}.resourceFieldRef", volume=False)
    for kind in ("configMapKeyRef", "secretKeyRef"):
        if (reference := source.get(kind)) is not None:
            yield from (
                validation.required(f"{where}.{kind}.{field}") for field in ("name", "key") if not reference.get(field)
            )


def env_from_problems(source: Mapping[str, Any], path: str) -> Iterator[FieldProblem]:
    """Of one source of variables."""
    named = [name for name in ("configMapRef", "secretRef") if source.get(name) is not None]
    if not named:
        yield validation.invalid(path, "", "must specify one of: `configMapRef` or `secretRef`")
    elif len(named) > 1:
        yield validation.invalid(path, "", "may not have more than one field specified at a time")
    yield from (validation.required(f"{path}.{name}.name") for name in named if not source[name].get("name"))


def _modes(source: Mapping[str, Any], path: str, field: str = "defaultMode") -> Iterator[FieldProblem]:
    mode = source.get(field)
    if mode is not None and not 0 <= mode <= 0o777:
        yield validation.invalid(f"{path}.{field}", mode, _MODE)


def _keys(items: Sequence[Mapping[str, Any]], path: str) -> Iterator[FieldProblem]:
    for index, item in enumerate(items):
        where = f"{path}[{index}]"
        if not item.get("key"):
            yield validation.required(f"{where}.key")
        yield from _inner_path(item, where)
        yield from _modes(item, where, "mode")


def _inner_path(item: Mapping[str, Any], where: str) -> Iterator[FieldProblem]:
    path = item.get("path") or ""
    if not path:
        yield validation.required(f"{where}.path")
    elif path.startswith("/"):
        yield validation.invalid(f"{where}.path", path, "must be a relative path")
    elif ".." in path.split("/"):
        yield validation.invalid(f"{where}.path", path, "must not contain '..'")
    elif path.startswith(".."):
        yield validation.invalid(f"{where}.path", path, "must not start with '..'")


def _downward(items: Sequence[Mapping[str, Any]], path: str) -> Iterator[FieldProblem]:
    for item in items:
        # The original names no index here.
        yield from _inner_path(item, path)
        field, resource = item.get("fieldRef"), item.get("resourceFieldRef")
        if field is not None:
            yield from _field(field, f"{path}.fieldRef", _VOLUME_FIELDS)
            if resource is not None:
                why = "fieldRef and resourceFieldRef can not be specified simultaneously"
                yield validation.invalid(path, "resource", why)
        elif resource is not None:
            yield from _resource(resource, f"{path}.resourceFieldRef", volume=True)
        else:
            yield validation.required(path, "one of fieldRef and resourceFieldRef is required")
        yield from _modes(item, path, "mode")


def _projected(sources: Sequence[Mapping[str, Any]], path: str) -> Iterator[FieldProblem]:
    for index, source in enumerate(sources):
        where = f"{path}.sources[{index}]"
        named = [name for name in _PROJECTIONS if source.get(name) is not None]
        if not named:
            yield validation.required(where, "must specify a volume type")
        for extra in named[1:]:
            yield validation.forbidden(f"{where}.{extra}", "may not specify more than 1 volume type per source")
        for kind in ("secret", "configMap"):
            if (found := source.get(kind)) is not None:
                if not found.get("name"):
                    yield validation.required(f"{where}.{kind}.name")
                yield from _keys(found.get("items") or (), f"{where}.{kind}.items")
        if (downward := source.get("downwardAPI")) is not None:
            yield from _downward(downward.get("items") or (), f"{where}.downwardAPI")
        if (token := source.get("serviceAccountToken")) is not None:
            yield from _token(token, f"{where}.serviceAccountToken")


def _token(token: Mapping[str, Any], where: str) -> Iterator[FieldProblem]:
    seconds = token.get("expirationSeconds")
    if seconds is not None and seconds < _SHORTEST_TOKEN:
        why = "may not specify a duration less than 10 minutes"
        yield validation.invalid(f"{where}.expirationSeconds", seconds, why)
    if seconds is not None and seconds > _LONGEST_TOKEN:
        why = "may not specify a duration larger than 2^32 seconds"
        yield validation.invalid(f"{where}.expirationSeconds", seconds, why)
    yield from _inner_path(token, where)


def _field(reference: Mapping[str, Any], where: str, known: Sequence[str]) -> Iterator[FieldProblem]:
    path = reference.get("fieldPath") or ""
    if not path:
        yield validation.required(f"{where}.fieldPath")
    elif _KEYED.fullmatch(path):
        return
    elif path not in _KNOWN_FIELDS:
        why = f"error converting fieldPath: field label not supported: {path}"
        yield validation.invalid(f"{where}.fieldPath", path, why)
    elif path not in known:
        yield validation.not_supported(f"{where}.fieldPath", path, known)


def _resource(reference: Mapping[str, Any], where: str, *, volume: bool) -> Iterator[FieldProblem]:
    resource = reference.get("resource") or ""
    if volume and not reference.get("containerName"):
        yield validation.required(f"{where}.containerName")
    elif not resource:
        yield validation.required(f"{where}.resource")
    elif resource not in _RESOURCES and ".hugepages-" not in resource:
        yield validation.not_supported(f"{where}.resource", resource, _RESOURCES)
