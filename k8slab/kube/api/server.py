"""The server's front: which path is what, and how trouble is told."""

from __future__ import annotations

import asyncio
import hashlib
import logging
from typing import Any, Final

import orjson
from aiohttp import web

from k8slab.kube import malformed
from k8slab.kube.api import errors
from k8slab.kube.api.auth.attributes import of_path, of_resource
from k8slab.kube.api.auth.gate import Gate
from k8slab.kube.api.auth.tokens import Tokens
from k8slab.kube.api.discovery import Discovery
from k8slab.kube.api.errors import ApiFailure
from k8slab.kube.api.health import ENDPOINTS, Health
from k8slab.kube.api.legacy import routes as legacy
from k8slab.kube.api.legacy.routes import Legacy
from k8slab.kube.api.metrics import CONTENT_TYPE as METRICS_TYPE
from k8slab.kube.api.metrics import Metrics, is_long
from k8slab.kube.api.negotiation import LARGEST_BODY, accepted, compressed
from k8slab.kube.api.openapi import V2_PROTOBUF, Document, OpenApi
from k8slab.kube.api.requests import parse, parse_any
from k8slab.kube.api.resources import Resources
from k8slab.kube.api.storage.base import StorageRejected, StorageUnavailable
from k8slab.kube.api.version import VERSION

log = logging.getLogger(__name__)

JSON_TYPE: Final = "application/json"
CONFIGURATION: Final = "/.well-known/openid-configuration"
KEY_SET: Final = "/openid/v1/jwks"
PATHS: Final = (
    *(CONFIGURATION, "/api", "/api/v1", "/apis", "/healthz", "/livez", "/openapi/v2", "/openapi/v3", KEY_SET),
    *("/metrics", "/readyz", "/version"),
)


class ApiServer:
    def __init__(
        self,
        *,
        resources: Resources,
        legacy: Legacy,
        discovery: Discovery,
        openapi: OpenApi,
        health: Health,
        tokens: Tokens,
        metrics: Metrics,
    ) -> None:
        self._metrics = metrics
        self._legacy = legacy
        self._resources = resources
        self._discovery = discovery
        self._openapi = openapi
        self._health = health
        self._tokens = tokens

    def protocol_factory(self, gate: Gate) -> web.Server:
        """Connections of one port."""
        malformed.keep_quiet()

        async def handle(request: web.BaseRequest) -> web.StreamResponse:
            event = gate.audit.received(request) if gate.audit is not None else None
            with self._metrics.counted(request) as counted:
                response = await self._handle(request, gate)
                counted["code"] = response.status
            if gate.audit is not None and event is not None:
                gate.audit.told(event, request, response.status)
            return response

        return web.Server(handle, request_factory=_request, access_log=None, tcp_keepalive=True)

    async def _handle(self, request: web.BaseRequest, gate: Gate) -> web.StreamResponse:
        try:
            return await self._answer(request, gate)
        except ApiFailure as failure:
            return _failure(failure)
        except StorageUnavailable as trouble:
            log.warning("%s %s: %s", request.method, request.path_qs, trouble)
            return _failure(errors.storage_said(trouble.said) if trouble.said else errors.timeout())
        except StorageRejected as refusal:
            return _failure(errors.storage_said(str(refusal)))
        except web.HTTPRequestEntityTooLarge:
            return _failure(errors.too_large_body(LARGEST_BODY))
        except asyncio.CancelledError:
            raise
        except RecursionError:
            # Small patches can put together what is nested deeper than any one body may be.
            return _failure(errors.too_deep())
        except Exception as trouble:
            if isinstance(trouble, ConnectionError) and _is_gone(request):
                # Nobody reads this; without an answer the server would take a client's leaving for a bug and log it.
                return web.Response()
            # The last line of defence: one request's bug must not look like a dead server to everybody.
            log.exception("%s %s", request.method, request.path_qs)
            return _failure(errors.internal(f"{type(trouble).__name__}"))

    async def _answer(self, request: web.BaseRequest, gate: Gate) -> web.StreamResponse:
        path = request.path
        asked = parse(request) if path.startswith(("/api/", "/apis/")) else None
        if asked is not None:
            wanted = of_resource(request.method, asked, request.query)
            await gate.enter(request, wanted)
            if not is_long(wanted):
                return await self._resources.serve(request, asked)
            with self._metrics.open_for_long(wanted):
                return await self._resources.serve(request, asked)
        if path.startswith("/api/v1beta") and (old := legacy.parse(request)) is not None:
            await gate.enter(request, of_resource(request.method, old.asked, legacy.todays_query(request)))
            return await self._legacy.serve(request, old)
        unserved = parse_any(request) if path.startswith(("/api/", "/apis/")) else None
        if unserved is not None:
            await gate.enter(request, of_resource(request.method, unserved, request.query))
            return _not_found()
        await gate.enter(request, of_path(request.method, path))
        if request.method not in ("GET", "HEAD"):
            raise errors.method_not_allowed() if self._known(path) else errors.unknown_resource()
        if path.startswith(("/healthz", "/livez", "/readyz")):
            return await self._health_answer(request)
        if path == "/version" or path == "/version/":
            return web.Response(body=VERSION, content_type=JSON_TYPE)
        if path.startswith("/openapi/"):
            return self._openapi_answer(request)
        if path == "/metrics":
            return web.Response(body=self._metrics.text(), headers={"Content-Type": METRICS_TYPE})
        if path == CONFIGURATION:
            place = f"{request.scheme}://{request.host}{KEY_SET}"
            return web.Response(body=orjson.dumps(self._tokens.discovery(place)), content_type=JSON_TYPE)
        if path == KEY_SET:
            return web.Response(
                body=orjson.dumps(await self._tokens.key_set()), content_type="application/jwk-set+json"
            )
        if path == "/":
            return web.Response(body=orjson.dumps({"paths": PATHS}), content_type=JSON_TYPE)
        document = self._discovery.document(path.rstrip("/"), accepted(request.headers.get("Accept", "")))
        if document is None:
            return _not_found()
        body, media, tag = document
        return _cacheable(request, body, media, tag)

    def _known(self, path: str) -> bool:
        return path.rstrip("/") in PATHS or path == "/"

    async def _health_answer(self, request: web.BaseRequest) -> web.Response:
        endpoint, _, only = request.path.strip("/").partition("/")
        if endpoint not in ENDPOINTS or (only and only not in ENDPOINTS[endpoint]):
            return _not_found()
        excluded = frozenset(request.query.getall("exclude", []))
        code, text = await self._health.report(
            endpoint, only=only, excluded=excluded, verbose="verbose" in request.query
        )
        return web.Response(status=code, text=text, headers={"X-Content-Type-Options": "nosniff"})

    def _openapi_answer(self, request: web.BaseRequest) -> web.Response:
        path = request.path.removeprefix("/openapi/").rstrip("/")
        if path == "v3":
            tag = hashlib.sha256(self._openapi.index).hexdigest()[:32].upper()
            return _cacheable(request, self._openapi.index, JSON_TYPE, f'"{tag}"')
        if path == "v2":
            protobuf = "proto-openapi.spec.v2" in request.headers.get("Accept", "")
            return _document(request, self._openapi.v2(protobuf=protobuf), V2_PROTOBUF if protobuf else JSON_TYPE)
        try:
            document = self._openapi.v3(path.removeprefix("v3/"))
        except KeyError:
            return _not_found()
        if request.query.get("hash", document.digest) != document.digest:
            location = f"/openapi/{path}?hash={document.digest}"
            return web.Response(status=301, headers={"Location": location})
        return _document(request, document, JSON_TYPE)


def _request(message: Any, payload: Any, protocol: Any, writer: Any, task: Any) -> web.BaseRequest:
    loop = asyncio.get_running_loop()
    return web.BaseRequest(message, payload, protocol, writer, task, loop, client_max_size=LARGEST_BODY)


def _is_gone(request: web.BaseRequest) -> bool:
    return request.transport is None or request.transport.is_closing()


def _not_found() -> web.Response:
    return web.Response(status=404, text="404 page not found\n", headers={"X-Content-Type-Options": "nosniff"})


def _cacheable(request: web.BaseRequest, body: bytes, media: str, tag: str) -> web.Response:
    headers = {"ETag": tag, "Vary": "Accept", "Cache-Control": "public", "Content-Type": media}
    if request.headers.get("If-None-Match") == tag:
        return web.Response(status=304, headers=headers)
    packed = compressed(body, request.headers)
    if packed is not None:
        headers["Content-Encoding"] = "gzip"
    return web.Response(body=packed or body, headers=headers)


def _document(request: web.BaseRequest, document: Document, media: str) -> web.Response:
    tag = f'"{document.digest}"'
    headers = {"ETag": tag, "Vary": "Accept, Accept-Encoding", "Cache-Control": "public", "Content-Type": media}
    if request.headers.get("If-None-Match") == tag:
        return web.Response(status=304, headers=headers)
    if "gzip" not in request.headers.get("Accept-Encoding", ""):
        return web.Response(body=document.plain, headers=headers)
    return web.Response(body=document.packed, headers={**headers, "Content-Encoding": "gzip"})


def _failure(failure: ApiFailure) -> web.Response:
    headers = {"Retry-After": str(failure.retry_after)} if failure.retry_after else None
    body = orjson.dumps(failure.status()) + b"\n"
    return web.Response(status=failure.code, body=body, content_type=JSON_TYPE, headers=headers)
