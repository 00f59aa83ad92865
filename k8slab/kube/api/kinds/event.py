"""Event: kept in the form of the core group, shown in that of events.k8s.io as well. Forgotten after an hour."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from k8slab.kube.api import validation
from k8slab.kube.api.errors import FieldProblem
from k8slab.kube.api.kind import NAME, Column, Kind, View, field_reader
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

# Its name in events.k8s.io → in the core group.
_NAMES: Final = {
    "note": "message",
    "regarding": "involvedObject",
    "reportingController": "reportingComponent",
    "deprecatedSource": "source",
    "deprecatedFirstTimestamp": "firstTimestamp",
    "deprecatedLastTimestamp": "lastTimestamp",
    "deprecatedCount": "count",
}
_BACK: Final = {core: name for name, core in _NAMES.items()}


def _to_core(obj: Object) -> Object:
    core = {_NAMES.get(key, key): value for key, value in obj.items()}
    core.setdefault("involvedObject", {})
    return core


def _from_core(obj: Object) -> Object:
    return {_BACK.get(key, key): value for key, value in obj.items() if key not in ("kind", "apiVersion")}


def _series_problems(new: Object, old: Object | None) -> list[FieldProblem]:
    found = _problems(_to_core(new), None)
    if old is not None:
        return found
    if not new.get("eventTime"):
        found.append(validation.required("eventTime"))
    if not new.get("reportingController"):
        found.append(validation.required("reportingController"))
    if not new.get("reportingInstance"):
        found.append(validation.required("reportingInstance"))
    for field, longest in (("action", 128), ("reason", 128)):
        value = new.get(field) or ""
        if not value:
            found.append(validation.required(field, f"can have at most {longest} characters"))
        elif len(value) > longest:
            found.append(validation.invalid(field, "", f"can have at most {longest} characters"))
    if new.get("type") not in ("Normal", "Warning"):
        found.append(validation.invalid("type", "", f"has invalid value: {new.get('type') or ''}"))
    return found


EVENT_OF_GROUP: Final = View(
    kind="Event",
    plural="events",
    singular="event",
    group="events.k8s.io",
    form="events.k8s.io/v1.Event",
    short_names=("ev",),
    columns=EVENT.columns,
    fields={
        **{f"regarding.{label}": field_reader("involvedObject", label) for label in _ABOUT},
        **{label: EVENT.fields[label] for label in ("reason", "type")},
        "reportingController": EVENT.fields["reportingComponent"],
    },
    validate=_series_problems,
    creates_on_update=True,
    ttl=HOUR,
    of=EVENT,
    to_hub=_to_core,
    from_hub=_from_core,
)
