"""A namespace's finalizers: whoever has emptied it takes its own away here."""

from __future__ import annotations

from aiohttp import web

from k8slab.kube.api import answers, bodies, errors
from k8slab.kube.api.kind import Kind
from k8slab.kube.api.meta import Object
from k8slab.kube.api.requests import Asked
from k8slab.kube.api.verbs import Verbs


async def serve_finalize(verbs: Verbs, request: web.BaseRequest, kind: Kind, asked: Asked) -> web.StreamResponse:
    answers.wanted_by(request)
    obj, warnings = await bodies.read(request, kind)
    wishes = (obj.get("spec") or {}).get("finalizers") or []

    def mutate(old: Object) -> Object:
        version = obj["metadata"].get("resourceVersion")
        if version and version != old["metadata"]["resourceVersion"]:
            raise errors.conflict(kind.group, kind.plural, asked.name, errors.MODIFIED)
        return {**old, "spec": {**(old.get("spec") or {}), "finalizers": wishes}}

    done = await verbs.registry.change(kind, asked.namespace, asked.name, mutate)
    return answers.outcome(request, kind, done, warnings)
