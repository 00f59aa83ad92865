"""The scheduler's HTTP port: health, metrics, and what it has in its head."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any, Final

import orjson
from aiohttp import web

from k8slab.k8sm.scheduler.framework import Framework

FRAMEWORK: Final = web.AppKey("framework", Framework)


def application(framework: Framework) -> web.Application:
    app = web.Application()
    app[FRAMEWORK] = framework
    app.add_routes(
        [
            web.get("/healthz", _healthz),
            web.get("/metrics", _metrics),
            web.get("/debug/registry/tasks", _tasks),
            web.get("/debug/scheduler/podqueue", _pod_queue),
            web.get("/debug/actions/requestExplicit", _request_explicit),
            web.get("/debug/actions/requestImplicit", _request_implicit),
        ]
    )
    return app


async def _healthz(request: web.Request) -> web.Response:
    return web.Response(text="ok")


async def _metrics(request: web.Request) -> web.Response:
    framework = request.app[FRAMEWORK]
    states: dict[str, int] = {}
    for task in framework.tasks:
        states[task.state] = states.get(task.state, 0) + 1
    lines = [
        "# TYPE k8sm_scheduler_subscribed gauge",
        f"k8sm_scheduler_subscribed {int(framework.subscribed)}",
        "# TYPE k8sm_scheduler_offers gauge",
        f"k8sm_scheduler_offers {len(framework.offers)}",
        "# TYPE k8sm_scheduler_pods_pending gauge",
        f"k8sm_scheduler_pods_pending {len(framework.queue)}",
        "# TYPE k8sm_scheduler_tasks gauge",
        *(f'k8sm_scheduler_tasks{{state="{state}"}} {count}' for state, count in sorted(states.items())),
        "# TYPE k8sm_scheduler_launches_total counter",
        f"k8sm_scheduler_launches_total {framework.placer.launches}",
    ]
    return web.Response(text="\n".join(lines) + "\n")


async def _tasks(request: web.Request) -> web.Response:
    """{"tasks": [{"id", "pod", "agent", "host", "executor", "state", …}]}"""
    return _json({"tasks": [asdict(task) for task in request.app[FRAMEWORK].tasks]})


async def _pod_queue(request: web.Request) -> web.Response:
    """{"pods": [{"pod", "uid", "attempts", "waited", "due", "reason"}]}, seconds; the first to be served first."""
    framework = request.app[FRAMEWORK]
    now = framework.now()
    return _json(
        {
            "pods": [
                {
                    "pod": f"{entry.pod['metadata']['namespace']}/{entry.pod['metadata']['name']}",
                    "uid": entry.pod["metadata"]["uid"],
                    "attempts": entry.attempts,
                    "waited": round(now - entry.since, 3),
                    "due": round(entry.due - now, 3),
                    "reason": entry.reason,
                }
                for entry in framework.queue.entries
            ]
        }
    )


async def _request_explicit(request: web.Request) -> web.Response:
    request.app[FRAMEWORK].reconciler.all_now(explicit=True)
    return web.Response(text="OK")


async def _request_implicit(request: web.Request) -> web.Response:
    request.app[FRAMEWORK].reconciler.all_now(explicit=False)
    return web.Response(text="OK")


def _json(answer: Any) -> web.Response:
    return web.Response(body=orjson.dumps(answer), content_type="application/json")
