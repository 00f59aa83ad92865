"""Kinds that are kept nowhere: each is answered on the spot."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Final

import orjson
from aiohttp import web

from k8slab.kube.api import answers, bodies, errors
from k8slab.kube.api.kind import Kind
from k8slab.kube.api.kinds.components import COMPONENT_STATUS
from k8slab.kube.api.kinds.reviews import REVIEWS
from k8slab.kube.api.kinds.small import BINDING
from k8slab.kube.api.kinds.usage import NODE_METRICS, POD_METRICS
from k8slab.kube.api.requests import Asked, is_dry_run
from k8slab.kube.api.subresources.binding import serve_binding
from k8slab.kube.api.usage import serve_usage
from k8slab.kube.api.verbs import Verbs

DEPRECATED: Final = "v1 ComponentStatus is deprecated in v1.19+"

Answer = Callable[[Verbs, web.BaseRequest, Kind, Asked], Awaitable[web.StreamResponse]]


async def _review(verbs: Verbs, request: web.BaseRequest, kind: Kind, asked: Asked) -> web.StreamResponse:
    answers.wanted_by(request)
    is_dry_run(request.query, "CreateOptions")
    body, warnings = await bodies.read(request, kind)
    if kind.namespaced:
        bodies.hold_namespace(body, asked.namespace)
    answered = await verbs.access.reviews.answer(kind.kind, body, request["user"])
    raw = orjson.dumps({"kind": kind.kind, "apiVersion": kind.api_version, **answered})
    return answers.body(request, raw + b"\n", code=201, warnings=warnings)


async def _components(verbs: Verbs, request: web.BaseRequest, kind: Kind, asked: Asked) -> web.StreamResponse:
    """Raises NotFound."""
    answers.wanted_by(request)
    found = await verbs.components.look(asked.name)
    if not asked.name:
        return answers.computed_list(request, kind, found, warnings=(DEPRECATED,))
    if not found:
        raise errors.not_found(kind.group, kind.plural, asked.name)
    return answers.computed(request, kind, found[0], warnings=(DEPRECATED,))


COMPUTED: Final[Mapping[Kind, Answer]] = {
    BINDING: serve_binding,
    COMPONENT_STATUS: _components,
    NODE_METRICS: serve_usage,
    POD_METRICS: serve_usage,
    **dict.fromkeys(REVIEWS, _review),
}
