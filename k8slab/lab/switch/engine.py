"""The few words of the Docker Engine's HTTP API that the switch needs, over the engine's socket.

A client of our own because it starts in no time: the switch must be there before the first node asks for its wire,
and docker-py or aiohttp would cost more at import than all the wiring of a lab.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, urlencode

from k8slab.lab import labels

_TIMEOUT = 10.0
# One event carries all labels of its container; the default limit of a line (64 KiB) is near what people put there.
_LINE_LIMIT = 1 << 20


class EngineGone(Exception):
    """The engine does not answer, or ended its answer early."""


class EngineRefused(Exception):
    def __init__(self, status: int, text: str) -> None:
        super().__init__(f"the engine answered {status}: {text}")
        self.status = status


@dataclass(frozen=True)
class Container:
    """A node's container as the engine knows it; ``pid`` is 0 when it does not run."""

    id: str
    node: str
    pid: int
    started_at: str
    wire: str


@dataclass(frozen=True)
class Event:
    action: str
    container: str
    node: str


class Engine:
    def __init__(self, socket: str) -> None:
        self.socket = socket

    async def running(self, lab: str) -> list[str]:
        """Ids of the lab's nodes that run (a paused one does)."""
        filters = {"label": [f"{labels.LAB}={lab}", labels.NODE], "status": ["running", "paused"]}
        return [
            each["Id"] for each in await self._get("/containers/json?" + urlencode({"filters": json.dumps(filters)}))
        ]

    async def inspect(self, container: str) -> Container | None:
        """None when there is no such container."""
        try:
            data = await self._get(f"/containers/{quote(container)}/json")
        except EngineRefused as error:
            if error.status == 404:
                return None
            raise
        state, marks = data["State"], data["Config"].get("Labels") or {}
        return Container(
            id=data["Id"],
            node=marks.get(labels.NODE, ""),
            pid=state["Pid"] if state["Running"] else 0,
            started_at=state["StartedAt"],
            wire=marks.get(labels.WIRE, ""),
        )

    async def events(self, lab: str, *, since: float) -> AsyncIterator[Event]:
        """Starts and ends of the lab's nodes from ``since`` (seconds of the epoch) on; raises EngineGone at the end."""
        filters = {"type": ["container"], "event": ["start", "die", "destroy"], "label": [f"{labels.LAB}={lab}"]}
        query = urlencode({"since": f"{since:.9f}", "filters": json.dumps(filters)})
        async with self._request(f"/events?{query}") as reader:
            async for line in _lines(reader):
                event = json.loads(line)
                actor = event["Actor"]
                node = actor["Attributes"].get(labels.NODE, "")
                if node:
                    yield Event(action=event["Action"], container=actor["ID"], node=node)
        raise EngineGone("the engine ended its stream of events")

    async def _get(self, path: str) -> Any:
        try:
            async with asyncio.timeout(_TIMEOUT), self._request(path) as reader:
                return json.loads(b"".join([chunk async for chunk in reader]))
        except TimeoutError as error:
            raise EngineGone(f"the engine did not answer {path.partition('?')[0]} within {_TIMEOUT:g} s") from error

    @asynccontextmanager
    async def _request(self, path: str) -> AsyncIterator[AsyncIterator[bytes]]:
        try:
            reader, writer = await asyncio.open_unix_connection(self.socket, limit=_LINE_LIMIT)
        except OSError as error:
            raise EngineGone(f"the engine's socket {self.socket}: {error.strerror or error}") from error
        try:
            writer.write(f"GET {path} HTTP/1.1\r\nHost: engine\r\nConnection: close\r\n\r\n".encode())
            status, headers = await _head(reader)
            body = _body(reader, headers)
            if status != 200:
                text = b"".join([chunk async for chunk in body]).decode(errors="replace").strip()
                raise EngineRefused(status, text)
            yield body
        except asyncio.IncompleteReadError as error:
            raise EngineGone("the engine's answer broke off") from error
        except OSError as error:
            raise EngineGone(f"the engine's answer broke off: {error.strerror or error}") from error
        finally:
            writer.close()


async def _head(reader: asyncio.StreamReader) -> tuple[int, dict[str, str]]:
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    first, *rest = head.split("\r\n")
    headers = {name.strip().lower(): value.strip() for name, _, value in (line.partition(":") for line in rest if line)}
    return int(first.split(" ", 2)[1]), headers


async def _body(reader: asyncio.StreamReader, headers: dict[str, str]) -> AsyncIterator[bytes]:
    if headers.get("transfer-encoding", "").lower() == "chunked":
        while True:
            size = int((await reader.readuntil(b"\r\n")).split(b";")[0], 16)
            chunk = (await reader.readexactly(size + 2))[:-2]
            if not size:
                return
            yield chunk
    elif "content-length" in headers:
        yield await reader.readexactly(int(headers["content-length"]))
    else:
        while chunk := await reader.read(65536):
            yield chunk


async def _lines(chunks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    rest = b""
    async for chunk in chunks:
        *lines, rest = (rest + chunk).split(b"\n")
        for line in lines:
            if line.strip():
                yield line
