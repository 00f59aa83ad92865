"""What the proxy says of itself: /healthz for whoever watches the node, /metrics and /proxyMode beside it."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime

from aiohttp import web

from k8slab.kube.proxy.metrics import CONTENT_TYPE, Metrics
from k8slab.kube.proxy.proxier import Proxier


def health_application(proxier: Proxier, patience: float) -> web.Application:
    """``patience``: seconds after which a change that is not in force is a reason to call the proxy ill."""

    async def healthz(request: web.Request) -> web.Response:
        now = time.time()
        waiting = proxier.oldest_waiting
        healthy = bool(proxier.last_synced) and (not waiting or now - waiting < patience)
        updated = proxier.last_synced if not healthy else now
        body = {"lastUpdated": _timestamp(updated), "currentTime": _timestamp(now), "nodeEligible": True}
        return web.json_response(body, status=200 if healthy else 503, headers={"X-Content-Type-Options": "nosniff"})

    return _application({"/healthz": healthz, "/livez": healthz})


def metrics_application(metrics: Metrics) -> web.Application:
    async def exposition(request: web.Request) -> web.Response:
        return web.Response(body=metrics.text(), headers={"Content-Type": CONTENT_TYPE})

    async def mode(request: web.Request) -> web.Response:
        return web.Response(text="iptables")

    async def healthz(request: web.Request) -> web.Response:
        return web.Response(text="ok")

    return _application({"/metrics": exposition, "/proxyMode": mode, "/healthz": healthz})


def _application(routes: dict[str, Callable[[web.Request], object]]) -> web.Application:
    app = web.Application()
    for path, handler in routes.items():
        app.router.add_get(path, handler)  # type: ignore[arg-type]
    return app


def _timestamp(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M:%S.%f +0000 UTC")
