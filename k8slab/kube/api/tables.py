"""Tables: what `kubectl get` prints is made here, by the kind's columns."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

import orjson

from k8slab.kube.api import errors
from k8slab.kube.api.cache import Entry
from k8slab.kube.api.kind import Kind
from k8slab.kube.api.meta import Object
from k8slab.kube.api.storage.base import Record

TABLE_VERSION: Final = "meta.k8s.io/v1"
INCLUDES: Final = ("None", "Metadata", "Object")


def columns(kind: Kind) -> list[dict[str, Any]]:
    return [
        {
            "name": column.name,
            "type": column.type,
            "format": column.format,
            "description": column.description or column.name,
            "priority": 1 if column.wide else 0,
        }
        for column in kind.columns
    ]


def included(asked: str) -> str:
    """How much of the object goes along. Raises BadRequest for what is none of INCLUDES."""
    if asked and asked not in INCLUDES:
        raise errors.bad_request(f'unrecognized includeObject value: "{asked}"')
    return asked or "Metadata"


def row(kind: Kind, obj: Object, include: str) -> dict[str, Any]:
    """``include``: how much of the object goes along: None, Metadata or Object."""
    cells = [column.read(obj) for column in kind.columns]
    if include == "None":
        return {"cells": cells, "object": None}
    if include == "Object":
        return {"cells": cells, "object": {**obj, "kind": kind.kind, "apiVersion": kind.api_version}}
    partial = {"kind": "PartialObjectMetadata", "apiVersion": TABLE_VERSION, "metadata": obj["metadata"]}
    return {"cells": cells, "object": partial}


def table(
    kind: Kind, objects: Iterable[Object], metadata: dict[str, Any], include: str, *, version: str = TABLE_VERSION
) -> dict[str, Any]:
    return {
        "kind": "Table",
        "apiVersion": version,
        "metadata": metadata,
        "columnDefinitions": columns(kind),
        "rows": [row(kind, obj, include) for obj in objects],
    }


def watch_line(kind: Kind, event_type: str, obj: Object, include: str, *, first: bool, version: str) -> bytes:
    """One event whose object is a table of one row; only the first of a stream says what the columns are."""
    body = {
        "kind": "Table",
        "apiVersion": version,
        "metadata": {"resourceVersion": obj["metadata"]["resourceVersion"]},
        "columnDefinitions": columns(kind) if first else None,
        "rows": [row(kind, obj, include)],
    }
    return orjson.dumps({"type": event_type, "object": body}) + b"\n"


def decoded(kind: Kind, records: Iterable[Record], known: dict[str, Entry]) -> Iterable[Object]:
    """The records' objects as they are kept, those from the cache that are the same."""
    for record in records:
        entry = known.get(record.key)
        if entry is not None and entry.revision == record.revision:
            yield entry.obj
        else:
            yield kind.hub.decode(record.value, record.revision)
