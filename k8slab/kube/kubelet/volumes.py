"""A pod's directory on the node: its emptyDir volumes and the files in which its containers leave their last words."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from k8slab.kube import quantity

_MESSAGE_LIMIT: Final = 4096
_EMPTY_DIR: Final = "kubernetes.io~empty-dir"


class VolumeError(Exception):
    """A volume that cannot be made as the pod wants it."""


class PodDirectory:
    """``root``/pods/<uid>, shared with the engine, which mounts what is in it."""

    def __init__(self, root: Path, uid: str) -> None:
        self._path = root / "pods" / uid

    async def prepare(self, pod: Mapping[str, Any]) -> dict[str, Path]:
        """Make all volumes that are not there yet; returns where each lies. Raises VolumeError."""
        result: dict[str, Path] = {}
        for volume in pod["spec"].get("volumes") or ():
            try:
                if "hostPath" in volume:
                    result[volume["name"]] = _host_path(volume["hostPath"])
                else:
                    result[volume["name"]] = await self._empty_dir(volume["name"], volume.get("emptyDir") or {})
            except (OSError, ValueError) as error:
                raise VolumeError(f"volume {volume['name']}: {error}") from error
        return result

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
        """Remove everything of the pod; in-memory volumes are unmounted first. Raises VolumeError."""
        for volume in (self._path / "volumes" / _EMPTY_DIR).glob("*"):
            if volume.is_mount():
                await _run("umount", str(volume))
        await asyncio.to_thread(shutil.rmtree, self._path, ignore_errors=True)

    async def _empty_dir(self, name: str, source: Mapping[str, Any]) -> Path:
        path = self._path / "volumes" / _EMPTY_DIR / name
        path.mkdir(parents=True, exist_ok=True)
        if source.get("medium") == "Memory" and not path.is_mount():
            limit = quantity.whole(source.get("sizeLimit") or 0)
            options = ["-o", f"size={limit}"] if limit else []
            await _run("mount", "-t", "tmpfs", *options, "tmpfs", str(path))
        path.chmod(0o777)
        return path

    def _message_path(self, container: str, attempt: int) -> Path:
        return self._path / "containers" / container / str(attempt)


def _host_path(source: Mapping[str, Any]) -> Path:
    path = Path(source["path"])
    kind = source.get("type") or ""
    match kind:
        case "DirectoryOrCreate":
            path.mkdir(mode=0o755, parents=True, exist_ok=True)
        case "FileOrCreate":
            path.touch(mode=0o644)
    checks = {
        "Directory": path.is_dir,
        "DirectoryOrCreate": path.is_dir,
        "File": path.is_file,
        "FileOrCreate": path.is_file,
        "Socket": path.is_socket,
    }
    if kind in checks and not checks[kind]():
        raise VolumeError(f"hostPath {path} is no {kind.removesuffix('OrCreate')}")
    return path


async def _run(*command: str) -> None:
    process = await asyncio.create_subprocess_exec(
        *command, stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.PIPE
    )
    _, errors = await process.communicate()
    if process.returncode != 0:
        raise VolumeError(f"{' '.join(command)}: {errors.decode(errors='replace').strip()}")
