"""What is served below objects, by the name in the path; which kind has which is said by its declaration."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Final

from aiohttp import web

from k8slab.kube.api.kind import Kind
from k8slab.kube.api.requests import Asked
from k8slab.kube.api.streams import STREAMS
from k8slab.kube.api.streams import Stream as Passed
from k8slab.kube.api.subresources.binding import serve_binding
from k8slab.kube.api.subresources.eviction import serve_eviction
from k8slab.kube.api.subresources.finalize import serve_finalize
from k8slab.kube.api.subresources.scale import serve_scale
from k8slab.kube.api.subresources.status import serve_status
from k8slab.kube.api.subresources.token import serve_token
from k8slab.kube.api.verbs import Verbs

Serve = Callable[[Verbs, web.BaseRequest, Kind, Asked], Awaitable[web.StreamResponse]]


def _passed_on(stream: Passed) -> Serve:
    async def serve(verbs: Verbs, request: web.BaseRequest, kind: Kind, asked: Asked) -> web.StreamResponse:
        return await stream(request, verbs.registry, asked)

    return serve


SERVED: Final[Mapping[str, Serve]] = {
    "binding": serve_binding,
    "eviction": serve_eviction,
    "finalize": serve_finalize,
    "scale": serve_scale,
    "status": serve_status,
    "token": serve_token,
    **{name: _passed_on(stream) for name, stream in STREAMS.items()},
}
