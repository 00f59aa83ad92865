"""Server-side apply: a configuration is merged into what is there; what its manager no longer says goes away."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import orjson

from k8slab.kube.api import schemas
from k8slab.kube.api.apply import managed
from k8slab.kube.api.apply.fieldsets import Fields, difference, intersection, paths, shown, union, without
from k8slab.kube.api.apply.managed import APPLY, UPDATE, Entry, Writer
from k8slab.kube.api.apply.typed import Shape, compare, field_set, merge, named, remove, shape_of
from k8slab.kube.api.errors import ApiFailure
from k8slab.kube.api.kind import Kind
from k8slab.kube.api.meta import Object, dig, now

LAST_APPLIED: Final = "kubectl.kubernetes.io/last-applied-configuration"
BEFORE_FIRST: Final = "before-first-apply"


@dataclass(frozen=True)
class Conflict:
    entry: Entry
    path: str


def conflict_failure(conflicts: Iterable[Conflict]) -> ApiFailure:
    found = list(conflicts)
    causes = [
        {"reason": "FieldManagerConflict", "message": f"conflict with {_holder(one.entry)}", "field": one.path}
        for one in found
    ]
    if len(found) == 1:
        text = f"Apply failed with 1 conflict: conflict with {_holder(found[0].entry)}: {found[0].path}"
    else:
        by_holder: dict[str, list[str]] = {}
        for one in sorted(found, key=lambda one: one.entry.identity):
            by_holder.setdefault(_holder(one.entry), []).append(one.path)
        lines = [line for holder, listed in by_holder.items() for line in _listed(holder, listed)]
        text = f"Apply failed with {len(found)} conflicts: " + "\n".join(lines)
    return ApiFailure(409, "Conflict", text, details={"causes": causes})


def _listed(holder: str, listed: Iterable[str]) -> list[str]:
    return [f"conflicts with {holder}:", *(f"- {path}" for path in listed)]


def _holder(entry: Entry) -> str:
    below = f' with subresource "{entry.subresource}"' if entry.subresource else ""
    using = f" using {entry.version}" if entry.operation == UPDATE else ""
    return f'"{entry.manager}"{below}{using}'


def created(kind: Kind, config: Object, writer: Writer) -> list[dict[str, Any]]:
    """The managedFields of an object that an apply makes."""
    return managed.written([_own(kind, config, writer)])


def by_creation(kind: Kind, config: Object, writer: Writer) -> managed.Track:
    owners = created(kind, config, writer)
    return lambda old, new: owners


def _own(kind: Kind, config: Object, writer: Writer) -> Entry:
    fields = difference(
        without(field_set(shape_of(kind.schema), config), managed.ignored(kind, writer.subresource)), managed.UNOWNED
    )
    return Entry(writer.manager, APPLY, kind.api_version, fields, now(), writer.subresource)


def apply(kind: Kind, live: Object, config: Object, writer: Writer, *, force: bool) -> Object:
    """The live object with the configuration applied, and its managedFields. Raises Conflict unless forced."""
    try:
        return _applied(kind, live, config, writer, force=force)
    except _Refusal as refusal:
        conflicts = refusal.conflicts
        if writer.manager == "kubectl":
            # What kubectl itself applied from its own side and nobody changed since is not somebody else's.
            allowed = set(paths(_unchanged_since_last_applied(kind, live)))
            conflicts = [one for one in conflicts if one[1] not in allowed]
            if not conflicts:
                return _applied(kind, live, config, writer, force=True)
        raise conflict_failure(Conflict(entry, shown(path)) for entry, path in conflicts) from None


class _Refusal(Exception):
    def __init__(self, conflicts: list[tuple[Entry, tuple[str, ...]]]) -> None:
        super().__init__("others own some of the fields")
        self.conflicts = conflicts


def _applied(kind: Kind, live: Object, config: Object, writer: Writer, *, force: bool) -> Object:
    shape = shape_of(kind.schema)
    there = managed.body(live)
    listed = live["metadata"].get("managedFields")
    found = managed.entries(listed) or [_before_first(kind, there)]
    own = _own(kind, config, writer)
    last = next((one for one in found if one.identity == own.identity), None)
    others = [one for one in found if one.identity != own.identity]
    merged = _pruned(shape, merge(shape, there, config), [*others, own], last.fields if last else {})
    changes = compare(shape, there, merged)
    touched = union(changes.modified, changes.added)
    if _meant(kind, config) != config:
        merged = _meant(kind, merged)
        touched = intersection(touched, _real(kind, shape, there, merged))
    touched = without(touched, managed.ignored(kind, writer.subresource))
    conflicts = [
        (one, path)
        for one in others
        if one.version == kind.api_version
        for path in paths(intersection(one.fields, touched))
    ]
    if conflicts and not force:
        raise _Refusal(conflicts)
    left = [managed.taken(one, kind, touched, changes.removed) for one in others]
    if (
        last is not None
        and not (touched or changes.removed)
        and last.fields == own.fields
        and last.version == own.version
    ):
        own = last
    entries = managed.written([*left, own])
    meta = {**merged["metadata"], "managedFields": listed if entries == listed else entries}
    if writer.manager == "kubectl" and LAST_APPLIED in (meta.get("annotations") or {}):
        meta["annotations"] = {**meta["annotations"], LAST_APPLIED: _last_applied(config)}
    return {**merged, "metadata": meta}


def _meant(kind: Kind, obj: Object) -> Object:
    """Without the empty values that a configuration says to have its way with whoever says something else."""
    return schemas.decode(kind.schema, obj, version=kind.version)[0]


def _real(kind: Kind, shape: Shape, there: Object, meant: Object) -> Fields:
    """What becomes otherwise once what is empty means what is meant by none."""
    filled: Object = orjson.loads(orjson.dumps(meant))
    kind.default(filled)
    changes = compare(shape, there, filled)
    return union(union(changes.modified, changes.added), changes.removed)


def _before_first(kind: Kind, there: Object) -> Entry:
    """Who owns what was written before anybody's ownership was kept."""
    fields = difference(compare(shape_of(kind.schema), {}, there).added, managed.UNOWNED)
    return Entry(BEFORE_FIRST, UPDATE, kind.api_version, fields, now())


def _pruned(shape: Shape, merged: Object, owners: Iterable[Entry], last: Fields) -> Object:
    """Without what the manager applied last time but not now, where nobody else owns it."""
    if not last:
        return merged
    owned: Fields = {}
    for one in owners:
        owned = union(owned, one.fields)
    whole = field_set(shape, merged)
    cut = field_set(shape, remove(shape, merged, last) or {})
    gone = difference(named(shape, whole), union(named(shape, cut), named(shape, owned)))
    cut = field_set(shape, remove(shape, merged, gone) or {})
    gone = intersection(difference(named(shape, whole), named(shape, cut)), named(shape, last))
    pruned: Object = remove(shape, merged, gone) or {}
    return pruned


def _unchanged_since_last_applied(kind: Kind, live: Object) -> Fields:
    annotation = dig(live, "metadata", "annotations", LAST_APPLIED)
    try:
        last = orjson.loads(annotation or b"")
    except orjson.JSONDecodeError:
        return {}
    if not isinstance(last, Mapping) or last.get("apiVersion") != kind.api_version:
        return {}
    shape = shape_of(kind.schema)
    try:
        changes = compare(shape, last, managed.body(live))
        fields = field_set(shape, last)
    except (AttributeError, TypeError):
        return {}
    for tree in (changes.modified, changes.added, changes.removed):
        fields = difference(fields, tree)
    return fields


def _last_applied(config: Object) -> str:
    meta = dict(config["metadata"])
    annotations = {key: value for key, value in (meta.get("annotations") or {}).items() if key != LAST_APPLIED}
    meta.pop("annotations", None)
    if annotations:
        meta["annotations"] = annotations
    return orjson.dumps({**config, "metadata": meta}, option=orjson.OPT_SORT_KEYS).decode() + "\n"
