"""Answers: objects and lists in the form that a client wants, from stored bytes where nothing needs to be looked at."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

import orjson
from aiohttp import web

from k8slab.kube.api import negotiation, tables
from k8slab.kube.api.cache import Entry
from k8slab.kube.api.kind import Kind
from k8slab.kube.api.lists import Listing
from k8slab.kube.api.meta import Object
from k8slab.kube.api.negotiation import Wanted
from k8slab.kube.api.registry import Outcome

# What goes into a header is what the client wrote into its object.
CONTROL: Final = re.compile(r"[\x00-\x1f\x7f-\x9f]")
LONGEST_WARNING: Final = 256
LONGEST_WARNINGS: Final = 4096


def wanted_by(request: web.BaseRequest) -> Wanted:
    """Raises NotAcceptable."""
    return negotiation.accepted(request.headers.get("Accept", ""))


def record(
    request: web.BaseRequest,
    kind: Kind,
    value: bytes,
    revision: int,
    *,
    code: int = 200,
    warnings: Sequence[str] = (),
) -> web.Response:
    """A stored object; without a resource version for revision 0."""
    wanted = wanted_by(request)
    if not wanted.form:
        return body(request, kind.served(value, revision) + b"\n", code=code, warnings=warnings)
    obj = kind.hub.decode(value, revision)
    if wanted.form == "Table":
        metadata = {"resourceVersion": str(revision)}
        include = tables.included(request.query.get("includeObject", ""))
        form = tables.table(kind, [obj], metadata, include, version=wanted.version)
    else:
        form = {"kind": wanted.form, "apiVersion": wanted.version, "metadata": obj["metadata"]}
    return body(request, orjson.dumps(form), code=code, warnings=warnings)


def outcome(
    request: web.BaseRequest, kind: Kind, done: Outcome, warnings: Sequence[str] = (), *, code: int = 200
) -> web.Response:
    return record(request, kind, done.value, done.revision, code=code, warnings=warnings)


def computed(
    request: web.BaseRequest, kind: Kind, obj: Object, *, code: int = 200, warnings: Sequence[str] = ()
) -> web.Response:
    """An object that is kept nowhere."""
    wanted = wanted_by(request)
    form: Object = {"kind": kind.kind, "apiVersion": kind.api_version, **obj}
    if wanted.form == "Table":
        include = tables.included(request.query.get("includeObject", ""))
        form = tables.table(kind, [obj], {}, include, version=wanted.version)
    elif wanted.form:
        form = {"kind": wanted.form, "apiVersion": wanted.version, "metadata": obj["metadata"]}
    return body(request, orjson.dumps(form) + b"\n", code=code, warnings=warnings)


def computed_list(
    request: web.BaseRequest, kind: Kind, objects: Sequence[Object], *, warnings: Sequence[str] = ()
) -> web.Response:
    wanted = wanted_by(request)
    form: Object = {"kind": f"{kind.kind}List", "apiVersion": kind.api_version, "metadata": {}, "items": list(objects)}
    if wanted.form == "Table":
        include = tables.included(request.query.get("includeObject", ""))
        form = tables.table(kind, objects, {}, include, version=wanted.version)
    elif wanted.form:
        items = [{"metadata": obj["metadata"]} for obj in objects]
        form = {"kind": f"{wanted.form}List", "apiVersion": wanted.version, "metadata": {}, "items": items}
    return body(request, orjson.dumps(form) + b"\n", warnings=warnings)


def listing(request: web.BaseRequest, kind: Kind, found: Listing, known: dict[str, Entry]) -> web.Response:
    """``known``: what the cache has of the kind, already decoded."""
    metadata: dict[str, Any] = {"resourceVersion": str(found.revision)}
    if found.token:
        metadata["continue"] = found.token
    if found.remaining:
        metadata["remainingItemCount"] = found.remaining
    wanted = wanted_by(request)
    if not wanted.form:
        head = {"kind": f"{kind.kind}List", "apiVersion": kind.api_version, "metadata": metadata}
        items = b",".join(kind.list_item(one.value, one.revision) for one in found.records)
        return body(request, orjson.dumps(head)[:-1] + b',"items":[' + items + b"]}\n")
    objects = tables.decoded(kind, found.records, known)
    if wanted.form == "Table":
        include = tables.included(request.query.get("includeObject", ""))
        return body(request, orjson.dumps(tables.table(kind, objects, metadata, include, version=wanted.version)))
    partial = [{"metadata": obj["metadata"]} for obj in objects]
    form = {"kind": "PartialObjectMetadataList", "apiVersion": wanted.version, "metadata": metadata}
    return body(request, orjson.dumps({**form, "items": partial}))


def success(
    request: web.BaseRequest, details: Mapping[str, Any] | None = None, *, code: int = 200, warnings: Sequence[str] = ()
) -> web.Response:
    """A Status that says that all is well."""
    status: Object = {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success"}
    if details:
        status["details"] = {key: value for key, value in details.items() if value}
    if code != 200:
        status["code"] = code
    return body(request, orjson.dumps(status) + b"\n", code=code, warnings=warnings)


def body(request: web.BaseRequest, raw: bytes, *, code: int = 200, warnings: Sequence[str] = ()) -> web.Response:
    media = wanted_by(request).media
    raw = negotiation.written(raw, media)
    response = web.Response(status=code, body=raw, content_type=media)
    response.headers["Cache-Control"] = "no-cache, private"
    for text in _told(warnings):
        quoted = text.replace("\\", "\\\\").replace('"', '\\"')
        response.headers.add("Warning", f'299 - "{quoted}"')
    packed = negotiation.compressed(raw, request.headers)
    if packed is not None:
        response.body = packed
        response.headers["Content-Encoding"] = "gzip"
        response.headers["Vary"] = "Accept-Encoding"
    return response


def _told(warnings: Sequence[str]) -> Iterator[str]:
    """Each once, those that a header can hold, shortened where all of them would be too much for it."""
    short = sum(map(len, warnings)) > LONGEST_WARNINGS
    room = LONGEST_WARNINGS
    for text in dict.fromkeys(warnings):
        told = text[:LONGEST_WARNING] if short else text
        room -= len(told)
        if room < 0:
            return
        if not CONTROL.search(told):
            yield told
