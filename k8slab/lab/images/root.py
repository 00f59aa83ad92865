"""The root of every node's image: pulled where that works, else made from this machine's Debian packages."""

from __future__ import annotations

import queue
import re
import threading
from collections.abc import Callable, Mapping
from pathlib import Path

import docker
import docker.errors
import requests

from k8slab.errors import PreconditionMissing
from k8slab.lab.images import apt, bootstrap
from k8slab.lab.images.files import Entry, digest, tar
from k8slab.lab.images.recipes import Recipe
from k8slab.lab.images.workshop import CONTENT, IMAGE, ORIGIN, PARENT, Workshop

PULLED = "debian:bookworm-slim"
PULL_PATIENCE = 15.0
"""Seconds without a word from the engine after which the host's packages are used instead."""

MADE = "made with mmdebstrap"

OnProgress = Callable[[float | None, str], None]


def content(base: Recipe) -> str:
    """The same whether it is pulled, made or given: what others put upon it does not depend on where it came from."""
    return digest("root", base.packages, bootstrap.dpkg_options(), bootstrap.POLICY)


def make(shop: Workshop, base: Recipe, given: str | None, on_progress: OnProgress) -> tuple[str, str]:
    """The root stage's image id, and in words where it came from. ``given`` is an image that the engine has."""
    labels = {CONTENT: content(base), IMAGE: base.name}
    if given is not None:
        return _completed(shop, base, shop.image_id(given), f"given: {given}", labels, on_progress)
    on_progress(None, f"pulling {PULLED}")
    held = _id(shop, PULLED)
    pulled = pull(shop, PULLED, on_progress)
    if pulled is not None:
        try:
            return _completed(shop, base, pulled, f"pulled: {PULLED}", labels, on_progress)
        finally:
            if held is None:
                shop.forget(PULLED)
    on_progress(None, "no registry in reach: making it from this machine's Debian packages")
    bootstrap.check_host(PULLED)
    origin = f"{MADE} from this machine's packages ({_release()})"
    labels |= {ORIGIN: origin, PARENT: ""}
    return bootstrap.bootstrap(shop, base.name, base.packages, labels, on_progress), origin


def pull(shop: Workshop, reference: str, on_progress: OnProgress, *, patience: float = PULL_PATIENCE) -> str | None:
    """Pull an image; returns its id, or None when that fails or the engine says nothing for ``patience`` seconds."""
    said: queue.SimpleQueue[dict[str, str] | None] = queue.SimpleQueue()

    def listen() -> None:
        name, _, tag = reference.rpartition(":")
        try:
            for message in shop.api.pull(name, tag=tag, stream=True, decode=True):
                said.put(message)
        except (docker.errors.DockerException, requests.exceptions.RequestException) as error:
            said.put({"error": str(error)})
        said.put(None)

    # The engine itself waits for minutes, and its answer cannot be awaited with a limit: the thread may stay behind.
    threading.Thread(target=listen, name="k8slab-pull", daemon=True).start()
    try:
        while message := said.get(timeout=patience):
            shop.check()
            if "error" in message:
                return None
            on_progress(None, f"{message.get('status', '')} {message.get('progress', '')}".strip())
    except queue.Empty:
        return None
    return _id(shop, reference)


def _id(shop: Workshop, reference: str) -> str | None:
    try:
        return shop.image_id(reference)
    except docker.errors.ImageNotFound:
        return None


def present(shop: Workshop, reference: str, on_progress: OnProgress) -> str:
    """The id of an image somebody named, pulled when the engine does not have it."""
    found = _id(shop, reference)
    if found is None:
        tagged = reference if ":" in reference.rsplit("/", 1)[-1] else f"{reference}:latest"
        found = pull(shop, tagged, on_progress)
    if found is None:
        raise PreconditionMissing(
            f"The base image {reference} is not on the engine and cannot be pulled.",
            remedy=f"`docker pull {reference}` shows why; `docker load` brings it from a file; or leave out `--base`.",
        )
    return found


def _completed(
    shop: Workshop, base: Recipe, parent: str, origin: str, labels: Mapping[str, str], on_progress: OnProgress
) -> tuple[str, str]:
    """An image from elsewhere, with what every node needs."""
    packages = apt.Packages(shop, sources(shop, parent, origin))
    try:
        packages.update(base.name, parent, on_progress)
        with shop.create(parent, mounts=packages.mounts()) as bench:
            policy = Entry("/usr/sbin/policy-rc.d", bootstrap.POLICY.encode(), 0o755)
            bench.put(tar([policy, Entry("/etc/dpkg/dpkg.cfg.d/k8slab", bootstrap.dpkg_options().encode())]))
            packages.install(bench, base.packages, (), image=base.name, on_progress=on_progress)
            bench.run(": > /etc/machine-id", image=base.name, step="forgetting the machine's id")
            bench.stop()
            return bench.commit({**labels, ORIGIN: origin, PARENT: parent}), origin
    finally:
        packages.close()


def sources(shop: Workshop, image: str, origin: str) -> apt.Sources:
    """Where containers of this root take packages from: their own sources, or the host's where they have none."""
    if origin.startswith(MADE):
        return apt.lend()
    with shop.create(image) as bench:
        found = bench.run(
            "cat /etc/apt/sources.list /etc/apt/sources.list.d/* 2> /dev/null | grep -c '^deb \\|^Types:' || true",
            image=image,
            step="looking for package sources",
        )
    return apt.lend() if found.strip() == "0" else apt.OWN


def _release() -> str:
    found = re.search(r'^PRETTY_NAME="?([^"\n]+)', Path("/etc/os-release").read_text(), re.MULTILINE)
    return found[1] if found else "unknown release"
