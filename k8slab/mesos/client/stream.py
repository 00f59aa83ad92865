"""One subscription over HTTP: a POST whose answer is an endless RecordIO stream of events, and calls beside it."""

from __future__ import annotations

import asyncio
import base64
import uuid
from collections.abc import AsyncIterator, Mapping
from typing import Any

import aiohttp
import orjson

from k8slab.mesos.authentication import Credentials
from k8slab.mesos.client.errors import MesosError
from k8slab.mesos.recordio import Decoder, FramingError

CONNECT_SECONDS = 5.0
CALL_SECONDS = 30.0
JSON_HEADERS = {"Content-Type": "application/json", "Accept": "application/json"}

Event = dict[str, Any]


class Moved(Exception):
    """The answering master does not lead; ``location`` says who does."""

    def __init__(self, location: str) -> None:
        super().__init__(location)
        self.location = location


class Subscription:
    """HTTP over three connections: the stream of events and, beside it, calls in their order, and confirmations.

    Confirmations have a connection to themselves: thousands of them must not wait for launches, nor launches for them.
    """

    def __init__(self, url: str, credentials: Credentials | None = None) -> None:
        self.url = url
        self._identity = credentials.headers if credentials is not None else {}
        self._events = aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=1))
        self._calls, self._confirmations = _Lane(), _Lane()
        self.headers: Mapping[str, str] = {}

    async def open(self, call: Mapping[str, Any], *, silence: float | None = None) -> AsyncIterator[Event]:
        """Subscribe; the events until the stream ends. ``silence`` bounds the seconds between two records.

        Raises MesosError when refused, Moved at a follower, aiohttp.ClientError and TimeoutError on network trouble.
        """
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_SECONDS, sock_read=silence)
        async with self._events.post(
            self.url,
            data=orjson.dumps(call),
            headers={**JSON_HEADERS, **self._identity},
            timeout=timeout,
            allow_redirects=False,
        ) as response:
            if response.status == 307:
                raise Moved(response.headers.get("Location", ""))
            if response.status != 200:
                raise MesosError(response.status, await response.text())
            if stream_id := response.headers.get("Mesos-Stream-Id"):
                self.headers = {"Mesos-Stream-Id": stream_id}
            decoder = Decoder()
            async for chunk in response.content.iter_any():
                try:
                    records = decoder.feed(chunk)
                except FramingError as error:
                    raise aiohttp.ClientPayloadError(str(error)) from error
                for record in records:
                    yield _event(record)

    async def call(self, call: Mapping[str, Any]) -> None:
        """One call after the other, in the order they were made. Raises MesosError, also for network trouble."""
        await self._post(self._calls, call)

    async def confirm(self, call: Mapping[str, Any]) -> None:
        """The same, for acknowledgements: in their own order."""
        await self._post(self._confirmations, call)

    async def _post(self, lane: _Lane, call: Mapping[str, Any]) -> None:
        timeout = aiohttp.ClientTimeout(total=CALL_SECONDS, sock_connect=CONNECT_SECONDS)
        async with lane.turn:
            try:
                async with lane.session.post(
                    self.url,
                    data=orjson.dumps(call),
                    headers={**JSON_HEADERS, **self._identity, **self.headers},
                    timeout=timeout,
                    allow_redirects=False,
                ) as response:
                    text = await response.text()
            except (aiohttp.ClientError, TimeoutError, OSError) as error:
                raise MesosError(0, f"{call['type']} to {self.url}: {type(error).__name__} {error}") from error
            except RuntimeError as error:
                # What waited for its turn when the subscription ended: aiohttp means it for a fault of ours.
                if not lane.session.closed:
                    raise
                raise MesosError(0, f"{call['type']} to {self.url}: the subscription has ended") from error
        if response.status // 100 != 2:
            raise MesosError(response.status, text or str(response.reason))

    async def close(self) -> None:
        await self._events.close()
        await self._calls.session.close()
        await self._confirmations.session.close()


class _Lane:
    """One connection, for one call at a time."""

    def __init__(self) -> None:
        self.session = aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=1))
        self.turn = asyncio.Lock()


def _event(record: bytes) -> Event:
    """Raises aiohttp.ClientPayloadError for a record that is no event: nothing after it can be trusted."""
    try:
        event = orjson.loads(record)
    except orjson.JSONDecodeError as error:
        raise aiohttp.ClientPayloadError(f"a record is no JSON: {error}") from error
    if not isinstance(event, dict) or "type" not in event:
        raise aiohttp.ClientPayloadError(f"a record is no event: {record[:80]!r}")
    return event


def new_uuid() -> str:
    """Sixteen random bytes as JSON carries them."""
    return encode_bytes(uuid.uuid4().bytes)


def encode_bytes(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")


def decode_bytes(text: str) -> bytes:
    return base64.b64decode(text)
