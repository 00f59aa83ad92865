"""Pods' images as docker-archive files, written here so that the same files always have the same image id."""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
from dataclasses import dataclass

from k8slab.lab.images.recipes import PodRecipe


@dataclass(frozen=True)
class Archive:
    """An image that ``docker load`` takes: its id (``sha256:…``) is known before it is loaded."""

    name: str
    id: str
    data: bytes

    @property
    def file(self) -> str:
        return self.name.rsplit("/", 1)[-1].split(":")[0] + ".tar"


def settled(layer: bytes) -> bytes:
    """The same tree in a fixed order, without owners' names and without the times at which its folders were made."""
    buffer = io.BytesIO()
    with (
        tarfile.open(fileobj=io.BytesIO(layer)) as source,
        tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as target,
    ):
        for info in sorted(source, key=lambda info: info.name):
            clean = tarfile.TarInfo(info.name)
            clean.type, clean.linkname, clean.mode, clean.size = info.type, info.linkname, info.mode, info.size
            clean.uid, clean.gid = info.uid, info.gid
            clean.mtime = int(info.mtime) if info.isreg() else 0
            target.addfile(clean, source.extractfile(info) if info.isreg() else None)
    return buffer.getvalue()


def pack(recipe: PodRecipe, layer: bytes, *, architecture: str, content: str) -> Archive:
    """``layer`` is a settled tar of the whole root; ``content`` the recipe's digest, kept as a label."""
    layer_id = hashlib.sha256(layer).hexdigest()
    with tarfile.open(fileobj=io.BytesIO(layer)) as tree:
        newest = max((info.mtime for info in tree), default=0)
    config = {
        "architecture": architecture,
        "os": "linux",
        "created": _rfc3339(newest),
        "config": {
            "Entrypoint": list(recipe.entrypoint) or None,
            "Cmd": list(recipe.command) or None,
            "Env": [f"{key}={value}" for key, value in sorted(recipe.environment.items())],
            "ExposedPorts": {port: {} for port in recipe.ports} or None,
            "Labels": {"k8slab.image": recipe.name, "k8slab.content": content},
            "StopSignal": recipe.stop_signal,
            "WorkingDir": "/",
        },
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{layer_id}"]},
        "history": [{"created": _rfc3339(newest), "created_by": f"k8slab build {recipe.name}"}],
    }
    return assemble(recipe.name, json.dumps(config, sort_keys=True, separators=(",", ":")).encode(), layer)


def assemble(name: str, config: bytes, layer: bytes) -> Archive:
    layer_id = hashlib.sha256(layer).hexdigest()
    image_id = hashlib.sha256(config).hexdigest()
    manifest = [{"Config": f"{image_id}.json", "RepoTags": [name], "Layers": [f"{layer_id}/layer.tar"]}]
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        for path, content in (
            (f"{layer_id}/layer.tar", layer),
            (f"{image_id}.json", config),
            ("manifest.json", json.dumps(manifest).encode()),
        ):
            info = tarfile.TarInfo(path)
            info.size, info.mode = len(content), 0o644
            archive.addfile(info, io.BytesIO(content))
    return Archive(name, f"sha256:{image_id}", buffer.getvalue())


def repack(name: str, saved: bytes) -> Archive:
    """What ``docker save`` wrote, in our own form: of one layer and with the id it had when it was made."""
    with tarfile.open(fileobj=io.BytesIO(saved)) as archive:

        def content(path: str) -> bytes:
            file = archive.extractfile(path)
            assert file is not None, path
            return file.read()

        entry = json.loads(content("manifest.json"))[0]
        return assemble(name, content(entry["Config"]), content(entry["Layers"][0]))


def _rfc3339(seconds: float) -> str:
    from datetime import UTC, datetime

    return datetime.fromtimestamp(int(seconds), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
