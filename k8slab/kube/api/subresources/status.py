"""The status of an object: written here and nowhere else."""

from __future__ import annotations

from aiohttp import web

from k8slab.kube.api.kind import Kind
from k8slab.kube.api.requests import Asked
from k8slab.kube.api.verbs import Verbs


async def serve_status(verbs: Verbs, request: web.BaseRequest, kind: Kind, asked: Asked) -> web.StreamResponse:
    match request.method:
        case "PUT":
            return await verbs.update(request, kind, asked, status_only=True)
        case "PATCH":
            return await verbs.patch(request, kind, asked, status_only=True)
    return await verbs.get(request, kind, asked)
