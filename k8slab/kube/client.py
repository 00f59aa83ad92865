"""A Kubernetes client for the daemons: plain dictionaries in, plain dictionaries out, over aiohttp.

Several servers may be given; a request goes to the one that answered last and moves on when it cannot be reached.

    ApiError            the server answered with a Status of failure (``code``, ``reason``, ``message``)
    ApiUnavailable      no server could be reached, or the connection broke
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Final, Self

import aiohttp
import orjson

from k8slab.kube.resource_paths import RESOURCES, path_of

Object = dict[str, Any]

JSON: Final = "application/json"
MERGE_PATCH: Final = "application/merge-patch+json"
STRATEGIC_PATCH: Final = "application/strategic-merge-patch+json"
JSON_PATCH: Final = "application/json-patch+json"

REQUEST_TIMEOUT: Final = 30.0
CONNECT_TIMEOUT: Final = 3.0
# The server sends a bookmark about every minute: a stream silent for longer is a dead one.
WATCH_SILENCE: Final = 150.0


class ApiUnavailable(Exception):
    """No server answered."""


class ApiError(Exception):
    """A Status of failure. ``code`` is the HTTP code, ``reason`` the machine word ("NotFound"), maybe empty."""

    def __init__(self, code: int, reason: str, message: str) -> None:
        super().__init__(f"{code} {reason}: {message}" if reason else f"{code}: {message}")
        self.code = code
        self.reason = reason
        self.message = message

    @property
    def is_not_found(self) -> bool:
        return self.code == 404

    @property
    def is_already_exists(self) -> bool:
        return self.code == 409 and self.reason == "AlreadyExists"

    @property
    def is_conflict(self) -> bool:
        return self.code == 409 and self.reason != "AlreadyExists"

    @property
    def is_expired(self) -> bool:
        return self.code == 410

    @property
    def is_temporary(self) -> bool:
        """Whether the server could not answer now (its store is away, it is overloaded) rather than refused."""
        return self.code == 429 or self.code >= 500


@dataclass(frozen=True)
class ObjectList:
    items: list[Object]
    resource_version: str


@dataclass(frozen=True)
class WatchEvent:
    """``type`` is ADDED, MODIFIED, DELETED, or BOOKMARK when bookmarks were asked for."""

    type: str
    object: Object


class KubeClient:
    """``server``: "http://172.17.1.7:8080", or several with commas between them.

    ``name``: whom the server is to know this client as, in managed fields and in its log.
    """

    def __init__(self, server: str, *, name: str = "k8slab") -> None:
        self._servers = [url.strip().rstrip("/") for url in server.split(",") if url.strip()]
        if not self._servers:
            raise ValueError("a client needs the address of a server")
        self._current = 0
        self._name = name
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def get(self, resource: str, name: str, namespace: str | None = None) -> Object:
        return await self._call("GET", path_of(resource, namespace, name))

    async def find(self, resource: str, name: str, namespace: str | None = None) -> Object | None:
        """As ``get``; None when there is none of this name."""
        try:
            return await self.get(resource, name, namespace)
        except ApiError as error:
            if error.is_not_found:
                return None
            raise

    async def list(
        self, resource: str, namespace: str | None = None, *, label_selector: str = "", field_selector: str = ""
    ) -> ObjectList:
        """All objects, of one namespace or of all; each with its kind and apiVersion."""
        query = _selectors(label_selector, field_selector)
        answer = await self._call("GET", path_of(resource, namespace), query=query)
        where = RESOURCES[resource]
        items = [{"kind": where.kind, "apiVersion": where.api_version, **item} for item in answer.get("items") or ()]
        return ObjectList(items, answer["metadata"]["resourceVersion"])

    async def create(self, resource: str, obj: Mapping[str, Any], namespace: str | None = None) -> Object:
        namespace = namespace or obj.get("metadata", {}).get("namespace")
        return await self._call("POST", path_of(resource, namespace, creating=True), body=_typed(resource, obj))

    async def update(self, resource: str, obj: Mapping[str, Any], *, subresource: str = "") -> Object:
        meta = obj["metadata"]
        path = path_of(resource, meta.get("namespace"), meta["name"], subresource)
        return await self._call("PUT", path, body=_typed(resource, obj))

    async def patch(
        self,
        resource: str,
        name: str,
        patch: Mapping[str, Any] | Sequence[Mapping[str, Any]],
        namespace: str | None = None,
        *,
        subresource: str = "",
        content_type: str = MERGE_PATCH,
    ) -> Object:
        path = path_of(resource, namespace, name, subresource)
        return await self._call("PATCH", path, body=patch, content_type=content_type)

    async def delete(
        self,
        resource: str,
        name: str,
        namespace: str | None = None,
        *,
        grace_period_seconds: int | None = None,
        uid: str | None = None,
        version: str = "",
        propagation: str = "",
    ) -> Object:
        """Ask for deletion; ``uid`` makes it fail with a conflict when another object has taken the name, ``version``
        when it has changed.

        ``propagation`` says what becomes of its dependents: Background, Foreground or Orphan.
        """
        options: Object = {"kind": "DeleteOptions", "apiVersion": "v1"}
        if grace_period_seconds is not None:
            options["gracePeriodSeconds"] = grace_period_seconds
        conditions = {"uid": uid, "resourceVersion": version}
        if uid is not None or version:
            options["preconditions"] = {key: value for key, value in conditions.items() if value}
        if propagation:
            options["propagationPolicy"] = propagation
        return await self._call("DELETE", path_of(resource, namespace, name), body=options)

    async def bind(
        self, namespace: str, pod: str, node: str, annotations: Mapping[str, str] | None = None, *, uid: str = ""
    ) -> Object:
        """Assign a pod to a node; the annotations go onto the pod in the same write.

        Conflict when it has a node, or is another than ``uid``.
        """
        metadata: Object = {"name": pod, "namespace": namespace}
        if uid:
            metadata["uid"] = uid
        if annotations:
            metadata["annotations"] = dict(annotations)
        binding = {
            "kind": "Binding",
            "apiVersion": "v1",
            "metadata": metadata,
            "target": {"apiVersion": "v1", "kind": "Node", "name": node},
        }
        return await self._call("POST", path_of("pods", namespace, pod, "binding"), body=binding)

    async def request_token(self, namespace: str, account: str, spec: Mapping[str, Any]) -> Object:
        """A TokenRequest, answered, for a service account; ``spec``: a TokenRequestSpec."""
        body = {"kind": "TokenRequest", "apiVersion": "authentication.k8s.io/v1", "spec": dict(spec)}
        return await self._call("POST", path_of("serviceaccounts", namespace, account, "token"), body=body)

    async def watch(
        self,
        resource: str,
        namespace: str | None = None,
        *,
        resource_version: str,
        label_selector: str = "",
        field_selector: str = "",
        timeout_seconds: int | None = None,
        bookmarks: bool = False,
    ) -> AsyncIterator[WatchEvent]:
        """Changes after ``resource_version`` until the server ends the stream.

        Raises ApiError (``is_expired`` when the version is too old to be watched from) and ApiUnavailable.
        """
        query = {**_selectors(label_selector, field_selector), "watch": "true", "resourceVersion": resource_version}
        query["allowWatchBookmarks"] = "true"
        if timeout_seconds is not None:
            query["timeoutSeconds"] = str(timeout_seconds)
        timeout = aiohttp.ClientTimeout(sock_connect=CONNECT_TIMEOUT, sock_read=WATCH_SILENCE)
        response = await self._request("GET", path_of(resource, namespace), query=query, timeout=timeout)
        try:
            async for line in _lines(response):
                event = orjson.loads(line)
                if event["type"] == "ERROR":
                    raise _error(event["object"])
                if event["type"] != "BOOKMARK" or bookmarks:
                    yield WatchEvent(event["type"], event["object"])
        except (aiohttp.ClientError, TimeoutError, OSError) as trouble:
            raise ApiUnavailable(f"the watch of {resource} broke: {_reason(trouble)}") from trouble
        finally:
            response.close()

    async def _call(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str] | None = None,
        body: Any = None,
        content_type: str = JSON,
    ) -> Object:
        timeout = aiohttp.ClientTimeout(total=REQUEST_TIMEOUT, sock_connect=CONNECT_TIMEOUT)
        data = None if body is None else orjson.dumps(body)
        response = await self._request(method, path, query=query, data=data, content_type=content_type, timeout=timeout)
        try:
            raw = await response.read()
        except (aiohttp.ClientError, TimeoutError, OSError) as trouble:
            raise ApiUnavailable(f"{method} {path}: {_reason(trouble)}") from trouble
        finally:
            response.release()
        answer: Object = orjson.loads(raw)
        return answer

    async def _request(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str] | None,
        timeout: aiohttp.ClientTimeout,
        data: bytes | None = None,
        content_type: str = JSON,
    ) -> aiohttp.ClientResponse:
        headers = {"Content-Type": content_type} if data is not None else {}
        trouble: Exception | None = None
        for _ in self._servers:
            server = self._servers[self._current]
            try:
                response = await self._connected().request(
                    method, server + path, params=query, data=data, headers=headers, timeout=timeout
                )
            except (aiohttp.ClientConnectionError, TimeoutError, OSError) as error:
                trouble = error
                self._current = (self._current + 1) % len(self._servers)
                # Whether a write that broke half-way was done is unknown: only one that never left may go elsewhere.
                if method != "GET" and not isinstance(error, aiohttp.ClientConnectorError):
                    break
                continue
            if response.status >= 400:
                try:
                    raw = await response.read()
                except (aiohttp.ClientError, TimeoutError, OSError) as error:
                    raise ApiUnavailable(f"{method} {path}: {_reason(error)}") from error
                raise _failure(response.status, raw)
            return response
        raise ApiUnavailable(f"{method} {path}: {_reason(trouble)}") from trouble

    def _connected(self) -> aiohttp.ClientSession:
        if self._session is None:
            connector = aiohttp.TCPConnector(limit=0, socket_factory=_socket)
            headers = {"Accept": JSON, "User-Agent": self._name}
            self._session = aiohttp.ClientSession(connector=connector, headers=headers, auto_decompress=True)
        return self._session


def _socket(info: Any) -> socket.socket:
    """A socket that notices within twenty seconds that its peer's machine is gone."""
    family, kind, proto, _, _ = info
    made = socket.socket(family=family, type=kind, proto=proto)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    made.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 8)
    made.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 4)
    made.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 3)
    made.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, 20_000)
    return made


async def _lines(response: aiohttp.ClientResponse) -> AsyncIterator[bytes]:
    pending = b""
    async for chunk in response.content.iter_any():
        *lines, pending = (pending + chunk).split(b"\n")
        for line in lines:
            if line:
                yield line


def _selectors(label_selector: str, field_selector: str) -> dict[str, str]:
    both = {"labelSelector": label_selector, "fieldSelector": field_selector}
    return {key: text for key, text in both.items() if text}


def _typed(resource: str, obj: Mapping[str, Any]) -> Object:
    where = RESOURCES[resource]
    return {"kind": where.kind, "apiVersion": where.api_version, **obj}


def _failure(code: int, raw: bytes) -> ApiError:
    try:
        status = orjson.loads(raw)
    except orjson.JSONDecodeError:
        return ApiError(code, "", raw.decode(errors="replace").strip() or f"HTTP {code}")
    return _error({"code": code, **status} if isinstance(status, dict) else {"code": code})


def _error(status: Mapping[str, Any]) -> ApiError:
    return ApiError(int(status.get("code") or 500), status.get("reason") or "", status.get("message") or "")


def _reason(trouble: BaseException | None) -> str:
    if isinstance(trouble, asyncio.TimeoutError):
        return "no answer in time"
    return str(trouble) or type(trouble).__name__
