"""``POST /api/v1``: what operators ask the master and tell it to do."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from aiohttp import web

from k8slab.mesos.files import Files
from k8slab.mesos.http import refuse
from k8slab.mesos.log_level import LogLevel
from k8slab.mesos.master import cluster_views, v1_views, views
from k8slab.mesos.master.leading import not_leading
from k8slab.mesos.master.master import Master
from k8slab.mesos.master.metrics import metrics
from k8slab.mesos.master.operator_stream import OperatorStream
from k8slab.mesos.master.registrar import RegistryError
from k8slab.mesos.master.reserving import Conflict, Invalid, operator_convert
from k8slab.mesos.operator_calls import (
    FILES,
    answer,
    filled,
    look_into_files,
    pairs,
    read_operator_call,
    set_logging_level,
)

NEEDS = FILES | {
    "SET_LOGGING_LEVEL",
    "UPDATE_WEIGHTS",
    "RESERVE_RESOURCES",
    "UNRESERVE_RESOURCES",
    "TEARDOWN",
    "MARK_AGENT_GONE",
}


class OperatorApi:
    """A call type without a method here is answered as one that the original does not implement: 501."""

    def __init__(self, master: Master, files: Files, log_level: LogLevel) -> None:
        self._master, self._files, self._log_level = master, files, log_level
        self.stream = OperatorStream(master, self._state)
        self._views: dict[str, Callable[[], dict[str, Any]]] = {
            "GET_HEALTH": lambda: {"healthy": True},
            "GET_VERSION": lambda: {"version_info": views.version()},
            "GET_FLAGS": lambda: {"flags": pairs(master.options.flags)},
            "GET_METRICS": lambda: {"metrics": pairs(metrics(master))},
            "GET_LOGGING_LEVEL": lambda: {"level": log_level.level},
            "GET_STATE": self._state,
            "GET_AGENTS": self._agents,
            "GET_FRAMEWORKS": self._frameworks,
            "GET_EXECUTORS": self._executors,
            "GET_TASKS": self._tasks,
            "GET_OPERATIONS": dict,
            "GET_ROLES": lambda: {"roles": cluster_views.roles_v1(master)},
            "GET_WEIGHTS": lambda: filled(weight_infos=cluster_views.weights(master)),
            "GET_MASTER": self._get_master,
        }
        self._acts: dict[str, Callable[[dict[str, Any]], Awaitable[web.Response]]] = {
            "UPDATE_WEIGHTS": self._update_weights,
            "RESERVE_RESOURCES": lambda asked: self._convert_resources("RESERVE", asked),
            "UNRESERVE_RESOURCES": lambda asked: self._convert_resources("UNRESERVE", asked),
            "TEARDOWN": self._teardown,
            "MARK_AGENT_GONE": self._mark_agent_gone,
        }

    async def __call__(self, request: web.Request) -> web.StreamResponse:
        if (elsewhere := not_leading(self._master, request)) is not None:
            return elsewhere
        asked = await read_operator_call(request, "OperatorCall", package="master", needs=NEEDS)
        if isinstance(asked, web.Response):
            return asked
        if asked.kind == "SUBSCRIBE":
            return await self.stream.subscribe(request)
        if asked.kind == "SET_LOGGING_LEVEL":
            return set_logging_level(self._log_level, asked)
        if asked.kind in FILES:
            return await look_into_files(request, self._files, asked)
        if asked.kind in self._acts:
            return await self._acts[asked.kind](asked.arguments)
        if asked.kind not in self._views:
            return refuse(501, f"{asked.kind} is not served by this master")
        return answer(request, asked.kind, self._views[asked.kind]())

    # -- views

    def _state(self) -> dict[str, Any]:
        return {
            "get_tasks": self._tasks(),
            "get_executors": self._executors(),
            "get_frameworks": self._frameworks(),
            "get_agents": self._agents(),
        }

    def _agents(self) -> dict[str, Any]:
        return filled(
            agents=[v1_views.agent_json(agent) for agent in self._master.agents.values()],
            recovered_agents=list(self._master.membership.expected.values()),
        )

    def _frameworks(self) -> dict[str, Any]:
        return filled(
            frameworks=[v1_views.framework_json(known) for known in self._master.frameworks.values()],
            completed_frameworks=[v1_views.framework_json(known) for known in self._master.completed_frameworks],
        )

    def _executors(self) -> dict[str, Any]:
        known = self._master.frameworks.values()
        return filled(
            executors=[v1_views.executor_json(item) for framework in known for item in framework.executors.values()]
        )

    def _tasks(self) -> dict[str, Any]:
        known = list(self._master.frameworks.values())
        everybody = [*known, *self._master.completed_frameworks]
        live = [task for framework in known for task in framework.tasks.values()]
        unreachable = [task for framework in known for task in framework.unreachable_tasks]
        completed = [task for framework in everybody for task in framework.completed_tasks]
        return filled(
            tasks=[v1_views.task_json(task) for task in live],
            unreachable_tasks=[v1_views.task_json(task) for task in unreachable],
            completed_tasks=[task.fragment("v1", v1_views.task_json) for task in completed],
        )

    def _get_master(self) -> dict[str, Any]:
        shown = {"master_info": self._master.info, "start_time": self._master.start_time}
        return shown | ({"elected_time": self._master.elected_time} if self._master.elected else {})

    # -- acts

    async def _update_weights(self, asked: dict[str, Any]) -> web.Response:
        return await update_weights(self._master, asked.get("weight_infos", []))

    async def _convert_resources(self, kind: str, asked: dict[str, Any]) -> web.Response:
        return convert_resources(self._master, kind, asked["agent_id"]["value"], asked.get("resources", []))

    async def _teardown(self, asked: dict[str, Any]) -> web.Response:
        return teardown(self._master, asked["framework_id"]["value"])

    async def _mark_agent_gone(self, asked: dict[str, Any]) -> web.Response:
        agent_id = asked["agent_id"]["value"]
        if agent_id in self._master.gone_agents:
            return web.Response()
        try:
            await self._master.mark_agent_gone(agent_id)
        except KeyError:
            return refuse(404, "Agent not found")
        except RegistryError as error:
            return refuse(503, str(error))
        return web.Response()


async def update_weights(master: Master, infos: list[dict[str, Any]]) -> web.Response:
    if error := cluster_views.weights_error(infos):
        return refuse(400, f"Failed to validate update weights request JSON: {error}")
    weights = {info["role"].strip(): info["weight"] for info in infos}
    try:
        await master.set_weights(weights)
    except RegistryError as error:
        return refuse(503, str(error))
    master.offers.rebalance(weights)
    return web.Response()


def convert_resources(master: Master, kind: str, agent_id: str, resources: list[dict[str, Any]]) -> web.Response:
    """RESERVE or UNRESERVE: 202 once the agent is told, 409 while the resources are in use."""
    try:
        operator_convert(master, kind, agent_id, resources)
    except Invalid as error:
        return refuse(400, str(error))
    except Conflict as error:
        return refuse(409, str(error))
    return web.Response(status=202)


def teardown(master: Master, framework_id: str) -> web.Response:
    framework = master.frameworks.get(framework_id)
    if framework is None:
        return refuse(400, "No framework found with specified ID")
    master.remove_framework(framework)
    return web.Response()
