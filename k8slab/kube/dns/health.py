"""What the name server says of itself over HTTP: under the paths of CoreDNS and of kube-dns."""

from __future__ import annotations

from collections.abc import Callable

from aiohttp import web

from k8slab.kube.dns.metrics import CONTENT_TYPE, Metrics


def application(metrics: Metrics, synced: Callable[[], bool]) -> web.Application:
    """``synced``: whether the names are known; without the API they stay as they were, which is no illness."""

    async def alive(request: web.Request) -> web.Response:
        return web.Response(text="OK")

    async def ready(request: web.Request) -> web.Response:
        return web.Response(text="OK") if synced() else web.Response(text="the names are not known yet", status=503)

    async def exposition(request: web.Request) -> web.Response:
        return web.Response(body=metrics.text(), headers={"Content-Type": CONTENT_TYPE})

    app = web.Application()
    for path, handler in {
        "/health": alive,
        "/healthz": ready,
        "/ready": ready,
        "/readiness": ready,
        "/metrics": exposition,
    }.items():
        app.router.add_get(path, handler)
    return app
