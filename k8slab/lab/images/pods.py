"""Images for pods: the files their programs need, taken from a container in which Debian's packages were installed."""

from __future__ import annotations

import io
import shlex
import tarfile
from dataclasses import dataclass, replace

from k8slab.lab.images import apt, archive, files
from k8slab.lab.images.archive import Archive
from k8slab.lab.images.events import Built, Progress
from k8slab.lab.images.files import digest
from k8slab.lab.images.recipes import PodRecipe
from k8slab.lab.images.workshop import Workshop

TREE = "/pod"

# Debian's merged /usr: the same links in the new root, so that every path leads to the same file there.
COLLECT = """
mkdir -p {tree}/usr/bin {tree}/usr/sbin {tree}/usr/lib {tree}/usr/lib64 {tree}/etc
for name in bin sbin lib lib64; do ln -s usr/$name {tree}/$name; done
mkdir -m 1777 {tree}/tmp
mkdir -p {tree}/run {tree}/var/lib {tree}/var/log {tree}/proc {tree}/sys {tree}/dev
take() {{
    folder=$(readlink -f "$(dirname "$1")")
    mkdir -p "{tree}$folder"
    cp -pL "$1" "{tree}$folder/"
}}
for path in {paths}; do take "$path"; done
for binary in {binaries}; do
    take "$binary"
    ldd "$binary" 2> /dev/null | grep -o '/[^ ]*' | while read -r library; do take "$library"; done
done
"""
SHELL = """
take /bin/busybox
ldd /bin/busybox | grep -o '/[^ ]*' | while read -r library; do take "$library"; done
for name in $(busybox --list); do
    [ -e {tree}/usr/bin/$name ] || [ -e {tree}/usr/sbin/$name ] || ln -s busybox {tree}/usr/bin/$name
done
"""


@dataclass(frozen=True)
class PodBuilt:
    built: Built
    archive: Archive


def content(recipe: PodRecipe, root: str) -> str:
    """``root`` is the content of the root, not its id: the same files on a root made anew are the same image."""
    return digest(
        "pod",
        root,
        COLLECT,
        SHELL,
        [recipe.packages, recipe.binaries, recipe.paths, dict(recipe.links), recipe.shell],
        [recipe.entrypoint, recipe.command, dict(recipe.environment), recipe.ports, recipe.stop_signal],
        files.digest_entries(files.parts(recipe.parts)),
    )


def make(
    shop: Workshop, packages: apt.Packages, recipe: PodRecipe, parent: str, content: str, progress: Progress
) -> Archive:
    with shop.create(parent, mounts=packages.mounts()) as bench:
        packages.install(bench, recipe.packages, (), image=recipe.name, on_progress=progress.at)
        progress.begin("collecting its files")
        script = (COLLECT + (SHELL if recipe.shell else "")).format(
            tree=TREE, paths=shlex.join(recipe.paths), binaries=shlex.join(recipe.binaries)
        )
        script += "".join(f"ln -s {shlex.quote(target)} {TREE}{link}\n" for link, target in recipe.links.items())
        bench.run(script, image=recipe.name, step="collecting its files")
        laid = [replace(entry, mtime=0) for entry in files.parts(recipe.parts)]
        bench.put(files.tar(laid), at=TREE)
        layer = archive.settled(_below(bench.get(TREE)))
    return archive.pack(recipe, layer, architecture=_architecture(shop), content=content)


def load(shop: Workshop, made: Archive) -> str:
    """Give the archive to the host's engine; returns the id the engine knows it by."""
    shop.client.images.load(made.data)
    return shop.image_id(made.name)


def saved(shop: Workshop, recipe: PodRecipe, image: str) -> Archive:
    return archive.repack(recipe.name, b"".join(shop.api.get_image(image, chunk_size=1 << 20)))


def _architecture(shop: Workshop) -> str:
    return str(shop.api.version()["Arch"])


def _below(data: bytes) -> bytes:
    """The tar of a folder as the tar of a root."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=io.BytesIO(data)) as source, tarfile.open(fileobj=buffer, mode="w") as target:
        for info in source:
            _, _, name = info.name.partition("/")
            if name:
                content = source.extractfile(info) if info.isreg() else None
                info.name = name
                if info.islnk():
                    info.linkname = info.linkname.partition("/")[2]
                info.pax_headers = {}
                target.addfile(info, content)
    return buffer.getvalue()
