"""The scheduler's HTTP port: health, metrics, and what it has in its head."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Final

import orjson
from aiohttp import web

from k8slab.k8sm.scheduler.framework import Framework


@dataclass
class Head:
    """What there is to look into; ``framework`` is None in a scheduler that stands by."""

    framework: Framework | None = None


HEAD: Final = web.AppKey("head", Head)


def application(head: Head) -> web.Application:
    app = web.Application()
    app[HEAD] = head
    app.add_routes(
        [
            web.get("/healthz", _healthz),
            web.get("/metrics", _metrics),
            web.get("/debug/registry/tasks", _tasks),
            web.get("/debug/scheduler/podqueue", _pod_queue),
            web.get("/debug/scheduler/podstore", _pod_store),
            web.get("/debug/actions/requestExplicit", _request_explicit),
            web.get("/debug/actions/requestImplicit", _request_implicit),
            web.get("/debug/actions/kamikaze", _kamikaze),
        ]
    )
    return app


def _framework(request: web.Request) -> Framework:
    framework = request.app[HEAD].framework
    if framework is None:
        raise web.HTTPServiceUnavailable(text="this scheduler stands by: another one leads\n")
    return framework


async def _healthz(request: web.Request) -> web.Response:
    return web.Response(text="ok")


async def _metrics(request: web.Request) -> web.Response:
    head = request.app[HEAD]
    framework = head.framework
    if framework is None:
        return web.Response(text="# TYPE k8sm_scheduler_leader gauge\nk8sm_scheduler_leader 0\n")
    states: dict[str, int] = {}
    for task in framework.tasks:
        states[task.state] = states.get(task.state, 0) + 1
    lines = [
        "# TYPE k8sm_scheduler_leader gauge",
        "k8sm_scheduler_leader 1",
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
        "# TYPE k8sm_scheduler_rounds_total counter",
        f"k8sm_scheduler_rounds_total {framework.placer.rounds}",
        "# TYPE k8sm_scheduler_offers_suppressed gauge",
        f"k8sm_scheduler_offers_suppressed {int(framework.placer.suppressed)}",
    ]
    return web.Response(text="\n".join(lines) + "\n")


async def _tasks(request: web.Request) -> web.Response:
    """{"tasks": [{"id", "pod", "agent", "host", "executor", "state", …}]}"""
    return _json({"tasks": [asdict(task) for task in _framework(request).tasks]})


async def _pod_queue(request: web.Request) -> web.Response:
    """{"pods": [{"pod", "uid", "attempts", "waited", "due", "reason"}]}, seconds; the first to be served first."""
    framework = _framework(request)
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


async def _pod_store(request: web.Request) -> web.Response:
    """{"pods": [{"pod", "uid", "node", "phase", "task"}]}: all pods that are this scheduler's."""
    framework = _framework(request)
    return _json(
        {
            "pods": [
                {
                    "pod": f"{pod['metadata']['namespace']}/{pod['metadata']['name']}",
                    "uid": uid,
                    "node": pod["spec"].get("nodeName", ""),
                    "phase": (pod.get("status") or {}).get("phase", ""),
                    "task": task.id if (task := framework.tasks.of_pod(uid)) else "",
                }
                for uid, pod in framework.pods.items()
            ]
        }
    )


async def _request_explicit(request: web.Request) -> web.Response:
    _framework(request).reconciler.all_now(explicit=True)
    return web.Response(text="OK")


async def _request_implicit(request: web.Request) -> web.Response:
    _framework(request).reconciler.all_now(explicit=False)
    return web.Response(text="OK")


async def _kamikaze(request: web.Request) -> web.Response:
    """Ask every executor to end; its pods go on, get new tasks, and these a new executor."""
    return _json({"slaves": await _framework(request).end_executors()})


def _json(answer: Any) -> web.Response:
    return web.Response(body=orjson.dumps(answer), content_type="application/json")
