"""The kubelet's HTTP API on port 10250, which the API server passes on to: what runs here, what it says, what it uses.

/healthz /pods /stats/summary /metrics/resource /logs/…
/containerLogs/{namespace}/{pod}/{container}
/exec, /attach, /run with the same, /portForward/{namespace}/{pod}
"""

from __future__ import annotations

import mimetypes
from collections.abc import Awaitable, Callable
from html import escape
from pathlib import Path
from typing import Final
from urllib.parse import quote

import orjson
from aiohttp import web

from k8slab.kube import malformed
from k8slab.kube.client import Object
from k8slab.kube.kubelet import naming, remote
from k8slab.kube.kubelet.context import Pod
from k8slab.kube.kubelet.engine import Engine, EngineError, EngineUnavailable
from k8slab.kube.kubelet.kubelet import Kubelet
from k8slab.kube.kubelet.logs import NoLog, serve_log
from k8slab.kube.kubelet.spec import container_named
from k8slab.kube.kubelet.stats import Sampler, metrics
from k8slab.kube.streams.takeover import leave_all, refusal

KUBELET: Final = web.AppKey("kubelet", Kubelet)
SAMPLER: Final = web.AppKey("sampler", Sampler)
NODE_LOGS: Final = Path("/var/log")

_Serve = Callable[[web.Request, Engine, Pod, str], Awaitable[web.StreamResponse]]


def application(kubelet: Kubelet) -> web.Application:
    malformed.keep_quiet()
    app = web.Application()
    app.on_shutdown.append(_leave_streams)
    app[KUBELET] = kubelet
    app[SAMPLER] = Sampler(kubelet.engine)
    app.add_routes(
        [
            web.get("/healthz", _healthz),
            web.get("/pods", _pods),
            web.get("/stats/summary", _summary),
            web.get("/metrics/resource", _metrics),
            web.get(r"/logs{path:(/.*)?}", _node_logs),
            web.get("/containerLogs/{namespace}/{pod}/{container}", _container_logs),
            web.post("/run/{namespace}/{pod}/{container}", _in_container(remote.run_once)),
        ]
    )
    for method in ("GET", "POST"):
        app.router.add_route(method, "/exec/{namespace}/{pod}/{container}", _in_container(remote.execute))
        app.router.add_route(method, "/attach/{namespace}/{pod}/{container}", _in_container(remote.attach))
        app.router.add_route(method, "/portForward/{namespace}/{pod}", _port_forward)
    return app


async def _leave_streams(app: web.Application) -> None:
    leave_all()


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


async def _summary(request: web.Request) -> web.StreamResponse:
    async def answer() -> web.StreamResponse:
        return web.Response(body=orjson.dumps(await _usage(request)), content_type="application/json")

    return await _answered(answer())


async def _metrics(request: web.Request) -> web.StreamResponse:
    async def answer() -> web.StreamResponse:
        return web.Response(text=metrics(await _usage(request)), content_type="text/plain")

    return await _answered(answer())


async def _usage(request: web.Request) -> Object:
    kubelet = request.app[KUBELET]
    return await request.app[SAMPLER].summary(kubelet.node, [worker.pod for worker in kubelet.workers.values()])


async def _container_logs(request: web.Request) -> web.StreamResponse:
    where = request.match_info
    pod = _find(request)
    if pod is None:
        return refusal(404, f'pod "{where["pod"]}" does not exist\n')
    if not _has(pod, where["container"]):
        return refusal(404, f'container "{where["container"]}" not found in pod "{where["pod"]}"\n')
    try:
        return await _answered(serve_log(request, request.app[KUBELET].engine, pod, where["container"]))
    except (NoLog, ValueError) as trouble:
        return refusal(400, str(trouble))


def _in_container(serve: _Serve) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
    async def handle(request: web.Request) -> web.StreamResponse:
        container = request.match_info["container"]
        pod = _find(request)
        if pod is None:
            return refusal(404, "pod does not exist")
        if not _has(pod, container):
            return refusal(500, f'container not found ("{container}")')
        return await _answered(serve(request, request.app[KUBELET].engine, pod, container))

    return handle


async def _port_forward(request: web.Request) -> web.StreamResponse:
    pod = _find(request)
    if pod is None:
        return refusal(404, "pod does not exist")
    return await _answered(remote.forward_ports(request, request.app[KUBELET].engine, pod))


async def _answered(work: Awaitable[web.StreamResponse]) -> web.StreamResponse:
    try:
        return await work
    except EngineUnavailable as trouble:
        return refusal(500, f"the Docker Engine does not answer: {trouble}")
    except EngineError as trouble:
        return refusal(500, str(trouble))


async def _node_logs(request: web.Request) -> web.StreamResponse:
    """The files of the node's own log directory, and nothing beside it."""
    asked = request.match_info["path"].strip("/")
    root = NODE_LOGS.resolve()
    found = (root / asked.replace("\0", "")).resolve()
    if not found.is_relative_to(root) or not found.exists():
        return refusal(404, "404 page not found\n")
    if found.is_dir():
        names = sorted(f"{one.name}/" if one.is_dir() else one.name for one in found.iterdir())
        lines = [f'<a href="{quote(name)}">{escape(name)}</a>' for name in names]
        return web.Response(text="\n".join(["<pre>", *lines, "</pre>", ""]), content_type="text/html")
    if not found.is_file():
        return refusal(404, "404 page not found\n")
    kind = mimetypes.guess_type(found.name)[0] or "text/plain"
    return web.FileResponse(found, headers={"Content-Type": kind})


def _find(request: web.Request) -> Pod | None:
    where = request.match_info
    wanted = f"{where['namespace']}/{where['pod']}"
    workers = request.app[KUBELET].workers.values()
    return next((one.pod for one in workers if naming.display_name(one.pod) == wanted), None)


def _has(pod: Pod, container: str) -> bool:
    return bool(container_named(pod, container))
