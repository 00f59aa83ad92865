"""Requests about objects: a method on a path becomes a verb of the registry, and its outcome becomes the answer."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

import orjson
from aiohttp import web

from k8slab.kube.api import answers, bodies, deletion, errors, negotiation, patches
from k8slab.kube.api.apply import managed
from k8slab.kube.api.apply.serving import APPLY_PATCH, media_of, serve_apply, writer_of
from k8slab.kube.api.auth.access import Access
from k8slab.kube.api.cache import Cache
from k8slab.kube.api.components import Components
from k8slab.kube.api.computed import COMPUTED
from k8slab.kube.api.errors import ApiFailure
from k8slab.kube.api.kind import Kind
from k8slab.kube.api.lists import Lister, Listing
from k8slab.kube.api.meta import Object
from k8slab.kube.api.registry import Registry
from k8slab.kube.api.requests import Asked, is_dry_run, is_watch, list_options, watch_options
from k8slab.kube.api.storage.base import Record
from k8slab.kube.api.strategic import strategic
from k8slab.kube.api.subresources import SERVED
from k8slab.kube.api.watching import watch

PATCHES: Final = (
    "application/json-patch+json",
    "application/merge-patch+json",
    "application/strategic-merge-patch+json",
)
ON_OBJECTS: Final[Mapping[str, str]] = {
    "GET": "get",
    "HEAD": "get",
    "PUT": "update",
    "PATCH": "patch",
    "DELETE": "delete",
    "POST": "create",
}
ON_COLLECTIONS: Final[Mapping[str, str]] = {
    "GET": "list",
    "HEAD": "list",
    "POST": "create",
    "DELETE": "deletecollection",
}


class Resources:
    def __init__(
        self, registry: Registry, lister: Lister, cache: Cache, access: Access, components: Components
    ) -> None:
        self.registry = registry
        self.cache = cache
        self.access = access
        self.components = components
        self._lister = lister

    async def serve(self, request: web.BaseRequest, asked: Asked) -> web.StreamResponse:
        kind = asked.kind
        if asked.subresource:
            return await self._subresource(request, kind, asked)
        watching = is_watch(asked, request.query) and request.method == "GET"
        if asked.watching and not watching:
            raise errors.method_not_allowed()
        on_object = bool(asked.name) and not watching
        verb = "watch" if watching else (ON_OBJECTS if on_object else ON_COLLECTIONS).get(request.method)
        if verb not in kind.verbs or (on_object and verb == "create"):
            raise errors.method_not_allowed()
        if kind.namespaced and not asked.namespace and (on_object or verb in ("create", "deletecollection")):
            raise errors.method_not_allowed()
        if not kind.stored:
            return await COMPUTED[kind](self, request, kind, asked)
        match verb:
            case "get":
                return await self.get(request, kind, asked)
            case "update":
                return await self.update(request, kind, asked)
            case "patch":
                return await self.patch(request, kind, asked)
            case "delete":
                return await self._delete(request, kind, asked)
            case "list":
                return await self._list(request, kind, asked)
            case "watch":
                return await self._watch(request, kind, asked)
            case "create":
                return await self._create(request, kind, asked)
        return await self._delete_collection(request, kind, asked)

    async def _subresource(self, request: web.BaseRequest, kind: Kind, asked: Asked) -> web.StreamResponse:
        below = kind.subresource(asked.subresource)
        if below is None or (asked.rest and not below.has_paths):
            raise errors.unknown_resource()
        if not below.has_paths and ON_OBJECTS.get(request.method) not in below.verbs:
            raise errors.method_not_allowed()
        return await SERVED[below.name](self, request, kind, asked)

    async def get(self, request: web.BaseRequest, kind: Kind, asked: Asked) -> web.Response:
        answers.wanted_by(request)
        record = await self.registry.get(kind, asked.namespace, asked.name)
        return answers.record(request, kind, record.value, record.revision)

    async def _list(self, request: web.BaseRequest, kind: Kind, asked: Asked) -> web.Response:
        answers.wanted_by(request)
        found = await self._lister.read(kind, asked.namespace, list_options(kind, request.query))
        return answers.listing(request, kind, found, self.cache.of(kind).entries)

    async def _watch(self, request: web.BaseRequest, kind: Kind, asked: Asked) -> web.StreamResponse:
        return await watch(
            request,
            kind,
            asked.namespace,
            cache=self.cache,
            storage=self.registry.storage,
            options=watch_options(kind, request.query, asked.name),
            wanted=answers.wanted_by(request),
        )

    async def _create(self, request: web.BaseRequest, kind: Kind, asked: Asked) -> web.Response:
        answers.wanted_by(request)
        dry_run = is_dry_run(request.query, "CreateOptions")
        obj, warnings = await bodies.read(request, kind)
        if kind.namespaced:
            bodies.hold_namespace(obj, asked.namespace)
        self.access.judge_grant(request["user"], kind, asked.namespace, obj, None)
        track = managed.by_update(kind, writer_of(request, "CreateOptions"))
        done = await self.registry.create(kind, asked.namespace, obj, dry_run=dry_run, track=track)
        return answers.outcome(request, kind, done, warnings, code=201)

    async def update(
        self, request: web.BaseRequest, kind: Kind, asked: Asked, *, status_only: bool = False
    ) -> web.Response:
        answers.wanted_by(request)
        dry_run = is_dry_run(request.query, "UpdateOptions")
        obj, warnings = await bodies.read(request, kind)
        meta = obj["metadata"]
        if kind.namespaced:
            bodies.hold_namespace(obj, asked.namespace)
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
        writer = writer_of(request, "UpdateOptions", asked.subresource)
        track = managed.by_update(kind, writer, meta.get("managedFields"))

        def mutate(old: Object) -> Object:
            new = self.registry.replacement(kind, old, orjson.loads(encoded), status_only=status_only, track=track)
            self.access.judge_grant(request["user"], kind, asked.namespace, new, old)
            return new

        try:
            done = await self.registry.change(kind, asked.namespace, asked.name, mutate, dry_run=dry_run)
        except ApiFailure as failure:
            if failure.code != 404 or not kind.creates_on_update or status_only or meta.get("uid"):
                raise
            self.access.judge_creation(request["user"], kind, asked.namespace, asked.name)
            meta.pop("resourceVersion", None)
            done = await self.registry.create(kind, asked.namespace, obj, dry_run=dry_run, track=track)
        return answers.outcome(request, kind, done, warnings, code=201 if done.created else 200)

    async def patch(
        self, request: web.BaseRequest, kind: Kind, asked: Asked, *, status_only: bool = False
    ) -> web.Response:
        answers.wanted_by(request)
        if media_of(request) == APPLY_PATCH:
            return await serve_apply(self, request, kind, asked, status_only=status_only)
        dry_run = is_dry_run(request.query, "PatchOptions")
        apply_patch = await self.read_patch(request, kind.schema)
        writer = writer_of(request, "PatchOptions", asked.subresource)
        warnings: list[str] = []

        def mutate(old: Object) -> Object:
            new, unknown = bodies.decoded(kind, apply_patch(old))
            warnings[:] = bodies.judge_unknown(request.query, kind.api_version, kind.kind, unknown)
            if new["metadata"].get("name") != asked.name:
                raise errors.bad_request("the name of the object does not match the name on the URL")
            if kind.namespaced:
                bodies.hold_namespace(new, asked.namespace)
            track = managed.by_update(kind, writer, new["metadata"].get("managedFields"))
            replaced = self.registry.replacement(kind, old, new, status_only=status_only, track=track)
            self.access.judge_grant(request["user"], kind, asked.namespace, replaced, old)
            return replaced

        done = await self.registry.change(kind, asked.namespace, asked.name, mutate, dry_run=dry_run)
        return answers.outcome(request, kind, done, warnings)

    async def _delete(self, request: web.BaseRequest, kind: Kind, asked: Asked) -> web.Response:
        answers.wanted_by(request)
        options = await bodies.delete_options(request)
        done = await deletion.delete(self.registry, kind, asked.namespace, asked.name, options)
        if kind.returns_deleted or not done.deleted:
            return answers.outcome(request, kind, done)
        uid = orjson.loads(done.value)["metadata"]["uid"]
        details = {"name": asked.name, "group": kind.group, "kind": kind.plural, "uid": uid}
        return answers.success(request, details)

    async def _delete_collection(self, request: web.BaseRequest, kind: Kind, asked: Asked) -> web.Response:
        answers.wanted_by(request)
        options = await bodies.delete_options(request)
        found = await self._lister.read(kind, asked.namespace, list_options(kind, request.query))
        outcomes = await deletion.delete_all(self.registry, kind, found.records, options)
        deleted = Listing([Record("", one.value, one.revision) for one in outcomes], found.revision)
        return answers.listing(request, kind, deleted, {})

    @staticmethod
    async def read_patch(request: web.BaseRequest, form: str) -> Callable[[Object], Any]:
        """The patch in the body, for an object of the type. Raises 400, and 415 for one that is not served."""
        media = media_of(request)
        if media not in PATCHES:
            raise errors.unsupported_media_type((*PATCHES, APPLY_PATCH))
        patch = negotiation.read_object(await request.read(), negotiation.JSON)
        if media == PATCHES[0]:
            return lambda old: patches.json_patch(old, patch)
        if not isinstance(patch, Mapping):
            raise errors.bad_request("cannot restore struct from: a patch of this type is an object")
        if media == PATCHES[1]:
            return lambda old: patches.merge(old, patch)
        return lambda old: strategic(old, patch, form)
