"""managedFields: who wrote which field, kept up to date by every write, and asked by every apply."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from k8slab.kube.api.apply.fieldsets import Fields, difference, union, without
from k8slab.kube.api.apply.typed import compare, shape_of
from k8slab.kube.api.kind import Kind
from k8slab.kube.api.meta import Object, now
from k8slab.kube.api.schemas import types

UPDATE, APPLY = "Update", "Apply"
LONGEST_MANAGER: Final = 128
MOST_UPDATERS: Final = 10
OLD_UPDATERS: Final = "ancient-changes"
# What nobody owns.
UNOWNED: Final[Fields] = {
    "f:apiVersion": {},
    "f:kind": {},
    "f:metadata": {
        ".": {},
        **{
            f"f:{name}": {}
            for name in (
                *("name", "namespace", "creationTimestamp", "selfLink", "uid", "clusterName", "generation"),
                *("managedFields", "resourceVersion"),
            )
        },
    },
}
STATUS: Final[Fields] = {"f:status": {}}
SPEC: Final[Fields] = {"f:spec": {}}

# (the object before, or None; the object after) -> what its managedFields are to be
Track = Callable[[Object | None, Object], list[dict[str, Any]]]


@dataclass(frozen=True)
class Entry:
    manager: str
    operation: str
    version: str
    fields: Fields
    time: str = ""
    subresource: str = ""

    @property
    def identity(self) -> tuple[str, str, str, str]:
        """Updates of different versions are different entries; who applies has one."""
        version = self.version if self.operation == UPDATE else ""
        return self.manager, self.operation, version, self.subresource

    def written(self) -> dict[str, Any]:
        form = {
            "manager": self.manager,
            "operation": self.operation,
            "apiVersion": self.version,
            "time": self.time,
            "fieldsType": "FieldsV1",
            "fieldsV1": self.fields,
            "subresource": self.subresource,
        }
        return {key: value for key, value in form.items() if value or key == "fieldsV1"}


@dataclass(frozen=True)
class Writer:
    """Who writes, as which subresource ("" for the object itself)."""

    manager: str
    subresource: str = ""


def manager_of(field_manager: str, user_agent: str) -> str:
    return field_manager or user_agent.partition("/")[0][:LONGEST_MANAGER] or "unknown"


def entries(listed: object) -> list[Entry] | None:
    """The entries in an object's managedFields; None for a list that is none."""
    if not isinstance(listed, list):
        return None
    found = []
    for one in listed:
        if not isinstance(one, dict) or not isinstance(one.get("fieldsV1") or {}, dict):
            return None
        if one.get("operation") not in (UPDATE, APPLY) or one.get("fieldsType", "FieldsV1") != "FieldsV1":
            return None
        found.append(
            Entry(
                str(one.get("manager") or ""),
                one["operation"],
                str(one.get("apiVersion") or ""),
                one.get("fieldsV1") or {},
                str(one.get("time") or ""),
                str(one.get("subresource") or ""),
            )
        )
    return found


def base(old: Object, sent: object) -> list[Entry]:
    """What a write starts from: the entries that the client sent, else those that are there."""
    if sent == [] or sent == [{}]:
        return []
    return entries(sent) or entries(old["metadata"].get("managedFields")) or []


def written(found: Iterable[Entry]) -> list[dict[str, Any]]:
    order = sorted(
        (one for one in found if one.fields),
        key=lambda one: (one.operation, one.time, one.manager, one.version, one.subresource),
    )
    return [one.written() for one in order]


def ignored(kind: Kind, subresource: str) -> Fields:
    """What a write through this path cannot change."""
    if subresource == "status":
        return SPEC
    return STATUS if kind.status else {}


def tracked(kind: Kind) -> bool:
    return kind.schema in types()


def body(obj: Object) -> Object:
    """The object without what says who owns it."""
    if "managedFields" not in obj["metadata"]:
        return obj
    return {**obj, "metadata": {key: value for key, value in obj["metadata"].items() if key != "managedFields"}}


def by_update(kind: Kind, writer: Writer, sent: object = None) -> Track:
    """The track of a create, a replacement or a patch; ``sent`` is the managedFields of what the client sent."""

    def track(old: Object | None, new: Object) -> list[dict[str, Any]]:
        if not tracked(kind):
            return []
        own = Entry(writer.manager, UPDATE, kind.api_version, {}, now(), writer.subresource)
        if old is None:
            return written(
                [replace(own, fields=_owned(kind, own, compare(shape_of(kind.schema), {}, body(new)).added))]
            )
        found = base(old, sent)
        if not found:
            return []
        changed = updated(kind, old, new, found, own)
        return written(capped(changed))

    return track


def _owned(kind: Kind, own: Entry, fields: Fields) -> Fields:
    hidden = ignored(kind, own.subresource)
    return difference(without(fields, hidden) if hidden else fields, UNOWNED)


def updated(kind: Kind, old: Object, new: Object, found: Sequence[Entry], own: Entry) -> list[Entry]:
    """The entries after a change: what it touched goes over to its writer, what it removed is nobody's."""
    difference_found = compare(shape_of(kind.schema), body(old), body(new))
    if difference_found.is_none:
        return list(found)
    touched = union(difference_found.modified, difference_found.added)
    left = {one.identity: taken(one, kind, touched, difference_found.removed) for one in found}
    fields = _owned(kind, own, touched)
    if fields:
        former = next((one for one in found if one.identity == own.identity), None)
        kept = left.get(own.identity)
        fields = union(kept.fields, fields) if kept else fields
        unchanged = former is not None and former.fields == fields
        left[own.identity] = replace(own, fields=fields, time=former.time if unchanged and former else own.time)
    return list(left.values())


def taken(one: Entry, kind: Kind, touched: Fields, removed: Fields) -> Entry:
    """Fields of another version are not compared: they stay as they are."""
    if one.version != kind.api_version:
        return one
    return replace(one, fields=difference(difference(one.fields, touched), removed))


def capped(found: Sequence[Entry]) -> list[Entry]:
    """At most ten updaters are kept apart: the oldest become one."""
    updaters = sorted(
        (one for one in found if one.operation == UPDATE and one.fields), key=lambda one: (one.time, one.manager)
    )
    surplus = len(updaters) - MOST_UPDATERS
    if surplus <= 0:
        return list(found)
    gone: Mapping[str, list[Entry]] = {}
    for version in {one.version for one in updaters}:
        same = [one for one in updaters if one.version == version]
        if surplus > 0 and len(same) > 1:
            merged = same[: surplus + 1]
            surplus -= len(merged) - 1
            gone = {**gone, version: merged}
    kept = [one for one in found if not any(one in merged for merged in gone.values())]
    for version, merged in gone.items():
        fields: Fields = {}
        for one in merged:
            fields = union(fields, one.fields)
        kept.append(Entry(OLD_UPDATERS, UPDATE, version, fields, merged[-1].time))
    return kept
