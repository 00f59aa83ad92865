"""Tokens of service accounts, for whoever may ask."""

from __future__ import annotations

import orjson
from aiohttp import web

from k8slab.kube.api import answers, bodies
from k8slab.kube.api.kind import Kind
from k8slab.kube.api.requests import Asked
from k8slab.kube.api.verbs import Verbs

VERSION = "authentication.k8s.io/v1"
FORM = "TokenRequest"


async def serve_token(verbs: Verbs, request: web.BaseRequest, kind: Kind, asked: Asked) -> web.StreamResponse:
    answers.wanted_by(request)
    wish, warnings = await bodies.read_as(request, FORM, VERSION, FORM)
    bodies.hold_namespace(wish, asked.namespace)
    record = await verbs.registry.get(kind, asked.namespace, asked.name)
    answered = await verbs.access.token(kind.decode(record.value, record.revision), wish)
    raw = orjson.dumps({"kind": FORM, "apiVersion": VERSION, **answered})
    return answers.body(request, raw + b"\n", code=201, warnings=warnings)
