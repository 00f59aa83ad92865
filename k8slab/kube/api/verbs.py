"""What is done to one object, on its own path and on those below it: it is read, replaced and patched."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

import orjson
from aiohttp import web

from k8slab.kube.api import answers, bodies, errors, negotiation, patches
from k8slab.kube.api.apply import managed
from k8slab.kube.api.apply.serving import APPLY_PATCH, media_of, serve_apply, writer_of
from k8slab.kube.api.auth.access import Access
from k8slab.kube.api.cache import Cache
from k8slab.kube.api.components import Components
from k8slab.kube.api.errors import ApiFailure
from k8slab.kube.api.kind import Kind
from k8slab.kube.api.meta import Object
from k8slab.kube.api.registry import Registry
from k8slab.kube.api.requests import Asked, is_dry_run
from k8slab.kube.api.strategic import strategic

PATCHES: Final = (
    "application/json-patch+json",
    "application/merge-patch+json",
    "application/strategic-merge-patch+json",
)


class Verbs:
    """With all that the answers of other paths are made from."""

    def __init__(self, registry: Registry, cache: Cache, access: Access, components: Components) -> None:
        self.registry = registry
        self.cache = cache
        self.access = access
        self.components = components

    async def get(self, request: web.BaseRequest, kind: Kind, asked: Asked) -> web.Response:
        answers.wanted_by(request)
        record = await self.registry.get(kind, asked.namespace, asked.name)
        return answers.record(request, kind, record.value, record.revision)

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
            return await serve_apply(self.registry, self.access, request, kind, asked, status_only=status_only)
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
