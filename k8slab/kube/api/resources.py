"""Requests about objects: a method on a path becomes a verb of the registry, and its outcome becomes the answer."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import orjson
from aiohttp import web

from k8slab.kube.api import answers, bodies, deletion, errors
from k8slab.kube.api.apply import managed
from k8slab.kube.api.apply.serving import writer_of
from k8slab.kube.api.computed import COMPUTED
from k8slab.kube.api.kind import Kind
from k8slab.kube.api.lists import Lister, Listing
from k8slab.kube.api.requests import Asked, is_dry_run, is_watch, list_options, watch_options
from k8slab.kube.api.storage.base import Record
from k8slab.kube.api.subresources import SERVED
from k8slab.kube.api.verbs import Verbs
from k8slab.kube.api.watching import watch

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
    def __init__(self, verbs: Verbs, lister: Lister) -> None:
        self._verbs = verbs
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
            return await COMPUTED[kind](self._verbs, request, kind, asked)
        match verb:
            case "get":
                return await self._verbs.get(request, kind, asked)
            case "update":
                return await self._verbs.update(request, kind, asked)
            case "patch":
                return await self._verbs.patch(request, kind, asked)
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
        return await SERVED[below.name](self._verbs, request, kind, asked)

    async def _list(self, request: web.BaseRequest, kind: Kind, asked: Asked) -> web.Response:
        answers.wanted_by(request)
        found = await self._lister.read(kind, asked.namespace, list_options(kind, request.query))
        return answers.listing(request, kind, found, self._verbs.cache.of(kind).entries)

    async def _watch(self, request: web.BaseRequest, kind: Kind, asked: Asked) -> web.StreamResponse:
        return await watch(
            request,
            kind,
            asked.namespace,
            cache=self._verbs.cache,
            storage=self._verbs.registry.storage,
            options=watch_options(kind, request.query, asked.name),
            wanted=answers.wanted_by(request),
        )

    async def _create(self, request: web.BaseRequest, kind: Kind, asked: Asked) -> web.Response:
        answers.wanted_by(request)
        dry_run = is_dry_run(request.query, "CreateOptions")
        obj, warnings = await bodies.read(request, kind)
        if kind.namespaced:
            bodies.hold_namespace(obj, asked.namespace)
        self._verbs.access.judge_grant(request["user"], kind, asked.namespace, obj, None)
        track = managed.by_update(kind, writer_of(request, "CreateOptions"))
        done = await self._verbs.registry.create(kind, asked.namespace, obj, dry_run=dry_run, track=track)
        return answers.outcome(request, kind, done, warnings, code=201)

    async def _delete(self, request: web.BaseRequest, kind: Kind, asked: Asked) -> web.Response:
        answers.wanted_by(request)
        options = await bodies.delete_options(request)
        done = await deletion.delete(self._verbs.registry, kind, asked.namespace, asked.name, options)
        if kind.returns_deleted or not done.deleted:
            return answers.outcome(request, kind, done)
        uid = orjson.loads(done.value)["metadata"]["uid"]
        details = {"name": asked.name, "group": kind.group, "kind": kind.plural, "uid": uid}
        return answers.success(request, details)

    async def _delete_collection(self, request: web.BaseRequest, kind: Kind, asked: Asked) -> web.Response:
        answers.wanted_by(request)
        options = await bodies.delete_options(request)
        found = await self._lister.read(kind, asked.namespace, list_options(kind, request.query))
        outcomes = await deletion.delete_all(self._verbs.registry, kind, found.records, options)
        deleted = Listing([Record("", one.value, one.revision) for one in outcomes], found.revision)
        return answers.listing(request, kind, deleted, {})
