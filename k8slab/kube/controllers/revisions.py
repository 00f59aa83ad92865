"""The history of a template, kept as ControllerRevisions: what `kubectl rollout undo` goes back to."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any, Final

import orjson

from k8slab.kube.client import ApiError, KubeClient, Object
from k8slab.kube.controllers.deployment_sets import LETTERS, fnv32a
from k8slab.kube.controllers.owned import Owned, controller_reference, is_controlled_by
from k8slab.kube.controllers.statuses import write_status

HASH: Final = "controller.kubernetes.io/hash"


class Revisions:
    """``resource``: what the owners are, "daemonsets" or "statefulsets"."""

    def __init__(self, client: KubeClient, owned: Owned, resource: str) -> None:
        self._client = client
        self._owned = owned
        self._resource = resource

    async def of(self, owner: Object) -> list[Object]:
        """The owner's revisions, the oldest first."""
        return sorted(await self._owned.claim(owner, owner["spec"]["selector"]), key=_order)

    async def latest(self, owner: Object, known: Sequence[Object]) -> Object | None:
        """The revision of the owner's template as it is now; one that it had before becomes the latest again.

        None when another content has the name that it would have: the owner's count of collisions is raised for another
        name, and the owner is to be looked at again when that shows.
        """
        collisions = int((owner.get("status") or {}).get("collisionCount") or 0)
        number = (int(known[-1].get("revision") or 0) if known else 0) + 1
        made = _revision(owner, number, collisions)
        same = [one for one in known if one.get("data") == made["data"]]
        if not same:
            return await self._create(owner, made, collisions)
        if same[-1] is known[-1]:
            return same[-1]
        meta = same[-1]["metadata"]
        patch = {"revision": number, "metadata": {"resourceVersion": meta["resourceVersion"]}}
        return await self._client.patch("controllerrevisions", meta["name"], patch, meta["namespace"])

    async def forget_oldest(self, owner: Object, known: Sequence[Object], used: Collection[str]) -> None:
        """Delete the oldest of those that are not ``used`` (by name), as far as they are too many."""
        limit = owner["spec"].get("revisionHistoryLimit")
        idle = [one for one in known if one["metadata"]["name"] not in used]
        for one in idle[: max(0, len(idle) - limit)] if limit is not None else ():
            meta = one["metadata"]
            try:
                await self._client.delete("controllerrevisions", meta["name"], meta["namespace"], uid=meta["uid"])
            except ApiError as error:
                if not (error.is_not_found or error.is_conflict):
                    raise

    async def _create(self, owner: Object, made: Object, collisions: int) -> Object | None:
        try:
            return await self._client.create("controllerrevisions", made)
        except ApiError as error:
            if not error.is_already_exists:
                raise
        meta = made["metadata"]
        found = await self._client.get("controllerrevisions", meta["name"], meta["namespace"])
        if is_controlled_by(found, owner) and found.get("data") == made["data"]:
            return found
        status = {**(owner.get("status") or {}), "collisionCount": collisions + 1}
        await write_status(self._client, self._resource, owner, status)
        return None


def template_of(revision: Mapping[str, Any]) -> Object:
    """The pods' template that a revision keeps."""
    template = revision["data"]["spec"]["template"]
    return {key: value for key, value in template.items() if key != "$patch"}


def _revision(owner: Object, number: int, collisions: int) -> Object:
    meta, template = owner["metadata"], owner["spec"]["template"]
    data = {"spec": {"template": {**template, "$patch": "replace"}}}
    content = orjson.dumps(data, option=orjson.OPT_SORT_KEYS) + (str(collisions).encode() if collisions else b"")
    mark = "".join(LETTERS[ord(digit) % len(LETTERS)] for digit in str(fnv32a(content)))
    return {
        "metadata": {
            "name": f"{meta['name']}-{mark}",
            "namespace": meta["namespace"],
            "labels": {**((template.get("metadata") or {}).get("labels") or {}), HASH: mark},
            "annotations": dict(meta.get("annotations") or {}),
            "ownerReferences": [controller_reference(owner)],
        },
        "data": data,
        "revision": number,
    }


def _order(revision: Mapping[str, Any]) -> tuple[int, str, str]:
    meta = revision["metadata"]
    return int(revision.get("revision") or 0), meta.get("creationTimestamp") or "", meta["name"]
