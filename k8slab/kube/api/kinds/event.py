"""Event of the core group. Events are forgotten after an hour."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from k8slab.kube.api import validation
from k8slab.kube.api.errors import FieldProblem
from k8slab.kube.api.kind import NAME, Column, Kind, field_reader
from k8slab.kube.api.meta import Object, age, dig

HOUR: Final = 3600


def _last_seen(obj: Object) -> str:
    last = dig(obj, "series", "lastObservedTime") or obj.get("lastTimestamp") or obj.get("eventTime")
    return age(last or dig(obj, "metadata", "creationTimestamp"))


def _first_seen(obj: Object) -> str:
    return age(obj.get("firstTimestamp") or obj.get("eventTime") or dig(obj, "metadata", "creationTimestamp"))


def _object(obj: Object) -> str:
    about = obj.get("involvedObject") or {}
    kind, name = (about.get("kind") or "").lower(), about.get("name") or ""
    return f"{kind}/{name}" if kind else name


def _source(obj: Object) -> str:
    source = obj.get("source") or {}
    component = source.get("component") or obj.get("reportingComponent") or ""
    host = source.get("host") or obj.get("reportingInstance") or ""
    return f"{component}, {host}" if component and host else component


def _source_component(obj: Mapping[str, Any]) -> str:
    return dig(obj, "source", "component") or obj.get("reportingComponent") or ""


def _count(obj: Object) -> int:
    return dig(obj, "series", "count") or obj.get("count") or 1


def _problems(new: Object, old: Object | None) -> list[FieldProblem]:
    about = dig(new, "involvedObject", "namespace") or ""
    own = new["metadata"].get("namespace") or ""
    if about != own and not (about == "" and own in ("", "default", "kube-system")):
        return [validation.invalid("involvedObject.namespace", about, "does not match event.namespace")]
    return []


_ABOUT: Final = ("kind", "namespace", "name", "uid", "apiVersion", "resourceVersion", "fieldPath")

EVENT: Final = Kind(
    kind="Event",
    plural="events",
    singular="event",
    short_names=("ev",),
    columns=(
        Column("Last Seen", _last_seen),
        Column("Type", lambda obj: obj.get("type") or ""),
        Column("Reason", lambda obj: obj.get("reason") or ""),
        Column("Object", _object),
        Column("Subobject", lambda obj: dig(obj, "involvedObject", "fieldPath") or "", wide=True),
        Column("Source", _source, wide=True),
        Column("Message", lambda obj: (obj.get("message") or "").strip()),
        Column("First Seen", _first_seen, wide=True),
        Column("Count", _count, wide=True),
        Column(NAME.name, NAME.read, format="name", wide=True),
    ),
    fields={
        **{f"involvedObject.{label}": field_reader("involvedObject", label) for label in _ABOUT},
        "reason": field_reader("reason"),
        "reportingComponent": field_reader("reportingComponent"),
        "source": _source_component,
        "type": field_reader("type"),
    },
    validate=_problems,
    creates_on_update=True,
    ttl=HOUR,
)
