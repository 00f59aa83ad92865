"""The files of volumes that are made of objects: configMap, secret, downwardAPI, projected."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import PurePosixPath
from typing import Any, Final

from k8slab.kube.client import Object
from k8slab.kube.kubelet import security
from k8slab.kube.kubelet.atomic import File
from k8slab.kube.kubelet.downward import field, resource_field
from k8slab.kube.kubelet.objects import Pod, Supplies, Undecodable, values
from k8slab.kube.kubelet.spec import all_containers

Files = dict[str, File]

SOURCES: Final = ("configMap", "secret", "downwardAPI", "projected")
PROJECTED: Final = ("configMap", "secret", "downwardAPI", "serviceAccountToken")
_DEFAULT_MODE: Final = 0o644
_TOKEN_MODE: Final = 0o600
_TOKEN_SECONDS: Final = 3600


class VolumeError(Exception):
    """A volume that cannot be made as the pod wants it."""


async def files_of(volume: Mapping[str, Any], pod: Pod, supplies: Supplies) -> Files:
    """All files of one volume. Raises VolumeError, ApiError and ApiUnavailable."""
    kind = next(key for key in SOURCES if key in volume)
    source = volume[kind] or {}
    mode = source.get("defaultMode")
    mode = _DEFAULT_MODE if mode is None else int(mode)
    if kind != "projected":
        return await _one_source(kind, source, mode, pod, supplies)
    files: Files = {}
    for projection in source.get("sources") or ():
        for one in PROJECTED:
            if one in projection:
                files |= await _one_source(one, projection[one] or {}, mode, pod, supplies)
    return files


async def _one_source(kind: str, source: Mapping[str, Any], mode: int, pod: Pod, supplies: Supplies) -> Files:
    match kind:
        case "configMap":
            found = await supplies.find(pod, "configmaps", str(source.get("name") or ""))
            return _of_object("configmap", source, mode, found)
        case "secret":
            name = source.get("secretName") or source.get("name")
            return _of_object("secret", source, mode, await supplies.find(pod, "secrets", str(name or "")))
        case "downwardAPI":
            allocatable = await supplies.allocatable() if _needs_allocatable(pod, source) else {}
            return _downward(source.get("items") or (), mode, pod, allocatable)
        case _:
            seconds = int(source.get("expirationSeconds") or _TOKEN_SECONDS)
            token = await supplies.token(pod, str(source.get("audience") or ""), seconds)
            user = common_user(pod)
            private = user is not None or security.of_pod(pod).get("fsGroup") is not None
            return {_inside(source["path"]): File(token.encode(), _TOKEN_MODE if private else mode, user)}


def _of_object(word: str, source: Mapping[str, Any], mode: int, obj: Object | None) -> Files:
    optional = bool(source.get("optional"))
    if obj is None:
        if optional:
            return {}
        name = source.get("secretName") or source.get("name")
        raise VolumeError(f'{word} "{name}" not found')
    try:
        content = values(obj)
    except Undecodable as error:
        raise VolumeError(str(error)) from error
    items = source.get("items")
    if not items:
        return {_inside(key): File(data, mode) for key, data in content.items()}
    files: Files = {}
    for item in items:
        if item["key"] in content:
            files[_inside(item["path"])] = File(content[item["key"]], _mode(item, mode))
        elif not optional:
            what = "configmap references non-existent config key" if word == "configmap" else ""
            raise VolumeError(f"{what or 'references non-existent secret key'}: {item['key']}")
    return files


def _downward(items: Sequence[Mapping[str, Any]], mode: int, pod: Pod, allocatable: Mapping[str, Any]) -> Files:
    files: Files = {}
    for item in items:
        if "fieldRef" in item:
            text = field(pod, item["fieldRef"]["fieldPath"])
        else:
            text = resource_field(pod, "", item["resourceFieldRef"], allocatable)
        files[_inside(item["path"])] = File(text.encode(), _mode(item, mode))
    return files


def _needs_allocatable(pod: Pod, source: Mapping[str, Any]) -> bool:
    return any("resourceFieldRef" in item for item in source.get("items") or ())


def _mode(item: Mapping[str, Any], default: int) -> int:
    return default if item.get("mode") is None else int(item["mode"])


def _inside(path: str) -> str:
    """The path as it is, when it stays in its volume. Raises VolumeError."""
    parts = PurePosixPath(path).parts
    if not parts or path.startswith(("/", "..")) or ".." in parts:
        raise VolumeError(f"invalid path {path!r}: it must stay inside the volume and not begin with '..'")
    return str(PurePosixPath(path))


def common_user(pod: Pod) -> int | None:
    """The user as which all containers run, when it is one and the same."""
    users = {security.of_container(pod, one).get("runAsUser") for one in all_containers(pod)}
    (user,) = users if len(users) == 1 else (None,)
    return user
