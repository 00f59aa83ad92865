"""A pod's directory on the node: its volumes and the files in which its containers leave their last words."""

from __future__ import annotations

import asyncio
import contextlib
import math
import os
import shutil
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from k8slab.kube import quantity
from k8slab.kube.client import ApiError, ApiUnavailable
from k8slab.kube.kubelet import atomic, mounts
from k8slab.kube.kubelet.hostpath import checked
from k8slab.kube.kubelet.objects import Pod, Supplies
from k8slab.kube.kubelet.payload import SOURCES, Files, VolumeError, files_of
from k8slab.kube.kubelet.security import of_pod
from k8slab.kube.kubelet.subpaths import pinned

MEASURE_EVERY: Final = 10.0

_MESSAGE_LIMIT: Final = 4096
_FOR_ROOT: Final = 0o750
_PLUGINS: Final = {
    "emptyDir": "kubernetes.io~empty-dir",
    "configMap": "kubernetes.io~configmap",
    "secret": "kubernetes.io~secret",
    "downwardAPI": "kubernetes.io~downward-api",
    "projected": "kubernetes.io~projected",
}
# What is secret never reaches a disk, nor does what changes often.
_IN_MEMORY: Final = ("secret", "downwardAPI", "projected")


def remains(root: Path) -> set[str]:
    """The uids of the pods that have a directory on the node."""
    try:
        return {entry.name for entry in (root / "pods").iterdir()}
    except FileNotFoundError:
        return set()


class PodDirectory:
    """``root``/pods/<uid>, shared with the engine, which mounts what is in it."""

    def __init__(self, root: Path, uid: str, supplies: Supplies) -> None:
        self._path = root / "pods" / uid
        self._supplies = supplies
        self._written: dict[str, Files] = {}
        self._measured = -math.inf

    async def prepare(self, pod: Pod) -> dict[str, Path]:
        """Make all volumes that are not there yet; returns where each lies. Raises VolumeError."""
        try:
            self._close()
        except OSError as error:
            raise VolumeError(f"{self._path}: {error}") from error
        return {volume["name"]: await self._prepared(volume, pod) for volume in pod["spec"].get("volumes") or ()}

    async def refresh(self, pod: Pod) -> None:
        """Bring the files of volumes that are in use up to date with what they are made of. Raises VolumeError."""
        for volume in pod["spec"].get("volumes") or ():
            if volume["name"] in self._written:
                await self._prepared(volume, pod)

    def measures(self, pod: Pod) -> bool:
        """Whether any of its volumes is measured from time to time."""
        return any(_disk_limit(volume) for volume in pod["spec"].get("volumes") or ())

    async def overfull(self, pod: Pod) -> str:
        """What is fuller than it may be, in the original's words; empty when nothing is, or was a moment ago."""
        now = time.monotonic()
        if not self.measures(pod) or now - self._measured < MEASURE_EVERY:
            return ""
        self._measured = now
        for volume in pod["spec"]["volumes"]:
            limit = _disk_limit(volume)
            path = self._path / "volumes" / _PLUGINS["emptyDir"] / str(volume["name"])
            if limit and await asyncio.to_thread(_used, path) > quantity.whole(limit):
                return f'Usage of EmptyDir volume "{volume["name"]}" exceeds the limit "{limit}". '
        return ""

    def sources(self, container: Mapping[str, Any], volumes: Mapping[str, Path], paths: Sequence[str]) -> list[Path]:
        """Where on the node each of the container's mounts comes from; ``paths``: in its volume, one of each mount.

        Raises VolumeError for a path that leads out of its volume.
        """
        found = []
        for number, (mount, path) in enumerate(zip(container.get("volumeMounts") or (), paths, strict=True)):
            volume = volumes[mount["name"]]
            target = self._path / "volume-subpaths" / mount["name"] / container["name"] / str(number)
            try:
                shared = mount.get("mountPropagation") == "Bidirectional"
                found.append(pinned(volume, path, target, shared=shared) if path else volume)
            except (OSError, ValueError) as error:
                why = f'failed to prepare subPath for volumeMount "{mount["name"]}" of container "{container["name"]}"'
                raise VolumeError(f"{why}: {error}") from error
        return found

    def text_file(self, name: str, content: str) -> Path:
        """A file of the pod's own, such as its hosts. Raises VolumeError."""
        path = self._path / name
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            # In place: containers that run have this very file mounted.
            path.write_text(content)
            path.chmod(0o644)
        except OSError as error:
            raise VolumeError(f"{name}: {error}") from error
        return path

    def message_file(self, container: str, attempt: int) -> Path:
        """The file behind terminationMessagePath, made empty. Raises VolumeError."""
        file = self._message_path(container, attempt)
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
            file.touch()
            file.chmod(0o666)
        except OSError as error:
            raise VolumeError(f"termination message of container {container}: {error}") from error
        return file

    def message(self, container: str, attempt: int) -> str:
        try:
            with self._message_path(container, attempt).open("rb") as file:
                return file.read(_MESSAGE_LIMIT).decode(errors="replace")
        except OSError:
            return ""

    async def remove(self) -> None:
        """Remove everything of the pod; what is mounted in it is unmounted first. Raises OSError."""
        for path in mounts.below(self._path):
            mounts.unmount(path)
        await asyncio.to_thread(shutil.rmtree, self._path, ignore_errors=True)

    def _close(self) -> None:
        """Nobody else on the node is to see what pods have: files of secrets may well be for all who run in theirs."""
        self._path.mkdir(parents=True, exist_ok=True)
        self._path.parent.chmod(_FOR_ROOT)

    async def _prepared(self, volume: Mapping[str, Any], pod: Pod) -> Path:
        name = volume["name"]
        try:
            if "hostPath" in volume:
                return checked(volume["hostPath"])
            kind = next((kind for kind in SOURCES if kind in volume), "emptyDir")
            path = self._path / "volumes" / _PLUGINS[kind] / str(name)
            if kind == "emptyDir":
                _empty_dir(path, volume.get("emptyDir") or {}, pod)
            else:
                await self._filled(path, volume, pod, in_memory=kind in _IN_MEMORY)
            return path
        except (OSError, ValueError, VolumeError) as error:
            raise VolumeError(f'MountVolume.SetUp failed for volume "{name}" : {error}') from error

    async def _filled(self, path: Path, volume: Mapping[str, Any], pod: Pod, *, in_memory: bool) -> None:
        name = volume["name"]
        try:
            files = await files_of(volume, pod, self._supplies)
        except (ApiError, ApiUnavailable) as trouble:
            if isinstance(trouble, ApiUnavailable) and (path / atomic.DATA).exists():
                # A container must come back while the API is away: with the files as they were last.
                return
            raise VolumeError(trouble.message if isinstance(trouble, ApiError) else str(trouble)) from trouble
        if self._written.get(name) == files and (path / atomic.DATA).exists():
            return
        await asyncio.to_thread(_fill, path, files, of_pod(pod).get("fsGroup"), in_memory=in_memory)
        self._written[name] = files

    def _message_path(self, container: str, attempt: int) -> Path:
        return self._path / "containers" / container / str(attempt)


def _fill(path: Path, files: Files, group: int | None, *, in_memory: bool) -> None:
    path.mkdir(parents=True, exist_ok=True)
    if in_memory and not path.is_mount():
        mounts.tmpfs(path)
    path.chmod(0o755 if group is None else 0o2775)
    if group is not None:
        os.chown(path, -1, group)
    atomic.write(path, files, group=group)


def _empty_dir(path: Path, source: Mapping[str, Any], pod: Pod) -> None:
    if path.is_dir() and (source.get("medium") != "Memory" or path.is_mount()):
        return
    path.mkdir(parents=True, exist_ok=True)
    if source.get("medium") == "Memory":
        mounts.tmpfs(path, size=_memory_size(source, pod), mode=0o777)
    path.chmod(0o777)
    group = of_pod(pod).get("fsGroup")
    if group is not None:
        atomic.give_to_group(path, int(group), writable=True)


def _disk_limit(volume: Mapping[str, Any]) -> str:
    """The kernel itself holds those in memory to their limit."""
    source = volume.get("emptyDir") or {}
    return "" if source.get("medium") == "Memory" else str(source.get("sizeLimit") or "")


def _used(top: Path) -> int:
    """Bytes on the disk of all that is below."""
    used = 0
    for place, _, names in os.walk(top):
        for name in names:
            # Whoever writes there removes things, too.
            with contextlib.suppress(FileNotFoundError):
                used += Path(place, name).lstat().st_blocks * 512
    return used


def _memory_size(source: Mapping[str, Any], pod: Pod) -> int:
    """Bytes: what it may hold by itself or, without that, what its pod may use; 0 when nothing says so."""
    limits = [(one.get("resources") or {}).get("limits") or {} for one in pod["spec"]["containers"]]
    asked = [quantity.whole(source["sizeLimit"])] if source.get("sizeLimit") else []
    if all(one.get("memory") for one in limits):
        asked.append(sum(quantity.whole(one["memory"]) for one in limits))
    return min(asked, default=0)
