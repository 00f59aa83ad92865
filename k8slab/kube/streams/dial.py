"""The client's side of an upgrade: a request by hand, and the connection once the server has switched."""

from __future__ import annotations

import asyncio
import contextlib
import errno
from collections.abc import Iterable
from dataclasses import dataclass
from http import HTTPStatus
from typing import Final

from k8slab.kube.streams.carrier import READ, Connection
from k8slab.kube.streams.keepalive import watch_over

CONNECT_SECONDS: Final = 10.0
LARGEST_REFUSAL: Final = 64 * 1024
_WORDS: Final = {
    errno.ECONNREFUSED: "connect: connection refused",
    errno.EHOSTUNREACH: "connect: no route to host",
    errno.ENETUNREACH: "connect: network is unreachable",
    errno.ETIMEDOUT: "connect: connection timed out",
}


class Unreachable(Exception):
    """ "dial tcp 127.0.0.1:10250: connect: connection refused" """


class Garbled(Exception):
    """What answered speaks no HTTP."""


@dataclass(frozen=True)
class Answer:
    """``head``: as it came, with the empty line."""

    status: int
    head: bytes
    headers: tuple[tuple[str, str], ...]

    def get(self, name: str) -> str:
        return next((value for key, value in self.headers if key.lower() == name.lower()), "")


async def connect(host: str, port: int) -> Connection:
    """Raises Unreachable."""
    try:
        async with asyncio.timeout(CONNECT_SECONDS):
            reader, writer = await asyncio.open_connection(host, port, limit=READ)
    except (OSError, TimeoutError) as trouble:
        raise Unreachable(dial_error(host, port, trouble)) from None
    watch_over(writer.transport)
    return Connection(reader, writer)


async def connect_unix(path: str) -> Connection:
    """Raises Unreachable."""
    try:
        async with asyncio.timeout(CONNECT_SECONDS):
            return Connection(*await asyncio.open_unix_connection(path, limit=READ))
    except (OSError, TimeoutError) as trouble:
        raise Unreachable(f"dial unix {path}: {trouble}") from None


def dial_error(host: str, port: int, trouble: OSError | TimeoutError) -> str:
    number = trouble.errno if isinstance(trouble, OSError) else None
    if isinstance(trouble, TimeoutError) and number is None:
        why = "i/o timeout"
    else:
        why = _WORDS.get(number or 0, str(trouble))
    place = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    return f"dial tcp {place}: {why}"


async def ask(
    connection: Connection, method: str, target: str, headers: Iterable[tuple[str, str]], body: bytes = b""
) -> Answer:
    """Send a request and read the head of its answer. Raises Garbled; the caller closes the connection."""
    lines = [f"{method} {target} HTTP/1.1", *(f"{name}: {value}" for name, value in headers), "", ""]
    await connection.write("\r\n".join(lines).encode("utf-8", "surrogateescape") + body)
    while (answer := await _head(connection.reader)).status == HTTPStatus.CONTINUE:
        pass
    return answer


async def _head(reader: asyncio.StreamReader) -> Answer:
    try:
        head = await reader.readuntil(b"\r\n\r\n")
    except (asyncio.IncompleteReadError, asyncio.LimitOverrunError, OSError) as trouble:
        raise Garbled(f"no answer: {type(trouble).__name__}") from None
    first, *rest = head[:-4].decode("latin-1").split("\r\n")
    version, _, tail = first.partition(" ")
    code = tail[:3]
    if not version.startswith("HTTP/1.") or not code.isdigit():
        raise Garbled(f"no HTTP: {first[:80]!r}")
    pairs = (line.partition(":") for line in rest)
    return Answer(int(code), head, tuple((name.strip(), value.strip()) for name, _, value in pairs))


async def refusal(connection: Connection, answer: Answer) -> bytes:
    """The body of an answer that was no upgrade, no more of it than anybody reads."""
    with contextlib.suppress(asyncio.IncompleteReadError, ValueError, OSError):
        if "chunked" in answer.get("Transfer-Encoding").lower():
            return await _chunks(connection.reader)
        length = answer.get("Content-Length")
        if length:
            return await connection.reader.readexactly(min(int(length), LARGEST_REFUSAL))
        return await connection.reader.read(LARGEST_REFUSAL)
    return b""


async def _chunks(reader: asyncio.StreamReader) -> bytes:
    body = b""
    while len(body) < LARGEST_REFUSAL:
        size = int((await reader.readline()).partition(b";")[0], 16)
        if not size:
            break
        body += (await reader.readexactly(min(size, LARGEST_REFUSAL) + 2))[:-2]
    return body
