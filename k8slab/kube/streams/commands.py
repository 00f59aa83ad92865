"""A request for a remote command, joined with the process that it is about."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from typing import Final, Protocol

from aiohttp import web

from k8slab.kube.streams.session import Outcome, Session, Sink, Source, Wish, sizes
from k8slab.kube.streams.spdy_front import NoCommonProtocol, spdy_session
from k8slab.kube.streams.takeover import Taken, refusal, upgrade_of
from k8slab.kube.streams.websocket_front import websocket_session

log = logging.getLogger(__name__)

STDOUT: Final = 1
STDERR: Final = 2


class Process(Protocol):
    """Something that runs elsewhere. All raise OSError once it is no longer to be reached."""

    def output(self) -> AsyncIterator[tuple[int, bytes]]:
        """(STDOUT or STDERR, bytes), until it has said its last."""

    async def write(self, content: bytes) -> None:
        """To its standard input."""

    def end_input(self) -> None: ...

    async def resize(self, width: int, height: int) -> None:
        """Of its terminal, in characters."""


Run = Callable[[Session], Awaitable[Outcome]]


async def serve_command(request: web.BaseRequest, wish: Wish, run: Run) -> web.StreamResponse:
    """Upgrade as the client asks, and tell it how ``run`` ended; a request that can be none is answered at once."""
    if wish.nothing:
        return refusal(400, "you must specify at least 1 of stdin, stdout, stderr")
    front: AbstractAsyncContextManager[Session | None]
    match upgrade_of(request):
        case "websocket":
            front = websocket_session(request, wish)
        case "spdy/3.1":
            front = spdy_session(request, wish)
        case _:
            return refusal(400, "unable to upgrade: missing upgrade headers in request")
    answer: web.StreamResponse = Taken()
    try:
        async with front as session:
            if session is not None:
                answer = session.answer
                await session.finish(await run(session))
    except NoCommonProtocol as trouble:
        return refusal(403, str(trouble))
    except ConnectionError:
        log.debug("%s: the client has gone", request.path)
    return answer


async def relay(session: Session, process: Process) -> bool:
    """Join both until the process has said its last; False when the client left before."""
    output = asyncio.create_task(_output(session, process))
    gone = asyncio.create_task(session.gone.wait())
    others = []
    if session.stdin is not None:
        others.append(asyncio.create_task(_input(session.stdin, process)))
    if session.resizes is not None:
        others.append(asyncio.create_task(_sizes(session.resizes, process)))
    try:
        await asyncio.wait({output, gone}, return_when=asyncio.FIRST_COMPLETED)
        if not output.done():
            return False
        output.result()
        return True
    finally:
        for task in (output, gone, *others):
            task.cancel()
        await asyncio.gather(output, gone, *others, return_exceptions=True)


async def _output(session: Session, process: Process) -> None:
    sinks: dict[int, Sink | None] = {STDOUT: session.stdout, STDERR: session.stderr}
    async for number, content in process.output():
        sink = sinks.get(number)
        if sink is not None and content:
            await sink.write(content)


async def _input(source: Source, process: Process) -> None:
    with contextlib.suppress(OSError):
        while content := await source.read():
            await process.write(content)
        process.end_input()


async def _sizes(source: Source, process: Process) -> None:
    with contextlib.suppress(OSError):
        async for width, height in sizes(source):
            await process.resize(width, height)
