"""Remote commands over SPDY/3.1: v4.channel.k8s.io and its three elders."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Final

from aiohttp import web

from k8slab.kube.streams.mux import Mux, Stream
from k8slab.kube.streams.session import Outcome, Session, Wish
from k8slab.kube.streams.takeover import Taken, switch

PROTOCOL_HEADER: Final = "X-Stream-Protocol-Version"
V4: Final = "v4.channel.k8s.io"
V3: Final = "v3.channel.k8s.io"
V2: Final = "v2.channel.k8s.io"
V1: Final = "channel.k8s.io"
COMMANDS: Final = (V4, V3, V2, V1)
STREAMS_SECONDS: Final = 30.0
UPGRADE: Final = "SPDY/3.1"


class NoCommonProtocol(Exception):
    """The sentence that the client is told, with 403."""


def negotiate(request: web.BaseRequest, served: Sequence[str]) -> str:
    """The first of the client's protocols that is served; the last one served for a client that names none."""
    asked = [one.strip() for line in request.headers.getall(PROTOCOL_HEADER, []) for one in line.split(",")]
    if not asked:
        return served[-1]
    for one in asked:
        if one in served:
            return one
    raise NoCommonProtocol(
        f"unable to upgrade: unable to negotiate protocol: client supports [{' '.join(asked)}], "
        f"server accepts [{' '.join(served)}]"
    )


class _Session:
    def __init__(self, mux: Mux, streams: dict[str, Stream], protocol: str) -> None:
        self.answer = Taken()
        self.gone = mux.gone
        self.stdin = streams.get("stdin")
        self.stdout = streams.get("stdout")
        self.stderr = streams.get("stderr")
        self.resizes = streams.get("resize")
        self._streams = streams
        self._protocol = protocol

    async def finish(self, outcome: Outcome) -> None:
        error = self._streams["error"]
        await error.write(outcome.status() if self._protocol == V4 else outcome.text().encode())
        for stream in self._streams.values():
            await stream.finish()


@asynccontextmanager
async def spdy_session(request: web.BaseRequest, wish: Wish) -> AsyncIterator[Session | None]:
    """Upgrade, and wait for the streams that were wished for; None when they do not come. Raises NoCommonProtocol."""
    protocol = negotiate(request, COMMANDS)
    carrier = await switch(request, UPGRADE, {PROTOCOL_HEADER: protocol})
    async with Mux(carrier).running() as mux:
        streams = await _streams(mux, _expected(wish, protocol))
        yield None if streams is None else _Session(mux, streams, protocol)


def _expected(wish: Wish, protocol: str) -> set[str]:
    expected = {"error"}
    expected |= {name for name in ("stdin", "stdout", "stderr") if getattr(wish, name)}
    if wish.tty and protocol in (V4, V3):
        expected.add("resize")
    return expected


async def _streams(mux: Mux, expected: set[str]) -> dict[str, Stream] | None:
    found: dict[str, Stream] = {}
    try:
        async with asyncio.timeout(STREAMS_SECONDS):
            while found.keys() != expected:
                stream = await mux.accept()
                if stream is None:
                    return None
                kind = stream.headers.get("streamtype", "")
                if kind not in expected or kind in found:
                    await stream.reset()
                    continue
                found[kind] = stream
    except (TimeoutError, ConnectionError):
        return None
    return found
