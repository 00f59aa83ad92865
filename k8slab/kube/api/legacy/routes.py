"""Requests to /api/v1beta1, v1beta2 and v1beta3, answered from the same objects as those to /api/v1."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final

import orjson
from aiohttp import web

from k8slab.kube.api import deletion, errors, negotiation, schemas, selectors
from k8slab.kube.api.binding import bind
from k8slab.kube.api.cache import Cache, Entry, Event
from k8slab.kube.api.errors import ApiFailure
from k8slab.kube.api.kind import Kind
from k8slab.kube.api.legacy import meta, v1beta1, v1beta3
from k8slab.kube.api.legacy.v1beta1 import FromV1, ToV1
from k8slab.kube.api.lists import Lister, ListOptions
from k8slab.kube.api.meta import Object, dig, is_number
from k8slab.kube.api.negotiation import Wanted
from k8slab.kube.api.registry import Registry
from k8slab.kube.api.requests import BY_PATH, Asked, is_dry_run, is_watch
from k8slab.kube.api.selectors import Selector
from k8slab.kube.api.watching import Stream, WatchOptions, watch

VERSIONS: Final = ("v1beta1", "v1beta2", "v1beta3")
# What a field was called in selectors → what it is called now.
FIELDS: Final[Mapping[str, str]] = {
    "name": "metadata.name",
    "id": "metadata.name",
    "DesiredState.Host": "spec.nodeName",
    "DesiredState.Status": "status.phase",
    "involvedObject.id": "involvedObject.name",
    "spec.host": "spec.nodeName",
    "status.Phase": "status.phase",
}
DEFAULT: Final = "default"
BINDING: Final = ("bindings", "Binding", v1beta3.same_to_v1, v1beta3.same_from_v1)


@dataclass(frozen=True)
class Old:
    """A request in the words of then; ``asked`` is the same in today's, for those who judge it."""

    version: str
    asked: Asked
    form: tuple[str, str, ToV1, FromV1]

    @property
    def flat(self) -> bool:
        return self.version != "v1beta3"

    def path(self, name: str, namespace: str) -> str:
        place = f"namespaces/{namespace}/" if namespace and not self.flat else ""
        query = f"?namespace={namespace}" if namespace and self.flat else ""
        return f"/api/{self.version}/{place}{self.form[0]}/{name}{query}"


def parse(request: web.BaseRequest) -> Old | None:
    """None for what is no resource of these versions."""
    parts = request.path.strip("/").split("/")
    if len(parts) < 3 or parts[0] != "api" or parts[1] not in VERSIONS:
        return None
    version, parts = parts[1], parts[2:]
    watching = parts[0] == "watch" and len(parts) > 1
    if watching:
        parts = parts[1:]
    namespace = request.query.get("namespace", "")
    if version == "v1beta3" and parts[0] in ("namespaces", "ns") and len(parts) > 2:
        namespace, parts = parts[1], parts[2:]
    plural = parts[0].lower()
    plural = "nodes" if plural == "minions" else plural
    name = meta.name_of(parts[1]) if len(parts) > 1 else ""
    rest = "/".join(parts[2:])
    forms = v1beta3.FORMS if version == "v1beta3" else v1beta1.FORMS
    form = BINDING if plural == "bindings" else forms.get(plural)
    kind = BY_PATH.get(("", "v1", plural))
    if form is None or (kind is None and plural != "bindings"):
        return None
    if kind is not None and not kind.namespaced:
        namespace = ""
    elif not namespace and (version != "v1beta3" or request.method == "POST" or name) and not request.query.get("all"):
        namespace = DEFAULT
    return Old(version, Asked("", "v1", plural, namespace, name, rest, "", watching), form)


class Legacy:
    def __init__(self, registry: Registry, lister: Lister, cache: Cache) -> None:
        self._registry = registry
        self._lister = lister
        self._cache = cache

    async def serve(self, request: web.BaseRequest, old: Old) -> web.StreamResponse:
        try:
            return await self._serve(request, old)
        except ApiFailure as failure:
            return _answer(_failed(old, failure), code=failure.code)

    async def _serve(self, request: web.BaseRequest, old: Old) -> web.StreamResponse:
        asked, method = old.asked, request.method
        if asked.resource == "bindings" or (asked.subresource == "binding" and asked.resource == "pods"):
            return await self._bind(request, old)
        if asked.subresource:
            raise errors.unknown_resource()
        kind = asked.kind
        if method == "GET" and is_watch(asked, request.query):
            return await self._watch(request, kind, old)
        if asked.watching:
            raise errors.method_not_allowed()
        match method, bool(asked.name):
            case "GET" | "HEAD", True:
                record = await self._registry.get(kind, asked.namespace, asked.name)
                return _answer(self.shown(old, kind, record.value, record.revision))
            case "GET" | "HEAD", False:
                return await self._list(request, kind, old)
            case "POST", False:
                return await self._create(request, kind, old)
            case "PUT", True:
                return await self._update(request, kind, old)
            case "DELETE", True:
                options = deletion.parse_options({}, dict(request.query), dry_run=False)
                await deletion.delete(self._registry, kind, asked.namespace, asked.name, options)
                return _answer(_status(old, "Success", 200))
        raise errors.method_not_allowed()

    def shown(self, old: Old, kind: Kind, value: bytes, revision: int) -> Object:
        obj = kind.decode(value, revision)
        _, name, _, back = old.form
        made = back(obj, old.path(obj["metadata"]["name"], obj["metadata"].get("namespace") or ""))
        return {"kind": name, "apiVersion": old.version, **made}

    async def _list(self, request: web.BaseRequest, kind: Kind, old: Old) -> web.Response:
        listing = await self._lister.read(kind, old.asked.namespace, ListOptions(_selector(request, kind, "")))
        made = (self.shown(old, kind, one.value, one.revision) for one in listing.records)
        items = [{key: value for key, value in one.items() if key not in ("kind", "apiVersion")} for one in made]
        body: Object = {"kind": f"{old.form[1]}List"}
        if old.flat:
            body |= {"creationTimestamp": None, "resourceVersion": listing.revision, "apiVersion": old.version}
            # Minions were listed under their own name before they were items like everything else.
            body |= {"minions": items} if kind.plural == "nodes" else {}
        else:
            body |= {"apiVersion": old.version, "metadata": {"resourceVersion": str(listing.revision)}}
        return _answer({**body, "items": items})

    async def _read(self, request: web.BaseRequest, old: Old) -> Object:
        # Nobody looked at the type of a body then: curl's "-d" calls JSON a form.
        body = negotiation.read_object(await request.read(), negotiation.JSON)
        if not isinstance(body, dict):
            raise errors.bad_request("the object provided is unrecognized: it is not an object")
        given = (body.get("kind") or old.form[1], body.get("apiVersion") or old.version)
        if given != (old.form[1], old.version) and given != ("Node", old.version):
            raise errors.bad_request(f"a {given[0]} of {given[1]} is no {old.form[1]} of {old.version}")
        try:
            return old.form[2](body)
        except (AttributeError, KeyError, TypeError, ValueError) as trouble:
            why = f"the body cannot be read as a {old.form[1]} of {old.version}: {trouble}"
            raise errors.bad_request(why) from None

    async def _create(self, request: web.BaseRequest, kind: Kind, old: Old) -> web.Response:
        obj = await self._decoded(request, kind, old)
        outcome = await self._registry.create(
            kind, old.asked.namespace, obj, dry_run=is_dry_run(request.query, "CreateOptions")
        )
        return _answer(self.shown(old, kind, outcome.value, outcome.revision), code=201)

    async def _update(self, request: web.BaseRequest, kind: Kind, old: Old) -> web.Response:
        wanted = orjson.dumps(await self._decoded(request, kind, old))

        def mutate(was: Object) -> Object:
            new = orjson.loads(wanted)
            new["metadata"] = {**new["metadata"], "name": old.asked.name, "uid": was["metadata"]["uid"]}
            return self._registry.replacement(kind, was, new)

        outcome = await self._registry.change(kind, old.asked.namespace, old.asked.name, mutate)
        return _answer(self.shown(old, kind, outcome.value, outcome.revision))

    async def _decoded(self, request: web.BaseRequest, kind: Kind, old: Old) -> Object:
        body = await self._read(request, old)
        obj, _ = schemas.decode(kind.kind, body, version=kind.version)
        if kind.namespaced:
            obj["metadata"]["namespace"] = old.asked.namespace
        return obj

    async def _bind(self, request: web.BaseRequest, old: Old) -> web.Response:
        if request.method != "POST":
            raise errors.method_not_allowed()
        body = negotiation.read_object(await request.read(), "")
        if not isinstance(body, dict):
            raise errors.bad_request("the object provided is unrecognized: it is not an object")
        given = dig(body, "metadata", "name")
        name = old.asked.name or meta.name_of(str(body.get("podID") or given or body.get("id") or ""))
        host = body.get("host") or dig(body, "target", "name")
        form: Object = {"metadata": {"name": name}, "target": {"kind": "Node", "name": host}}
        binding, _ = schemas.decode("Binding", form, version="v1")
        await bind(self._registry, old.asked.namespace, name, binding)
        return _answer(_status(old, "Success", 201), code=201)

    async def _watch(self, request: web.BaseRequest, kind: Kind, old: Old) -> web.StreamResponse:
        version = request.query.get("resourceVersion", "")
        if version and not is_number(version):
            raise errors.bad_request(f"invalid resource version: {version!r}")
        options = WatchOptions(_selector(request, kind, old.asked.name), version)

        def stream(kind: Kind, scope: str, options: WatchOptions, wanted: Wanted) -> Stream:
            return _OldStream(self, old, kind, scope, options)

        return await watch(
            request,
            kind,
            old.asked.namespace,
            cache=self._cache,
            storage=self._registry.storage,
            options=options,
            wanted=Wanted(),
            stream_of=stream,
        )


class _OldStream(Stream):
    def __init__(self, legacy: Legacy, old: Old, kind: Kind, scope: str, options: WatchOptions) -> None:
        super().__init__(kind, scope, options, replace(Wanted(), form=old.version))
        self._legacy = legacy
        self._old = old

    def _made(self, event: Event, event_type: str, entry: Entry, *, first: bool) -> bytes:
        obj = self._legacy.shown(self._old, self._kind, entry.value, event.revision)
        return orjson.dumps({"type": event_type, "object": obj}) + b"\n"


def _selector(request: web.BaseRequest, kind: Kind, name: str) -> Selector:
    query = request.query
    labels = query.get("labels") or query.get("labelSelector") or query.get("label-selector") or ""
    fields = _fields(query)
    if name:
        fields = f"metadata.name={name}" + (f",{fields}" if fields else "")
    return selectors.parse(labels, fields, kind.readers)


def todays_query(request: web.BaseRequest) -> dict[str, str]:
    """What of the query says which objects are wanted and how, in today's words, for those who judge it."""
    watching = {"watch": request.query["watch"]} if "watch" in request.query else {}
    return {"fieldSelector": _fields(request.query), **watching}


def _fields(query: Mapping[str, str]) -> str:
    terms = []
    fields = query.get("fields") or query.get("fieldSelector") or query.get("field-selector") or ""
    for term in filter(None, (one.strip() for one in fields.split(","))):
        key, sign, value = term.partition("!=") if "!=" in term else term.partition("=")
        terms.append(f"{FIELDS.get(key, key)}{sign}{value}")
    return ",".join(terms)


def _status(old: Old, status: str, code: int) -> Object:
    body: Object = {"kind": "Status", "creationTimestamp": None, "apiVersion": old.version, "status": status}
    return body | ({"code": code} if code != 200 else {})


def _answer(body: Object, *, code: int = 200) -> web.Response:
    return web.Response(status=code, body=orjson.dumps(body) + b"\n", content_type="application/json")


def _failed(old: Old, failure: ApiFailure) -> Object:
    """A failure as it was told then: flat, with the object's id among the details."""
    status = failure.status()
    details = dict(status.get("details") or {})
    if "name" in details:
        details["id"] = details.pop("name")
    said: Object = {"kind": "Status", "creationTimestamp": None, "apiVersion": old.version}
    said |= {key: status[key] for key in ("status", "message", "reason", "code") if key in status}
    return said | ({"details": details} if details else {})
