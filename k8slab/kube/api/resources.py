"""Requests about objects: a method on a path becomes a verb of the registry, and its outcome becomes the answer."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Final

import orjson
from aiohttp import web

from k8slab.kube.api import deletion, errors, negotiation, patches, schemas, tables
from k8slab.kube.api.binding import bind
from k8slab.kube.api.cache import Cache
from k8slab.kube.api.errors import ApiFailure
from k8slab.kube.api.kind import Kind
from k8slab.kube.api.kinds.namespace import NAMESPACE
from k8slab.kube.api.kinds.pod import POD
from k8slab.kube.api.lists import Lister, Listing
from k8slab.kube.api.meta import Object
from k8slab.kube.api.negotiation import JSON, Wanted
from k8slab.kube.api.registry import Outcome, Registry
from k8slab.kube.api.requests import Asked, is_dry_run, is_watch, list_options, watch_options
from k8slab.kube.api.storage.base import Record
from k8slab.kube.api.streams import Connector
from k8slab.kube.api.watching import watch

PATCHES: Final = (
    "application/json-patch+json",
    "application/merge-patch+json",
    "application/strategic-merge-patch+json",
)
Answer = Awaitable[web.StreamResponse]


class Resources:
    def __init__(self, registry: Registry, lister: Lister, cache: Cache) -> None:
        self._registry = registry
        self._lister = lister
        self._cache = cache
        self._connector = Connector(registry)

    async def serve(self, request: web.BaseRequest, asked: Asked) -> web.StreamResponse:
        if asked.resource == "bindings" and not asked.group:
            return await self._bind(request, asked, "")
        kind = asked.kind
        if asked.subresource:
            return await self._subresource(kind)(request, asked)
        query = request.query
        if asked.name and not is_watch(asked, query):
            return await self._object(request, kind, asked)
        if request.method == "GET":
            if is_watch(asked, query):
                self._allow(kind, "watch")
                return await self._watch(request, kind, asked)
            return await self._list(request, kind, asked)
        if request.method == "POST" and not asked.name:
            return await self._create(request, kind, asked)
        if request.method == "DELETE" and not asked.name:
            self._allow(kind, "deletecollection")
            return await self._delete_collection(request, kind, asked)
        raise errors.method_not_allowed()

    def _subresource(self, kind: Kind) -> Callable[[web.BaseRequest, Asked], Answer]:
        async def serve(request: web.BaseRequest, asked: Asked) -> web.StreamResponse:
            method = request.method
            match asked.subresource:
                case "status" if kind.status and not asked.rest:
                    if method == "GET":
                        return await self._get(request, kind, asked)
                    if method in ("PUT", "PATCH"):
                        return await self._write(request, kind, asked, status_only=True)
                    raise errors.method_not_allowed()
                case "binding" if kind is POD:
                    return await self._bind(request, asked, asked.name)
                case "attach" | "exec" | "log" | "portforward" | "proxy":
                    return await self._connector.connect(request, asked)
                case "finalize" if kind is NAMESPACE:
                    return await self._finalize(request, asked)
            raise errors.unknown_resource()

        return serve

    async def _object(self, request: web.BaseRequest, kind: Kind, asked: Asked) -> web.StreamResponse:
        match request.method:
            case "GET" | "HEAD":
                return await self._get(request, kind, asked)
            case "PUT" | "PATCH":
                return await self._write(request, kind, asked)
            case "DELETE":
                return await self._delete(request, kind, asked)
        raise errors.method_not_allowed()

    def _allow(self, kind: Kind, verb: str) -> None:
        if verb not in kind.verbs:
            raise errors.method_not_allowed()

    async def _get(self, request: web.BaseRequest, kind: Kind, asked: Asked) -> web.Response:
        wanted = negotiation.accepted(request.headers.get("Accept", ""))
        record = await self._registry.get(kind, asked.namespace, asked.name)
        return _shown(request, kind, record.value, record.revision, wanted)

    async def _list(self, request: web.BaseRequest, kind: Kind, asked: Asked) -> web.Response:
        wanted = negotiation.accepted(request.headers.get("Accept", ""))
        listing = await self._lister.read(kind, asked.namespace, list_options(kind, request.query))
        metadata: dict[str, Any] = {"resourceVersion": str(listing.revision)}
        if listing.token:
            metadata["continue"] = listing.token
        if listing.remaining:
            metadata["remainingItemCount"] = listing.remaining
        raw = self._list_body(kind, listing, metadata, wanted, request.query.get("includeObject", "Metadata"))
        return _body(request, raw, wanted)

    def _list_body(self, kind: Kind, listing: Listing, metadata: dict[str, Any], wanted: Wanted, include: str) -> bytes:
        if not wanted.form:
            head = {"kind": f"{kind.kind}List", "apiVersion": kind.api_version, "metadata": metadata}
            items = b",".join(kind.list_item(one.value, one.revision) for one in listing.records)
            return orjson.dumps(head)[:-1] + b',"items":[' + items + b"]}\n"
        objects = tables.decoded(kind, listing.records, self._cache.of(kind).entries)
        if wanted.form == "Table":
            return orjson.dumps(tables.table(kind, objects, metadata, include, version=wanted.version))
        partial = [{"metadata": obj["metadata"]} for obj in objects]
        form = {"kind": "PartialObjectMetadataList", "apiVersion": wanted.version, "metadata": metadata}
        return orjson.dumps({**form, "items": partial})

    async def _watch(self, request: web.BaseRequest, kind: Kind, asked: Asked) -> web.StreamResponse:
        return await watch(
            request,
            kind,
            asked.namespace,
            cache=self._cache,
            storage=self._registry.storage,
            options=watch_options(kind, request.query, asked.name),
            wanted=negotiation.accepted(request.headers.get("Accept", "")),
        )

    async def _create(self, request: web.BaseRequest, kind: Kind, asked: Asked) -> web.Response:
        wanted = negotiation.accepted(request.headers.get("Accept", ""))
        dry_run = is_dry_run(request.query, "CreateOptions")
        obj, warnings = await _read(request, kind)
        if kind.namespaced:
            if not asked.namespace:
                raise errors.method_not_allowed()
            _hold_namespace(obj, asked.namespace)
        outcome = await self._registry.create(kind, asked.namespace, obj, dry_run=dry_run)
        return _outcome(request, kind, outcome, wanted, warnings, code=201)

    async def _write(
        self, request: web.BaseRequest, kind: Kind, asked: Asked, *, status_only: bool = False
    ) -> web.Response:
        wanted = negotiation.accepted(request.headers.get("Accept", ""))
        if request.method == "PATCH":
            return await self._patch(request, kind, asked, wanted, status_only=status_only)
        dry_run = is_dry_run(request.query, "UpdateOptions")
        obj, warnings = await _read(request, kind)
        meta = obj["metadata"]
        if kind.namespaced:
            _hold_namespace(obj, asked.namespace)
        if not meta.get("name"):
            raise (
                errors.bad_request("name must be provided")
                if kind.creates_on_update
                else errors.bad_request(f"the name of the object () does not match the name on the URL ({asked.name})")
            )
        if meta["name"] != asked.name:
            raise errors.bad_request(
                f"the name of the object ({meta['name']}) does not match the name on the URL ({asked.name})"
            )
        encoded = orjson.dumps(obj)

        def mutate(old: Object) -> Object:
            return self._registry.replacement(kind, old, orjson.loads(encoded), status_only=status_only)

        try:
            outcome = await self._registry.change(kind, asked.namespace, asked.name, mutate, dry_run=dry_run)
        except ApiFailure as failure:
            if failure.code != 404 or not kind.creates_on_update or status_only or meta.get("uid"):
                raise
            meta.pop("resourceVersion", None)
            outcome = await self._registry.create(kind, asked.namespace, obj, dry_run=dry_run)
        return _outcome(request, kind, outcome, wanted, warnings, code=201 if outcome.created else 200)

    async def _patch(
        self, request: web.BaseRequest, kind: Kind, asked: Asked, wanted: Wanted, *, status_only: bool
    ) -> web.Response:
        media = request.headers.get("Content-Type", "").partition(";")[0].strip()
        if media not in PATCHES:
            raise errors.unsupported_media_type(PATCHES)
        dry_run = is_dry_run(request.query, "PatchOptions")
        patch = negotiation.read_object(await request.read(), JSON)
        if media != PATCHES[0] and not isinstance(patch, Mapping):
            raise errors.bad_request("cannot restore struct from: a patch of this type is an object")
        warnings: list[str] = []

        def mutate(old: Object) -> Object:
            if media == PATCHES[0]:
                patched = patches.json_patch(old, patch)
            elif media == PATCHES[1]:
                patched = patches.merge(old, patch)
            else:
                patched = patches.strategic(old, patch, kind.kind)
            new, unknown = _decoded(kind, patched)
            warnings[:] = _judge_unknown(request.query, kind, unknown)
            if new["metadata"].get("name") != asked.name:
                raise errors.bad_request("the name of the object does not match the name on the URL")
            if kind.namespaced:
                _hold_namespace(new, asked.namespace)
            return self._registry.replacement(kind, old, new, status_only=status_only)

        outcome = await self._registry.change(kind, asked.namespace, asked.name, mutate, dry_run=dry_run)
        return _outcome(request, kind, outcome, wanted, warnings, code=200)

    async def _delete(self, request: web.BaseRequest, kind: Kind, asked: Asked) -> web.Response:
        wanted = negotiation.accepted(request.headers.get("Accept", ""))
        options = await _delete_options(request)
        outcome = await deletion.delete(self._registry, kind, asked.namespace, asked.name, options)
        if kind.returns_deleted or not outcome.deleted:
            return _shown(request, kind, outcome.value, outcome.revision, wanted)
        uid = orjson.loads(outcome.value)["metadata"]["uid"]
        details = {"name": asked.name, "group": kind.group, "kind": kind.plural, "uid": uid}
        status = {
            "kind": "Status",
            "apiVersion": "v1",
            "metadata": {},
            "status": "Success",
            "details": {key: value for key, value in details.items() if value},
        }
        return _body(request, orjson.dumps(status) + b"\n", wanted)

    async def _delete_collection(self, request: web.BaseRequest, kind: Kind, asked: Asked) -> web.Response:
        wanted = negotiation.accepted(request.headers.get("Accept", ""))
        options = await _delete_options(request)
        listing = await self._lister.read(kind, asked.namespace, list_options(kind, request.query))
        outcomes = await deletion.delete_all(self._registry, kind, listing.records, options)
        records: Sequence[Record] = [Record("", one.value, one.revision) for one in outcomes]
        metadata = {"resourceVersion": str(listing.revision)}
        return _body(request, self._list_body(kind, Listing(list(records), 0), metadata, Wanted(), "None"), wanted)

    async def _bind(self, request: web.BaseRequest, asked: Asked, name: str) -> web.Response:
        if request.method != "POST" or asked.rest:
            raise errors.method_not_allowed()
        wanted = negotiation.accepted(request.headers.get("Accept", ""))
        body = negotiation.read_object(await request.read(), request.headers.get("Content-Type", ""))
        binding, unknown = _decode_as("Binding", "v1", "v1", body)
        warnings = _judge_unknown(request.query, POD, unknown)
        given = binding["metadata"].get("name") or ""
        _hold_namespace(binding, asked.namespace)
        if name and given not in ("", name):
            raise errors.bad_request(f"name in URL ({name}) does not match name in Binding object ({given})")
        dry_run = is_dry_run(request.query, "CreateOptions")
        await bind(self._registry, asked.namespace, name or given, binding, dry_run=dry_run)
        status = {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "code": 201}
        return _body(request, orjson.dumps(status) + b"\n", wanted, code=201, warnings=warnings)

    async def _finalize(self, request: web.BaseRequest, asked: Asked) -> web.Response:
        if request.method != "PUT":
            raise errors.method_not_allowed()
        wanted = negotiation.accepted(request.headers.get("Accept", ""))
        obj, warnings = await _read(request, NAMESPACE)
        wishes = (obj.get("spec") or {}).get("finalizers") or []

        def mutate(old: Object) -> Object:
            version = obj["metadata"].get("resourceVersion")
            if version and version != old["metadata"]["resourceVersion"]:
                raise errors.conflict("", "namespaces", asked.name, errors.MODIFIED)
            spec = {**(old.get("spec") or {}), "finalizers": wishes}
            return {**old, "spec": spec}

        outcome = await self._registry.change(NAMESPACE, "", asked.name, mutate)
        return _outcome(request, NAMESPACE, outcome, wanted, warnings, code=200)


async def _read(request: web.BaseRequest, kind: Kind) -> tuple[Object, list[str]]:
    """The object in the body, and warnings about fields that its type does not have. Raises 400 and 415."""
    body = negotiation.read_object(await request.read(), request.headers.get("Content-Type", ""))
    obj, unknown = _decoded(kind, body)
    return obj, _judge_unknown(request.query, kind, unknown)


def _decoded(kind: Kind, body: Any) -> tuple[Object, list[str]]:
    return _decode_as(kind.kind, kind.api_version, kind.version, body)


def _decode_as(form: str, api_version: str, version: str, body: Any) -> tuple[Object, list[str]]:
    if not isinstance(body, dict):
        raise errors.bad_request("the object provided is unrecognized: it is not an object")
    given, given_version = body.get("kind") or form, body.get("apiVersion") or api_version
    if given != form or given_version != api_version:
        raise errors.bad_request(
            f'{given} in version "{given_version.rpartition("/")[2]}" cannot be handled as a {form}: converting '
            f"({given_version}.{given}) to ({api_version}.{form}): unknown conversion"
            if isinstance(given, str) and isinstance(given_version, str)
            else "the object provided is unrecognized: kind and apiVersion are words"
        )
    obj, unknown = schemas.decode(form, body, version=version)
    obj.setdefault("metadata", {})
    return obj, unknown


def _judge_unknown(query: Mapping[str, str], kind: Kind, unknown: Sequence[str]) -> list[str]:
    """Warnings, or none when asked to ignore. Raises BadRequest in strict mode."""
    level = query.get("fieldValidation") or "Warn"
    if level not in ("Strict", "Warn", "Ignore"):
        problem = errors.FieldProblem("fieldValidation", "FieldValueNotSupported", f'Unsupported value: "{level}"')
        raise errors.invalid("meta.k8s.io", "CreateOptions", "", [problem])
    if not unknown or level == "Ignore":
        return []
    said = [f'unknown field "{path}"' for path in unknown]
    if level == "Strict":
        raise errors.bad_request(
            f'{kind.kind} in version "{kind.version}" cannot be handled as a {kind.kind}: strict decoding error: '
            + ", ".join(said)
        )
    return said


def _hold_namespace(obj: Object, namespace: str) -> None:
    given = obj["metadata"].get("namespace") or namespace
    if given != namespace:
        raise errors.bad_request(
            "the namespace of the provided object does not match the namespace sent on the request"
        )
    obj["metadata"]["namespace"] = namespace


async def _delete_options(request: web.BaseRequest) -> deletion.DeleteOptions:
    raw = await request.read()
    body = negotiation.read_object(raw, request.headers.get("Content-Type", "")) if raw else {}
    if not isinstance(body, dict):
        raise errors.bad_request("the object provided is unrecognized: DeleteOptions are an object")
    return deletion.parse_options(body, dict(request.query), dry_run=is_dry_run(request.query, "DeleteOptions"))


def _shown(
    request: web.BaseRequest,
    kind: Kind,
    value: bytes,
    revision: int,
    wanted: Wanted,
    *,
    code: int = 200,
    warnings: Sequence[str] = (),
) -> web.Response:
    if not wanted.form:
        raw = kind.served(value, revision) if revision else value
        return _body(request, raw + b"\n", wanted, code=code, warnings=warnings)
    obj = kind.decode(value, revision)
    if wanted.form == "Table":
        metadata = {"resourceVersion": str(revision)}
        include = request.query.get("includeObject", "Metadata")
        form = tables.table(kind, [obj], metadata, include, version=wanted.version)
    else:
        form = {"kind": wanted.form, "apiVersion": wanted.version, "metadata": obj["metadata"]}
    return _body(request, orjson.dumps(form), wanted, code=code, warnings=warnings)


def _outcome(
    request: web.BaseRequest, kind: Kind, outcome: Outcome, wanted: Wanted, warnings: Sequence[str], *, code: int
) -> web.Response:
    return _shown(request, kind, outcome.value, outcome.revision, wanted, code=code, warnings=warnings)


def _body(
    request: web.BaseRequest, raw: bytes, wanted: Wanted, *, code: int = 200, warnings: Sequence[str] = ()
) -> web.Response:
    raw = negotiation.written(raw, wanted.media)
    response = web.Response(status=code, body=raw, content_type=wanted.media)
    response.headers["Cache-Control"] = "no-cache, private"
    for text in warnings:
        quoted = text.replace("\\", "\\\\").replace('"', '\\"')
        response.headers.add("Warning", f'299 - "{quoted}"')
    packed = negotiation.compressed(raw, request.headers)
    if packed is not None:
        response.body = packed
        response.headers["Content-Encoding"] = "gzip"
        response.headers["Vary"] = "Accept-Encoding"
    return response
