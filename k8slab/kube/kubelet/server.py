"""The kubelet's HTTP API on port 10250: /healthz, /pods, /containerLogs/{namespace}/{pod}/{container}."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Final

import orjson
from aiohttp import web

from k8slab.kube import clock
from k8slab.kube.client import Object
from k8slab.kube.kubelet import naming
from k8slab.kube.kubelet.context import Pod
from k8slab.kube.kubelet.engine import EngineError, EngineUnavailable
from k8slab.kube.kubelet.kubelet import Kubelet
from k8slab.kube.kubelet.observation import Seen, observe

KUBELET: Final = web.AppKey("kubelet", Kubelet)

_OPTIONS: Final = frozenset(
    {"follow", "tailLines", "timestamps", "sinceSeconds", "sinceTime", "limitBytes", "previous"}
)


def application(kubelet: Kubelet) -> web.Application:
    app = web.Application()
    app[KUBELET] = kubelet
    app.add_routes(
        [
            web.get("/healthz", _healthz),
            web.get("/pods", _pods),
            web.get("/containerLogs/{namespace}/{pod}/{container}", _container_logs),
        ]
    )
    return app


async def _healthz(request: web.Request) -> web.Response:
    try:
        await request.app[KUBELET].engine.version()
    except (EngineError, EngineUnavailable) as trouble:
        return web.Response(status=500, text=f"the Docker Engine does not answer: {trouble}\n")
    return web.Response(text="ok")


async def _pods(request: web.Request) -> web.Response:
    items: list[Object] = [
        {"kind": "Pod", "apiVersion": "v1", **worker.pod} for worker in request.app[KUBELET].workers.values()
    ]
    body: Object = {"kind": "PodList", "apiVersion": "v1", "metadata": {}, "items": items}
    return web.Response(body=orjson.dumps(body), content_type="application/json")


async def _container_logs(request: web.Request) -> web.StreamResponse:
    kubelet = request.app[KUBELET]
    where = request.match_info
    pod = _find(kubelet, where["namespace"], where["pod"])
    if pod is None:
        return _refusal(404, f'pod "{where["namespace"]}/{where["pod"]}" is not on this node')
    if all(container["name"] != where["container"] for container in pod["spec"]["containers"]):
        return _refusal(404, f'container "{where["container"]}" not found in pod "{where["pod"]}"')
    try:
        options, limit = log_options(request.query)
    except ValueError as error:
        return _refusal(400, str(error))
    try:
        attempts = (await observe(kubelet.engine, pod["metadata"]["uid"])).containers.get(where["container"], ())
        chosen = _choose(attempts, previous=request.query.get("previous") in ("true", "1"))
        if chosen is None:
            kind = "previous terminated container" if "previous" in request.query else "container"
            message = f'{kind} "{where["container"]}" in pod "{where["pod"]}" not found'
            status = 400 if attempts or "previous" not in request.query else 404
            return _refusal(status, message if attempts else f"{message}: it is waiting to start")
        return await _stream(request, kubelet, chosen, options, limit)
    except EngineUnavailable as trouble:
        return _refusal(500, f"the Docker Engine does not answer: {trouble}")
    except EngineError as error:
        return _refusal(500, str(error))


async def _stream(
    request: web.Request, kubelet: Kubelet, chosen: Seen, options: Mapping[str, str], limit: int | None
) -> web.StreamResponse:
    response = web.StreamResponse(headers={"Content-Type": "text/plain"})
    response.enable_chunked_encoding()
    await response.prepare(request)
    left = limit
    async for _, piece in kubelet.engine.logs(chosen.id, options):
        if left is not None:
            piece = piece[:left]
            left -= len(piece)
        await response.write(piece)
        if left == 0:
            break
    await response.write_eof()
    return response


def _find(kubelet: Kubelet, namespace: str, name: str) -> Pod | None:
    for worker in kubelet.workers.values():
        if naming.display_name(worker.pod) == f"{namespace}/{name}":
            return worker.pod
    return None


def _choose(attempts: tuple[Seen, ...], *, previous: bool) -> Seen | None:
    position = 1 if previous else 0
    return attempts[position] if len(attempts) > position else None


def log_options(query: Mapping[str, str]) -> tuple[dict[str, str], int | None]:
    """The engine's query parameters, and the limit in bytes. Raises ValueError with a sentence."""
    options: dict[str, str] = {}
    if query.get("follow") in ("true", "1"):
        options["follow"] = "1"
    if query.get("timestamps") in ("true", "1"):
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


def _refusal(status: int, message: str) -> web.Response:
    return web.Response(status=status, text=message + "\n")
