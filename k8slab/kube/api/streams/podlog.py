"""A pod's log, passed on from the kubelet of its node as it comes."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import AsyncIterator
from typing import Final
from urllib.parse import quote

import aiohttp
from aiohttp import WSMsgType, web

from k8slab.kube import clock
from k8slab.kube.api import errors, validation
from k8slab.kube.api.errors import ApiFailure, FieldProblem
from k8slab.kube.api.kinds.pod import POD
from k8slab.kube.api.registry import Registry
from k8slab.kube.api.requests import Asked
from k8slab.kube.api.streams import locate
from k8slab.kube.streams.dial import CONNECT_SECONDS, dial_error
from k8slab.kube.streams.keepalive import new_socket
from k8slab.kube.streams.spdy_front import NoCommonProtocol
from k8slab.kube.streams.takeover import break_off, upgrade_of, while_there
from k8slab.kube.streams.websocket_front import negotiate, open_socket

PASSED_ON: Final = (
    "follow",
    "previous",
    "sinceSeconds",
    "sinceTime",
    "timestamps",
    "tailLines",
    "limitBytes",
)
BINARY: Final = "binary.k8s.io"
BASE64: Final = "base64.binary.k8s.io"
LONGEST_REFUSAL: Final = 1 << 16


async def pod_log(request: web.BaseRequest, registry: Registry, asked: Asked) -> web.StreamResponse:
    """Raises BadRequest for a container that is not there or has not begun, 500 without a kubelet."""
    if request.method != "GET":
        raise errors.method_not_allowed()
    if problems := _problems(request):
        raise errors.invalid("", "PodLogOptions", asked.name, problems)
    pod = await locate.read(registry, POD, asked.namespace, asked.name)
    container = locate.container(pod, request.query.get("container", ""))
    node = pod["spec"].get("nodeName")
    if not node:
        # Nothing runs, so nothing was said.
        return web.Response(status=204)
    place = await locate.kubelet(registry, node)
    path = "/".join(quote(part, safe="") for part in (asked.namespace, asked.name, container))
    url = f"http://{place.netloc}/containerLogs/{path}"
    query = {key: request.query[key] for key in PASSED_ON if key in request.query}
    timeout = aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_SECONDS)
    try:
        async with (
            aiohttp.ClientSession(connector=aiohttp.TCPConnector(socket_factory=new_socket), timeout=timeout) as http,
            http.get(url, params=query) as answer,
        ):
            if answer.status >= 300:
                raise _refusal(asked.name, answer.status, (await answer.content.read(LONGEST_REFUSAL)).decode())
            if upgrade_of(request) == "websocket":
                return await _as_messages(request, answer)
            return await _pass_on(request, answer)
    except aiohttp.ClientConnectorError as trouble:
        words = dial_error(place.host, place.port, trouble.os_error)
        raise ApiFailure(500, "", f'Get "{_shown(url, query)}": {words}') from None
    except aiohttp.ClientError as trouble:
        raise ApiFailure(500, "", f'Get "{_shown(url, query)}": {trouble or "i/o timeout"}') from None


def _shown(url: str, query: dict[str, str]) -> str:
    return f"{url}?{'&'.join(f'{key}={value}' for key, value in query.items())}" if query else url


def _refusal(name: str, status: int, text: str) -> ApiFailure:
    """The kubelet's words, as the original passes them on."""
    if status == 400:
        return errors.bad_request(text)
    if status == 500:
        return errors.internal(text)
    details = {"name": name, "kind": "pods/log"}
    if status == 404:
        message = f"the server could not find the requested resource ( pods/log {name})"
        return ApiFailure(404, "NotFound", message, details=details)
    message = f"the server responded with the status code {status} but did not return more information"
    return ApiFailure(status, "", f"{message} ( pods/log {name})", details=details)


async def _pass_on(request: web.BaseRequest, answer: aiohttp.ClientResponse) -> web.StreamResponse:
    response = web.StreamResponse(headers={"Content-Type": "text/plain"})
    await response.prepare(request)
    async for piece in _pieces(request, answer):
        await response.write(piece)
    await response.write_eof()
    return response


async def _as_messages(request: web.BaseRequest, answer: aiohttp.ClientResponse) -> web.StreamResponse:
    try:
        protocol = negotiate(request, (BINARY, BASE64, ""))
    except NoCommonProtocol as trouble:
        raise ApiFailure(403, "Forbidden", str(trouble)) from None
    try:
        socket = await open_socket(request, protocol)
    except web.HTTPBadRequest as trouble:
        raise errors.bad_request(trouble.text or "") from None
    listening = asyncio.create_task(_until_closed(socket))
    try:
        async for piece in _pieces(request, answer):
            if protocol == BASE64:
                await socket.send_str(base64.b64encode(piece).decode())
            else:
                await socket.send_bytes(piece)
    finally:
        await socket.close(code=1000)
        listening.cancel()
        await asyncio.gather(listening, return_exceptions=True)
    return socket


async def _until_closed(socket: web.WebSocketResponse) -> None:
    """What the client sends is nobody's business, but its goodbye has to be heard."""
    while (await socket.receive()).type in (WSMsgType.BINARY, WSMsgType.TEXT):
        pass


async def _pieces(request: web.BaseRequest, answer: aiohttp.ClientResponse) -> AsyncIterator[bytes]:
    try:
        while piece := await while_there(request, answer.content.readany()):
            yield piece
    except aiohttp.ClientError:
        raise break_off(request) from None


def _problems(request: web.BaseRequest) -> list[FieldProblem]:
    query = request.query
    found = []
    for name, least, words in (
        ("tailLines", 0, "must be greater than or equal to 0"),
        ("limitBytes", 1, "must be greater than 0"),
        ("sinceSeconds", 1, "must be greater than 0"),
    ):
        if name in query:
            try:
                value = int(query[name])
            except ValueError:
                raise errors.bad_request(f'strconv.ParseInt: parsing "{query[name]}": invalid syntax') from None
            if value < least:
                found.append(validation.invalid(name, value, words))
    if "sinceTime" in query:
        try:
            clock.parse(query["sinceTime"])
        except ValueError:
            raise errors.bad_request(f'sinceTime: cannot parse "{query["sinceTime"]}" as a time') from None
        if "sinceSeconds" in query:
            words = "at most one of `sinceTime` or `sinceSeconds` may be specified"
            found.append(validation.forbidden("", words))
    return found
