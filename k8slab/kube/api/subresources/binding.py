"""A pod's binding, by the pod's path or by that of bindings."""

from __future__ import annotations

from aiohttp import web

from k8slab.kube.api import answers, bodies, errors
from k8slab.kube.api.binding import bind
from k8slab.kube.api.kind import Kind
from k8slab.kube.api.requests import Asked, is_dry_run
from k8slab.kube.api.verbs import Verbs


async def serve_binding(verbs: Verbs, request: web.BaseRequest, kind: Kind, asked: Asked) -> web.StreamResponse:
    answers.wanted_by(request)
    binding, warnings = await bodies.read_as(request, "Binding", "v1", "Binding")
    given = binding["metadata"].get("name") or ""
    bodies.hold_namespace(binding, asked.namespace)
    if asked.name and given not in ("", asked.name):
        raise errors.bad_request(f"name in URL ({asked.name}) does not match name in Binding object ({given})")
    dry_run = is_dry_run(request.query, "CreateOptions")
    await bind(verbs.registry, asked.namespace, asked.name or given, binding, dry_run=dry_run)
    return answers.success(request, code=201, warnings=warnings)
