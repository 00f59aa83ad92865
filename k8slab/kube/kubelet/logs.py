"""What a container has said, from the engine's records of it."""

from __future__ import annotations

import contextlib
import time
from collections.abc import AsyncIterator, Mapping
from typing import Any, Final

from aiohttp import web

from k8slab.kube import clock
from k8slab.kube.kubelet.context import Pod
from k8slab.kube.kubelet.engine import Engine
from k8slab.kube.kubelet.observation import CREATED, Seen, observe
from k8slab.kube.streams.takeover import while_there

_TRUE: Final = ("true", "1")
_PULLING: Final = {
    "ErrImagePull": "image can't be pulled",
    "ImagePullBackOff": "trying and failing to pull image",
}


class NoLog(Exception):
    """The sentence that says why there is none."""


async def serve_log(request: web.Request, engine: Engine, pod: Pod, container: str) -> web.StreamResponse:
    """Raises NoLog, ValueError for options that make no sense, EngineError and EngineUnavailable."""
    options, limit = log_options(request.query)
    attempts = (await observe(engine, pod["metadata"]["uid"])).containers.get(container, ())
    chosen = _chosen(pod, container, attempts, previous=request.query.get("previous") in _TRUE)
    response = web.StreamResponse(headers={"Content-Type": "text/plain"})
    await response.prepare(request)
    async with contextlib.aclosing(engine.logs(chosen.id, options)) as pieces:
        while limit is None or limit > 0:
            piece = await while_there(request, _next(pieces))
            if not piece:
                break
            if limit is not None:
                piece = piece[:limit]
                limit -= len(piece)
            await response.write(piece)
    await response.write_eof()
    return response


async def _next(pieces: AsyncIterator[tuple[int, bytes]]) -> bytes:
    """No bytes at the end: a task may not end with StopAsyncIteration."""
    async for _, piece in pieces:
        if piece:
            return piece
    return b""


def _chosen(pod: Pod, container: str, attempts: tuple[Seen, ...], *, previous: bool) -> Seen:
    name = pod["metadata"]["name"]
    begun = [one for one in attempts if one.state != CREATED]
    if previous:
        if len(begun) < 2:
            raise NoLog(f'previous terminated container "{container}" in pod "{name}" not found')
        return begun[1]
    if begun:
        return begun[0]
    told: Any = pod.get("status") or {}
    statuses = (*(told.get("initContainerStatuses") or ()), *(told.get("containerStatuses") or ()))
    status = next((one for one in statuses if one.get("name") == container), None)
    if status is None:
        raise NoLog(f'container "{container}" in pod "{name}" is not available')
    reason = ((status.get("state") or {}).get("waiting") or {}).get("reason") or "ContainerCreating"
    raise NoLog(f'container "{container}" in pod "{name}" is waiting to start: {_PULLING.get(reason, reason)}')


def log_options(query: Mapping[str, str]) -> tuple[dict[str, str], int | None]:
    """The engine's query parameters, and the limit in bytes. Raises ValueError with a sentence."""
    options: dict[str, str] = {}
    if query.get("follow") in _TRUE:
        options["follow"] = "1"
    if query.get("timestamps") in _TRUE:
        options["timestamps"] = "1"
    if "tailLines" in query:
        options["tail"] = str(_count(query, "tailLines", least=0))
    if "sinceSeconds" in query and "sinceTime" in query:
        raise ValueError("at most one of sinceTime or sinceSeconds may be given")
    if "sinceSeconds" in query:
        options["since"] = f"{time.time() - _count(query, 'sinceSeconds', least=1):.3f}"
    if "sinceTime" in query:
        options["since"] = f"{clock.parse(query['sinceTime']).timestamp():.3f}"
    return options, _count(query, "limitBytes", least=1) if "limitBytes" in query else None


def _count(query: Mapping[str, str], name: str, *, least: int) -> int:
    try:
        value = int(query[name])
    except ValueError:
        raise ValueError(f"{name} must be a number, not {query[name]!r}") from None
    if value < least:
        raise ValueError(f"{name} must be at least {least}")
    return value
