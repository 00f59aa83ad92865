"""What the master's and the agent's HTTP servers share: routes by longest prefix, plain answers, event streams."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Mapping
from typing import Any
from urllib.parse import quote, unquote

import orjson
from aiohttp import web

from k8slab.mesos import recordio
from k8slab.mesos.authentication import OPEN, Authentication, Realm
from k8slab.mesos.messages import ConversionError, convert

log = logging.getLogger(__name__)

JSON_TYPE = "application/json"
PROTOBUF_TYPE = "application/x-protobuf"
LARGEST_BODY = 16 * 1024 * 1024
SLOWEST_BODY_SECONDS = 60.0
SLOWEST_HEADERS_SECONDS = 30.0
# What is deeper could be read here but not be written again, and would spoil every answer it appears in.
DEEPEST_JSON = 100
LARGEST_BACKLOG = 64 * 1024 * 1024
GZIP_FROM = 1024

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Routes:
    """Every route exists bare and under the process' id; the longest registered path wins, a trailing slash is nothing.

    Only routes added with ``prefix=True`` also answer below themselves. Those of a realm ask who is calling, before
    anything else, when that realm is guarded.
    """

    def __init__(self, process_id: str, authentication: Authentication = OPEN) -> None:
        self._authentication = authentication
        self._prefixes = {f"/{process_id}", "/" + quote(process_id, safe="")}
        self._exact: dict[str, Handler] = {}
        self._below: dict[str, Handler] = {}

    def add(self, path: str, handler: Handler, *, realm: Realm | None = None, prefix: bool = False) -> None:
        if realm is not None:
            handler = self._guarded(handler, realm)
        self._exact[path] = handler
        if prefix:
            self._below[path] = handler

    def _guarded(self, handler: Handler, realm: Realm) -> Handler:
        async def guarded(request: web.Request) -> web.StreamResponse:
            return self._authentication.refusal(request, realm) or await handler(request)

        return guarded if self._authentication.guards(realm) else handler

    @property
    def paths(self) -> list[str]:
        return sorted(self._exact)

    def find(self, path: str) -> Handler | None:
        if "/.." in path:
            return None
        for prefix in self._prefixes:
            if path == prefix or path.startswith(prefix + "/"):
                path = path[len(prefix) :]
                break
        path = path.rstrip("/")
        if path in self._exact:
            return self._exact[path]
        while path:
            path = path.rpartition("/")[0]
            if path in self._below:
                return self._below[path]
        return None

    async def dispatch(self, request: web.Request) -> web.StreamResponse:
        handler = self.find(request.raw_path.partition("?")[0]) or self.find(unquote(request.path))
        if handler is None:
            return web.Response(status=404)
        return await handler(request)


async def serve(
    routes: Routes, *, host: str, port: int, slowest_headers: float = SLOWEST_HEADERS_SECONDS
) -> web.AppRunner:
    """Listen; ends the program with a sentence when that address cannot be had.

    A handler is cancelled the moment its client goes away, which is how streams notice.
    """
    silent: dict[web.RequestHandler, asyncio.TimerHandle] = {}

    async def dispatch(request: web.Request) -> web.StreamResponse:
        if (limit := silent.pop(request.protocol, None)) is not None:
            limit.cancel()
        return await routes.dispatch(request)

    app = web.Application(client_max_size=LARGEST_BODY)
    app.router.add_route("*", "/{path:.*}", dispatch)
    runner = web.AppRunner(app, handler_cancellation=True, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    try:
        await _Site(runner, host, port, silent, slowest_headers).start()
    except OSError as error:
        await runner.cleanup()
        raise SystemExit(f"cannot listen on {host}:{port}: {error.strerror or error}") from error
    return runner


class _Site(web.TCPSite):
    """Closes connections whose first request's headers do not arrive in time: aiohttp waits for them for ever. Those of
    later requests are bounded by its own limit on idle connections."""

    def __init__(
        self,
        runner: web.AppRunner,
        host: str,
        port: int,
        silent: dict[web.RequestHandler, asyncio.TimerHandle],
        slowest_headers: float,
    ) -> None:
        """``silent``: connections on which no request has come, each with what will close it."""
        super().__init__(runner, host, port, backlog=1024)
        self._address = host, port
        self._silent, self._slowest_headers = silent, slowest_headers

    async def start(self) -> None:
        await web.BaseSite.start(self)
        host, port = self._address
        self._server = await asyncio.get_running_loop().create_server(self._connected, host, port, backlog=1024)

    def _connected(self) -> web.RequestHandler:
        assert self._runner.server is not None
        connection = self._runner.server()
        loop = asyncio.get_running_loop()
        self._silent[connection] = loop.call_later(self._slowest_headers, self._give_up, connection)
        return connection

    def _give_up(self, connection: web.RequestHandler) -> None:
        self._silent.pop(connection, None)
        connection.force_close()


def refuse(status: int, text: str, **headers: str) -> web.Response:
    return web.Response(status=status, text=text, headers=headers)


def json_answer(request: web.Request, answer: Any) -> web.Response:
    """JSON, wrapped in the ``jsonp`` callback when asked for, gzipped when that is worth it."""
    body = orjson.dumps(answer)
    content_type = JSON_TYPE
    if callback := request.query.get("jsonp"):
        body, content_type = callback.encode() + b"(" + body + b");", "text/javascript"
    response = web.Response(body=body, content_type=content_type)
    if len(body) >= GZIP_FROM and "gzip" in request.headers.get("Accept-Encoding", ""):
        response.enable_compression(web.ContentCoding.gzip)
    return response


async def read_body(request: web.Request) -> bytes | web.Response:
    """The whole body, or the answer to one that is too large or that never ends."""
    try:
        async with asyncio.timeout(SLOWEST_BODY_SECONDS):
            return await request.read()
    except TimeoutError:
        answer = refuse(408, "The body did not arrive in time")
    except web.HTTPRequestEntityTooLarge:
        answer = refuse(413, f"The body is longer than {LARGEST_BODY} bytes")
    answer.force_close()
    return answer


def parse_json(text: bytes) -> Any:
    """Raises ValueError for what is no JSON or is nested deeper than ``DEEPEST_JSON``."""
    value = orjson.loads(text)
    if text.count(b"[") + text.count(b"{") <= DEEPEST_JSON:
        return value
    level, depth = [value], 0
    while level:
        depth += 1
        if depth > DEEPEST_JSON + 1:
            raise ValueError(f"nested deeper than {DEEPEST_JSON} levels")
        below: list[Any] = []
        for item in level:
            if isinstance(item, dict):
                below += item.values()
            elif isinstance(item, list):
                below += item
        level = below
    return value


async def read_call(request: web.Request, message: str, *, name: str) -> dict[str, Any] | web.Response:
    """The call in a POST, or the answer of the ladder's rows on method, content type and body."""
    if request.method != "POST":
        return refuse(405, f"Expecting one of {{ 'POST' }}, but received '{request.method}'", Allow="POST")
    content_type = request.headers.get("Content-Type")
    if content_type is None:
        return refuse(400, "Expecting 'Content-Type' to be present")
    if content_type != JSON_TYPE:
        # Protobuf is a wire of the original that this master does not speak; it says so like any unknown type.
        return refuse(415, f"Expecting 'Content-Type' of {JSON_TYPE}")
    text = await read_body(request)
    if isinstance(text, web.Response):
        return text
    try:
        body = parse_json(text)
    except ValueError as error:
        return refuse(400, f"Failed to parse body into JSON: {error}")
    try:
        return convert(message, body)
    except ConversionError as error:
        return refuse(400, f"Failed to convert JSON into {name} protobuf: {error}")


def accepts_json(request: web.Request) -> bool:
    accepted = request.headers.get("Accept", "*/*")
    kinds = {part.partition(";")[0].strip() for part in accepted.split(",")}
    return bool(kinds & {"*/*", "application/*", JSON_TYPE, ""})


class EventStream:
    """Events on their way to one subscriber. ``send`` never waits; a subscriber that does not read is cut off."""

    def __init__(self, *, limit: int = LARGEST_BACKLOG) -> None:
        """``limit``: bytes that may wait for the subscriber."""
        self._limit = limit
        self._writer: asyncio.Task[Any] | None = None
        self._backlog: deque[bytes] = deque()
        self._size = 0
        self._wake = asyncio.Event()
        self._closed = False

    @property
    def closed(self) -> bool:
        return self._closed

    def send(self, event: Mapping[str, Any]) -> None:
        if self._closed:
            return
        self.send_record(recordio.encode(orjson.dumps(event)))

    def send_record(self, record: bytes) -> None:
        """An event that is encoded already: many streams may share it."""
        if self._closed:
            return
        self._size += len(record)
        if self._size > self._limit:
            log.warning("a subscriber left %d bytes unread: its stream is closed", self._size)
            self.abort()
            return
        self._backlog.append(record)
        self._wake.set()

    def close(self) -> None:
        """End the stream after what was sent before."""
        self._closed = True
        self._wake.set()

    def abort(self) -> None:
        """End it at once, read or not."""
        self._backlog.clear()
        self.close()
        if self._writer is not None:
            self._writer.cancel()

    async def pump(self, response: web.StreamResponse) -> None:
        """Write until closed. What piled up meanwhile goes out as one chunk. Cancelled when the peer reads no more."""
        self._writer = asyncio.current_task()
        while True:
            await self._wake.wait()
            self._wake.clear()
            if self._backlog:
                chunk = b"".join(self._backlog)
                self._backlog.clear()
                self._size = 0
                await response.write(chunk)
            elif self._closed:
                return
            if self._closed:
                self._wake.set()

    async def serve(self, response: web.StreamResponse) -> None:
        """Write until closed, then end the answer. Closed as well when the peer went away or read nothing for too long:
        there is nobody left to answer then, and aiohttp needs nothing more from us."""
        try:
            await self.pump(response)
            await response.write_eof()
        except (ConnectionError, asyncio.CancelledError):
            self.close()


async def open_stream(request: web.Request, **headers: str) -> web.StreamResponse:
    response = web.StreamResponse(headers={"Content-Type": JSON_TYPE, **headers})
    await response.prepare(request)
    return response
