"""A deployment's replica sets: one for each template it had, told apart by a hash, counted by revision."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

import orjson

from k8slab.kube.client import Object
from k8slab.kube.controllers.owned import controller_reference

HASH: Final = "pod-template-hash"
REVISION: Final = "deployment.kubernetes.io/revision"
FORMER_REVISIONS: Final = "deployment.kubernetes.io/revision-history"
# How many the deployment wanted, and could have at most, when the set was last sized.
DESIRED: Final = "deployment.kubernetes.io/desired-replicas"
MOST: Final = "deployment.kubernetes.io/max-replicas"
OWN_ANNOTATIONS: Final = frozenset(
    (
        *(REVISION, FORMER_REVISIONS, DESIRED, MOST, "deprecated.deployment.rollback.to"),
        "kubectl.kubernetes.io/last-applied-configuration",
    )
)
LONGEST_HISTORY: Final = 2000
LETTERS: Final = "bcdfghjklmnpqrstvwxz2456789"


@dataclass(frozen=True)
class ReplicaSets:
    """``new`` has the deployment's template, if there is one; ``old``: all others, the oldest first."""

    new: Object | None
    old: tuple[Object, ...]

    @property
    def all(self) -> list[Object]:
        return [*self.old, *([self.new] if self.new else [])]

    @property
    def active_old(self) -> list[Object]:
        return [one for one in self.old if size(one)]

    def with_changed(self, changed: Object) -> ReplicaSets:
        uid = changed["metadata"]["uid"]
        if self.new and self.new["metadata"]["uid"] == uid:
            return replace(self, new=changed)
        return replace(self, old=tuple(changed if one["metadata"]["uid"] == uid else one for one in self.old))


def sorted_out(deployment: Object, sets: Iterable[Object]) -> ReplicaSets:
    """Of several with the deployment's template the oldest is the new one, as it would be found again and again."""
    known = sorted(sets, key=age)
    template = deployment["spec"]["template"]
    new = next((one for one in known if same_template(one["spec"]["template"], template)), None)
    return ReplicaSets(new, tuple(one for one in known if one is not new))


def same_template(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    """But for the hash that tells them apart."""
    return _without_hash(one) == _without_hash(other)


def template_hash(template: Mapping[str, Any], collisions: int | None) -> str:
    """Up to ten letters and digits; ``collisions`` makes another one of the same template."""
    content = orjson.dumps(template, option=orjson.OPT_SORT_KEYS)
    if collisions is not None:
        content += collisions.to_bytes(8, "little")
    return "".join(LETTERS[ord(digit) % len(LETTERS)] for digit in str(fnv32a(content)))


def fnv32a(content: bytes) -> int:
    result = 2166136261
    for byte in content:
        result = (result ^ byte) * 16777619 & 0xFFFFFFFF
    return result


def new_set(deployment: Object, replicas: int, most: int, revision: int) -> Object:
    """The replica set of the deployment's template, to be created."""
    spec, meta = deployment["spec"], deployment["metadata"]
    mark = template_hash(spec["template"], (deployment.get("status") or {}).get("collisionCount"))
    template = spec["template"]
    labels = {**(template.get("metadata", {}).get("labels") or {}), HASH: mark}
    selector = spec["selector"]
    annotations, _ = annotated(deployment, {}, revision)
    made: Object = {
        "metadata": {
            "name": f"{meta['name']}-{mark}",
            "namespace": meta["namespace"],
            "labels": labels,
            "annotations": {**annotations, **sized(deployment, most)},
            "ownerReferences": [controller_reference(deployment)],
        },
        "spec": {
            "replicas": replicas,
            "selector": {**selector, "matchLabels": {**(selector.get("matchLabels") or {}), HASH: mark}},
            "template": {**template, "metadata": {**template.get("metadata", {}), "labels": labels}},
        },
    }
    if spec.get("minReadySeconds"):
        made["spec"]["minReadySeconds"] = spec["minReadySeconds"]
    return made


def annotated(deployment: Object, present: Mapping[str, str], revision: int) -> tuple[dict[str, str], bool]:
    """A set's annotations as its deployment's and its revision want them, and whether they differ from the present.

    One that comes back after a rollback keeps in mind which revisions it was before.
    """
    told = deployment["metadata"].get("annotations") or {}
    wanted = {**present, **{key: text for key, text in told.items() if key not in OWN_ANNOTATIONS}}
    was = present.get(REVISION)
    number = _number(was or "0")
    if number is not None and number < revision:
        wanted[REVISION] = str(revision)
        if was is not None:
            former = [one for one in present.get(FORMER_REVISIONS, "").split(",") if one]
            wanted[FORMER_REVISIONS] = _shortened([*former, was])
    return wanted, wanted != dict(present)


def sized(deployment: Object, most: int) -> dict[str, str]:
    return {DESIRED: str(deployment["spec"]["replicas"]), MOST: str(most)}


def next_revision(old: Iterable[Object]) -> int:
    return max((revision_of(one) for one in old), default=0) + 1


def revision_of(obj: Mapping[str, Any]) -> int:
    return annotated_number(obj, REVISION) or 0


def annotated_number(obj: Mapping[str, Any], name: str) -> int | None:
    return _number((obj["metadata"].get("annotations") or {}).get(name) or "")


def size(replica_set: Mapping[str, Any]) -> int:
    """How many pods it is to have."""
    return int(replica_set["spec"]["replicas"])


def counted(replica_set: Mapping[str, Any], field: str = "replicas") -> int:
    """What it says of its pods: "replicas", "readyReplicas", "availableReplicas"."""
    return int((replica_set.get("status") or {}).get(field) or 0)


def age(obj: Mapping[str, Any]) -> tuple[str, str]:
    """Sorts the oldest first."""
    return obj["metadata"].get("creationTimestamp") or "", obj["metadata"]["name"]


def _without_hash(template: Mapping[str, Any]) -> Object:
    meta = dict(template.get("metadata") or {})
    labels = {key: text for key, text in (meta.pop("labels", None) or {}).items() if key != HASH}
    return {**template, "metadata": {**meta, "labels": labels}}


def _number(text: str) -> int | None:
    return int(text) if text.isascii() and text.isdigit() else None


def _shortened(revisions: list[str]) -> str:
    while len(text := ",".join(revisions)) > LONGEST_HISTORY:
        revisions = revisions[1:]
    return text
