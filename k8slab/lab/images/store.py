"""The images that are already there, found by what they were made of."""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import Any

import docker
import docker.errors

from k8slab.errors import StepFailed
from k8slab.lab.images import files
from k8slab.lab.images.recipes import PodRecipe, Recipe, catalogue
from k8slab.lab.images.workshop import CONTENT, IMAGE, PARENT, PROJECT, Workshop

SETTLED = 600
"""Seconds after which a stage upon which nothing stands is not somebody's work in progress."""


class Store:
    """What one engine holds of ours."""

    def __init__(self, shop: Workshop, *, no_cache: bool) -> None:
        self._shop, self._api, self._no_cache = shop, shop.api, no_cache
        self._images: list[dict[str, Any]] = self._api.images(all=True, filters={"label": CONTENT})

    def find(self, name: str, content: str, parent: str) -> str:
        """The stage of this content upon this parent, or nothing.

        What people make from our images inherits their labels: such an image has another parent, or is younger.
        """
        return self._first(self._like(name, content, parent))

    def find_root(self, name: str, content: str, parent: str | None) -> str:
        """The newest root of this base, made from ``parent`` (None: wherever it came from)."""
        return self._first(reversed(self._like(name, content, parent)))

    def find_pod(self, name: str, content: str) -> str:
        """A pod's image has no parent and no label that names one."""
        return self._first(self._like(name, content, None))

    def _like(self, name: str, content: str, parent: str | None) -> list[dict[str, Any]]:
        """The oldest first."""
        found = [
            image
            for image in self._images
            if image["Labels"].get(IMAGE) == name
            and image["Labels"].get(CONTENT) == content
            and parent in (None, image["Labels"].get(PARENT))
            and image.get("ParentId", "") in ("", image["Labels"].get(PARENT))
        ]
        return sorted(found, key=lambda image: int(image["Created"]))

    def _first(self, images: Iterable[dict[str, Any]]) -> str:
        return "" if self._no_cache else next((str(image["Id"]) for image in images), "")

    def label(self, image: str, key: str) -> str:
        return str((self._shop.image(image)["Config"]["Labels"] or {}).get(key, ""))

    def size(self, image: str) -> int:
        return int(self._shop.image(image)["Size"])

    def name(self, image: str, name: str) -> bool:
        """Let the name stand for this image. False when it already did; what it stood for is removed if unused."""
        before = self._id_of(name)
        known = {found["Id"] for found in self._images}
        if before == image:
            return image not in known
        repository, tag = split(name)
        self._api.tag(image, repository, tag)
        if before and before in known:
            remove_unused(self._api, before)
        return True

    def sweep(self, names: Iterable[str]) -> None:
        """Remove what these images were before and containers still needed then; what stages stand below stays."""
        ours = set(names)
        now = time.time()
        for image in self._api.images(all=True, filters={"label": CONTENT, "dangling": True}):
            # Another build may be about to put something upon a stage it has only just made.
            if image["Labels"].get(IMAGE) in ours and now - int(image["Created"]) > SETTLED:
                remove_unused(self._api, image["Id"])

    def _id_of(self, name: str) -> str:
        try:
            return self._shop.image_id(name)
        except docker.errors.ImageNotFound:
            return ""


def split(name: str) -> tuple[str, str]:
    """Repository and tag; a colon before the last slash belongs to a registry's port."""
    folder, slash, last = name.rpartition("/")
    last, _, tag = last.partition(":")
    return folder + slash + last, tag or "latest"


def missing(client: docker.DockerClient, names: Iterable[str]) -> list[str]:
    """Those of the named images that the engine does not have, in the given order, each once."""
    present = {tag for image in client.api.images() for tag in image["RepoTags"] or ()}
    return [name for name in dict.fromkeys(names) if ":".join(split(name)) not in present]


def outdated(client: docker.DockerClient, names: Iterable[str]) -> list[str]:
    """Those of the named images that carry another state of the project than the one running here."""
    own = files.digest_entries(files.project())
    found: list[str] = []
    images = client.api.images(filters={"label": PROJECT})
    held = {tag: image["Labels"][PROJECT] for image in images for tag in image["RepoTags"] or ()}
    for name in dict.fromkeys(names):
        if held.get(":".join(split(name)), own) != own:
            found.append(name)
    return found


def remove(client: docker.DockerClient, recipes: Iterable[Recipe | PodRecipe] | None = None) -> list[str]:
    """Remove the images of these recipes (all), with the stages below; returns the names. What is not ours stays.

    Raises ``StepFailed`` when containers still use some: everything else is gone by then.
    """
    api = client.api
    names = {":".join(split(recipe.name)) for recipe in (catalogue() if recipes is None else recipes)}
    removed: list[str] = []
    used: list[str] = []
    for image in api.images(filters={"label": CONTENT}):
        for tag in names.intersection(image["RepoTags"] or ()):
            (removed if remove_unused(api, tag) else used).append(tag)
    for image in api.images(all=True, filters={"label": CONTENT}):
        nameless = not [tag for tag in image["RepoTags"] or () if tag != "<none>:<none>"]
        if nameless and ":".join(split(image["Labels"].get(IMAGE, ""))) in names:
            remove_unused(api, image["Id"])
    if used:
        raise StepFailed(
            f"Still used by containers: {', '.join(sorted(used))}.",
            why="An image cannot go while a container is made from it.",
            remedy="`k8slab rm` removes the lab's containers; `docker ps -a` shows the others. Then run this again.",
        )
    return sorted(removed)


def remove_unused(api: docker.APIClient, image: str) -> bool:
    """Remove an image by its name or id, unless a container or another image needs it."""
    try:
        api.remove_image(image)
    except docker.errors.ImageNotFound:
        return False
    except docker.errors.APIError as error:
        if error.status_code == 409:
            return False
        raise
    return True
