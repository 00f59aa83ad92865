"""The master's HTTP routes beside the scheduler's and the agents'."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from aiohttp import web

from k8slab.mesos.http import Handler, Routes, json_answer, read_call, refuse
from k8slab.mesos.link import PATH as AGENT_PATH
from k8slab.mesos.master import views
from k8slab.mesos.master.agent_api import AgentApi
from k8slab.mesos.master.leading import not_leading, redirect
from k8slab.mesos.master.master import Master
from k8slab.mesos.master.scheduler_api import SchedulerApi

DEFAULT_TASKS = 100


def routes(master: Master) -> Routes:
    table = Routes("master")
    table.add("/api/v1/scheduler", SchedulerApi(master))
    table.add(AGENT_PATH, AgentApi(master))
    table.add("/api/v1", _operator(master), prefix=True)
    table.add("/health", _always(web.Response))
    table.add("/version", _shown(views.version))
    table.add("/flags", _shown(lambda: {"flags": dict(master.options.flags)}))
    table.add("/metrics/snapshot", _shown(lambda: views.metrics(master)))
    table.add("/redirect", _always(lambda: redirect(master)))
    for path in ("/state", "/state.json"):
        table.add(path, _by_leader(master, lambda query: views.state(master)))
    table.add(
        "/slaves", _by_leader(master, lambda query: views.slaves(master, slave_id=query.get("slave_id"), full=True))
    )
    table.add("/frameworks", _by_leader(master, lambda query: _frameworks(master, query)))
    for path in ("/tasks", "/tasks.json"):
        table.add(path, _by_leader(master, lambda query: _tasks(master, query)))
    table.add("/teardown", _teardown(master))
    return table


def _frameworks(master: Master, query: Any) -> dict[str, Any]:
    return views.frameworks(master, framework_id=query.get("framework_id"))


def _tasks(master: Master, query: Any) -> dict[str, Any]:
    return views.tasks(
        master,
        limit=_number(query.get("limit"), DEFAULT_TASKS),
        offset=_number(query.get("offset"), 0),
        newest_first=query.get("order", "desc") != "asc",
        framework_id=query.get("framework_id"),
        task_id=query.get("task_id"),
    )


def _number(text: str | None, default: int) -> int:
    return int(text) if text is not None and text.isdigit() else default


def _always(answer: Callable[[], web.Response]) -> Handler:
    async def handler(_request: web.Request) -> web.Response:
        return answer()

    return handler


def _shown(view: Callable[[], Any]) -> Handler:
    async def handler(request: web.Request) -> web.Response:
        return json_answer(request, view())

    return handler


def _by_leader(master: Master, view: Callable[[Any], Any]) -> Handler:
    async def handler(request: web.Request) -> web.Response:
        return not_leading(master, request) or json_answer(request, view(request.query))

    return handler


def _teardown(master: Master) -> Handler:
    async def handler(request: web.Request) -> web.Response:
        if (elsewhere := not_leading(master, request)) is not None:
            return elsewhere
        if request.method != "POST":
            return refuse(405, f"Expecting one of {{ 'POST' }}, but received '{request.method}'", Allow="POST")
        framework_id = str((await request.post()).get("frameworkId", ""))
        if not framework_id:
            return refuse(400, "Missing 'frameworkId' query parameter in the request body")
        framework = master.frameworks.get(framework_id)
        if framework is None:
            return refuse(400, f"No framework found with ID {framework_id}")
        master.remove_framework(framework)
        return web.Response()

    return handler


def _operator(master: Master) -> Handler:
    """The operator API's ladder; each call type it does not serve is answered as one the master does not know."""

    async def handler(request: web.Request) -> web.Response:
        if (elsewhere := not_leading(master, request)) is not None:
            return elsewhere
        call = await read_call(request, "OperatorCall", name="Call")
        if isinstance(call, web.Response):
            return call
        match call.get("type"):
            case "GET_HEALTH":
                return json_answer(request, {"type": "GET_HEALTH", "get_health": {"healthy": True}})
            case "GET_VERSION":
                answer = {"type": "GET_VERSION", "get_version": {"version_info": views.version()}}
                return json_answer(request, answer)
            case None:
                return refuse(400, "Failed to validate master::Call: Expecting 'type' to be present")
            case other:
                return refuse(501, f"{other} is not served by this master")

    return handler
