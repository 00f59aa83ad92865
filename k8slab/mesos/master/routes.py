"""The master's HTTP routes: the APIs, and the older routes that web pages, DNS and people at a shell read."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any
from urllib.parse import parse_qs

from aiohttp import web

from k8slab.mesos.authentication import Authentication, Realm
from k8slab.mesos.builtin_routes import add_builtin_routes
from k8slab.mesos.files import Files
from k8slab.mesos.http import Handler, Routes, json_answer, parse_json, read_body, refuse
from k8slab.mesos.link import PATH as AGENT_PATH
from k8slab.mesos.log_level import LogLevel
from k8slab.mesos.master import cluster_views, views
from k8slab.mesos.master.agent_api import AgentApi
from k8slab.mesos.master.leading import not_leading, redirect
from k8slab.mesos.master.master import Master
from k8slab.mesos.master.metrics import metrics
from k8slab.mesos.master.operator_api import OperatorApi, convert_resources, teardown, update_weights
from k8slab.mesos.master.scheduler_api import SchedulerApi
from k8slab.mesos.messages import ConversionError, convert

DEFAULT_TASKS = 100
LARGEST_COUNT = 10**9
NOT_SERVED = (
    "/create-volumes",
    "/destroy-volumes",
    "/machine/down",
    "/machine/up",
)

Act = Callable[[bytes], Awaitable[web.Response]]


def routes(master: Master, files: Files, authentication: Authentication) -> Routes:
    table = Routes("master", authentication)
    log_level = LogLevel()
    table.add("/api/v1/scheduler", SchedulerApi(master), realm=Realm.SCHEDULER)
    table.add(AGENT_PATH, AgentApi(master))
    table.add("/api/v1", OperatorApi(master, files, log_level), realm=Realm.READWRITE, prefix=True)
    _add_own(table, master)
    files.add_to(table)
    log_level.add_to(table)
    _add_books(table, master)
    _add_acts(table, master)
    add_builtin_routes(table, "master")
    return table


def _add_own(table: Routes, master: Master) -> None:
    """What every master answers for itself, leading or not."""
    table.add("/health", _always(web.Response))
    table.add("/version", _shown(views.version))
    table.add("/flags", _shown(lambda: {"flags": dict(master.options.flags)}), realm=Realm.READONLY)
    table.add("/metrics/snapshot", _shown(lambda: metrics(master)), realm=Realm.READONLY)
    table.add("/redirect", _always(lambda: redirect(master)))


def _add_books(table: Routes, master: Master) -> None:
    """What only the leader knows; each also with the ending that older tools ask for."""
    books: dict[str, Callable[[Any], Any]] = {
        "/state": lambda query: views.state(master),
        "/state-summary": lambda query: cluster_views.summary(master),
        "/slaves": lambda query: views.slaves(master, slave_id=query.get("slave_id"), full=True),
        "/frameworks": lambda query: views.frameworks(master, framework_id=query.get("framework_id")),
        "/tasks": lambda query: _tasks(master, query),
        "/roles": lambda query: cluster_views.roles(master),
    }
    for path, view in books.items():
        table.add(path, _by_leader(master, view), realm=Realm.READONLY)
        table.add(f"{path}.json", _by_leader(master, view), realm=Realm.READONLY)


def _add_acts(table: Routes, master: Master) -> None:
    """Nothing here has a quota or is under maintenance, and nothing can be put there: asked, that is the answer."""
    add = partial(table.add, realm=Realm.READWRITE)
    add("/teardown", _by_method(master, {}, {"POST": lambda body: _teardown(master, body)}))
    add(
        "/weights",
        _by_method(
            master, {"GET": lambda: cluster_views.weights(master)}, {"PUT": lambda body: _put_weights(master, body)}
        ),
    )
    for path, kind in (("/reserve", "RESERVE"), ("/unreserve", "UNRESERVE")):
        add(path, _by_method(master, {}, {"POST": _converting(master, kind)}))
    nothing: dict[str, Callable[[], Any]] = {"GET": dict}
    quota = _not_served("quota")
    add("/quota", _by_method(master, nothing, {"POST": quota, "DELETE": quota}))
    add("/maintenance/schedule", _by_method(master, nothing, {"POST": _not_served("maintenance")}))
    add("/maintenance/status", _by_method(master, nothing, {}))
    for path in NOT_SERVED:
        add(path, _by_method(master, {}, {"POST": _not_served(path.strip("/"))}))


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
    if text is None or not (text.isascii() and text.isdigit() and len(text) <= len(str(LARGEST_COUNT))):
        return default
    return int(text)


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


def _by_method(master: Master, shown: dict[str, Callable[[], Any]], acts: dict[str, Act]) -> Handler:
    """A leader's route that shows something, or does something with the body it is sent."""

    async def handler(request: web.Request) -> web.Response:
        if (elsewhere := not_leading(master, request)) is not None:
            return elsewhere
        if request.method in shown:
            return json_answer(request, shown[request.method]())
        if request.method not in acts:
            known = [*shown, *acts]
            named = ", ".join(f"'{method}'" for method in known)
            text = f"Expecting one of {{ {named} }}, but received '{request.method}'"
            return refuse(405, text, Allow=", ".join(known))
        body = await read_body(request)
        return body if isinstance(body, web.Response) else await acts[request.method](body)

    return handler


def _not_served(what: str) -> Act:
    async def act(_body: bytes) -> web.Response:
        return refuse(501, f"{what} is not served by this master")

    return act


async def _teardown(master: Master, body: bytes) -> web.Response:
    framework_id = parse_qs(body.decode(errors="replace")).get("frameworkId", [""])[0]
    if not framework_id:
        return refuse(400, "Missing 'frameworkId' query parameter in the request body")
    return teardown(master, framework_id)


def _converting(master: Master, kind: str) -> Act:
    async def act(body: bytes) -> web.Response:
        form = parse_qs(body.decode(errors="replace"))
        for name in ("slaveId", "resources"):
            if name not in form:
                return refuse(400, f"Missing '{name}' query parameter in the request body")
        try:
            listed = parse_json(form["resources"][0].encode())
            if not isinstance(listed, list):
                raise ValueError("Expecting a JSON array")
            resources = [convert("Resource", item) for item in listed]
        except (ConversionError, ValueError) as error:
            return refuse(400, f"Error in parsing 'resources' query parameter in the request body: {error}")
        return convert_resources(master, kind, form["slaveId"][0], resources)

    return act


async def _put_weights(master: Master, body: bytes) -> web.Response:
    try:
        infos = parse_json(body)
        if not isinstance(infos, list):
            raise ValueError("Expecting a JSON array")
        return await update_weights(master, [convert("WeightInfo", info) for info in infos])
    except (ConversionError, ValueError) as error:
        return refuse(400, f"Failed to parse update weights request JSON: {error}")
