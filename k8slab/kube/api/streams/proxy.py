"""Requests to what runs in pods, behind services and on nodes, passed on with their bodies as they come."""

from __future__ import annotations

import re
from typing import Final

import aiohttp
from aiohttp import web
from yarl import URL

from k8slab.kube.api.errors import ApiFailure
from k8slab.kube.api.registry import Registry
from k8slab.kube.api.requests import Asked
from k8slab.kube.api.streams import locate
from k8slab.kube.api.streams.locate import Place
from k8slab.kube.api.streams.passing import HOP_BY_HOP, pass_upgrade, sent_on
from k8slab.kube.api.streams.rewriting import Rewriter
from k8slab.kube.streams.carrier import READ
from k8slab.kube.streams.dial import CONNECT_SECONDS, dial_error
from k8slab.kube.streams.keepalive import new_socket
from k8slab.kube.streams.takeover import break_off, upgrade_of, while_there

_BODYLESS: Final = ("GET", "HEAD")
_LARGEST_PAGE: Final = 4 << 20


async def proxy(request: web.BaseRequest, registry: Registry, asked: Asked) -> web.StreamResponse:
    """Raises 503 when nothing answers there, BadRequest for a name that is none."""
    place = await _place(registry, asked)
    prefix, path, query = _split(request, asked)
    target = path + (f"?{query}" if query else "")
    forwarded = _forwarded(request, prefix + path)
    if upgrade_of(request):
        return await pass_upgrade(request, place, target or "/", unreachable=_unreachable, extra=forwarded)
    if not path and request.method in _BODYLESS:
        # Without the slash, links on the page that are relative would lead beside it.
        location = f"{prefix}/{f'?{query}' if query else ''}"
        return web.Response(status=301, headers={"Location": location})
    return await _pass(request, place, target or "/", Rewriter(place.scheme, place.netloc, prefix), forwarded)


async def _place(registry: Registry, asked: Asked) -> Place:
    match asked.resource:
        case "pods":
            return await locate.pod_place(registry, asked.namespace, asked.name)
        case "services":
            return await locate.service_place(registry, asked.namespace, asked.name)
    return await locate.node_place(registry, asked.name)


def _split(request: web.BaseRequest, asked: Asked) -> tuple[str, str, str]:
    """The path up to and with "proxy", what follows it, and the query, all as the client wrote them."""
    raw, _, query = request.raw_path.partition("?")
    parts = 7 if asked.namespace else 5
    found = re.match(rf"((?:/+[^/]*){{{parts}}})(.*)", raw, re.DOTALL)
    assert found is not None
    return found[1], found[2], query


def _forwarded(request: web.BaseRequest, uri: str) -> list[tuple[str, str]]:
    before = request.headers.get("X-Forwarded-For")
    client = request.remote or ""
    return [
        ("X-Forwarded-For", f"{before}, {client}" if before else client),
        ("X-Forwarded-Host", request.headers.get("Host", "")),
        ("X-Forwarded-Proto", request.scheme),
        ("X-Forwarded-Uri", uri),
    ]


async def _pass(
    request: web.BaseRequest, place: Place, target: str, rewriter: Rewriter, extra: list[tuple[str, str]]
) -> web.StreamResponse:
    names = {name.lower() for name, _ in extra}
    headers = [pair for pair in sent_on(request) if pair[0].lower() not in names]
    if request.body_exists and request.content_length is not None:
        headers.append(("Content-Length", str(request.content_length)))
    url = URL(f"{place.scheme}://{place.netloc}{target}", encoded=True)
    timeout = aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_SECONDS)
    if request.headers.get("Expect", "").lower() == "100-continue":
        await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        request.writer.output_size = 0
    async with aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(socket_factory=new_socket),
        timeout=timeout,
        auto_decompress=False,
        cookie_jar=aiohttp.DummyCookieJar(),
        read_bufsize=READ,
    ) as session:
        try:
            asking = session.request(
                request.method,
                url,
                headers=[*headers, *extra],
                data=request.content if request.body_exists else None,
                allow_redirects=False,
                skip_auto_headers=("User-Agent", "Accept", "Accept-Encoding", "Content-Type"),
                ssl=False,
            )
            answer = await while_there(request, asking)
        except aiohttp.ClientConnectorError as trouble:
            raise _unreachable(dial_error(place.host, place.port or 80, trouble.os_error)) from None
        except aiohttp.ServerTimeoutError:
            raise _unreachable(dial_error(place.host, place.port or 80, TimeoutError())) from None
        except aiohttp.ClientError as trouble:
            raise _unreachable(str(trouble) or "EOF") from None
        async with answer:
            return await _answer(request, answer, rewriter)


async def _answer(request: web.BaseRequest, answer: aiohttp.ClientResponse, rewriter: Rewriter) -> web.StreamResponse:
    response = web.StreamResponse(status=answer.status, reason=answer.reason)
    for name, value in answer.headers.items():
        if name.lower() not in HOP_BY_HOP:
            response.headers.add(name, rewriter.location(value) if name.lower() == "location" else value)
    page = b""
    if request.method != "HEAD" and rewriter.wants(answer.headers):
        page = await _page(request, answer)
        if answer.content.at_eof():
            page = rewriter.page(page, answer.headers.get("Content-Encoding", ""))
            response.content_length = len(page)
    await response.prepare(request)
    if page:
        await response.write(page)
    await _copy(request, answer, response)
    return response


async def _page(request: web.BaseRequest, answer: aiohttp.ClientResponse) -> bytes:
    """All of it, or as much as is looked at."""
    page = b""
    try:
        while len(page) < _LARGEST_PAGE and (piece := await while_there(request, answer.content.readany())):
            page += piece
    except aiohttp.ClientError as trouble:
        raise _unreachable(str(trouble)) from None
    return page


async def _copy(request: web.BaseRequest, answer: aiohttp.ClientResponse, response: web.StreamResponse) -> None:
    try:
        while piece := await while_there(request, answer.content.readany()):
            await response.write(piece)
    except aiohttp.ClientError:
        raise break_off(request) from None
    await response.write_eof()


def _unreachable(why: str) -> ApiFailure:
    return locate.unavailable(f"error trying to reach service: {why}")
