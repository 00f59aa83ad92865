"""The status of an object: written here and nowhere else."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aiohttp import web

from k8slab.kube.api.kind import Kind
from k8slab.kube.api.requests import Asked

if TYPE_CHECKING:
    from k8slab.kube.api.resources import Resources


async def serve_status(resources: Resources, request: web.BaseRequest, kind: Kind, asked: Asked) -> web.StreamResponse:
    match request.method:
        case "PUT":
            return await resources.update(request, kind, asked, status_only=True)
        case "PATCH":
            return await resources.patch(request, kind, asked, status_only=True)
    return await resources.get(request, kind, asked)
