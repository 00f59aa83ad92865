"""The operator API's SUBSCRIBE: the whole state once, then everything that happens in the master's books."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Any

import orjson
from aiohttp import web

from k8slab.mesos import recordio
from k8slab.mesos.http import EventStream, open_stream
from k8slab.mesos.master.books import HEARTBEAT_SECONDS
from k8slab.mesos.master.master import Master

log = logging.getLogger(__name__)

MAX_SUBSCRIBERS = 1000


class OperatorStream:
    """All subscribers of one master. It watches the books only while somebody listens."""

    def __init__(self, master: Master, state: Callable[[], dict[str, Any]], *, limit: int = MAX_SUBSCRIBERS) -> None:
        """``state`` makes the body of GET_STATE; beyond ``limit`` subscribers the oldest is dropped."""
        self._master = master
        self._state = state
        self._limit = limit
        self._streams: dict[EventStream, None] = {}

    def __len__(self) -> int:
        return len(self._streams)

    async def subscribe(self, request: web.Request) -> web.StreamResponse:
        response = await open_stream(request)
        stream = EventStream()
        self._admit(stream)
        try:
            await stream.serve(response)
        finally:
            self._drop(stream)
        return response

    def _admit(self, stream: EventStream) -> None:
        while len(self._streams) >= self._limit:
            oldest = next(iter(self._streams))
            log.warning("more than %d subscribers: the oldest is dropped", self._limit)
            self._drop(oldest)
            oldest.abort()
        if not self._streams:
            self._master.watchers.append(self._happened)
        self._streams[stream] = None
        state = {"get_state": self._state(), "heartbeat_interval_seconds": HEARTBEAT_SECONDS}
        stream.send({"type": "SUBSCRIBED", "subscribed": state})
        self._beat(stream)

    def _drop(self, stream: EventStream) -> None:
        if self._streams.pop(stream, stream) is None and not self._streams:
            self._master.watchers.remove(self._happened)

    def _happened(self, event: dict[str, Any]) -> None:
        record = recordio.encode(orjson.dumps(event))
        for stream in self._streams:
            stream.send_record(record)

    def _beat(self, stream: EventStream) -> None:
        if not stream.closed:
            stream.send({"type": "HEARTBEAT"})
            asyncio.get_running_loop().call_later(HEARTBEAT_SECONDS, self._beat, stream)
