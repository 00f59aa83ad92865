"""``POST /api/v1/executor``: the agent's side of the executor API."""

from __future__ import annotations

import asyncio
import base64
import logging
from typing import Any

from aiohttp import web

from k8slab.mesos.agent.agent import Agent
from k8slab.mesos.agent.launches import Launches
from k8slab.mesos.agent.model import Executor
from k8slab.mesos.agent.statuses import lost_state
from k8slab.mesos.http import EventStream, accepts_json, open_stream, read_call, refuse

log = logging.getLogger(__name__)

HEARTBEAT_SECONDS = 1800.0
UUID_BYTES = 16


class ExecutorApi:
    """``recovering`` is set while the agent still reads what the last one left behind."""

    def __init__(self, agent: Agent, launches: Launches) -> None:
        self._agent = agent
        self._launches = launches
        self.recovering = True

    async def __call__(self, request: web.Request) -> web.StreamResponse:
        if self.recovering:
            return refuse(503, "Agent has not finished recovery")
        call = await read_call(request, "ExecutorCall", name="Call")
        if isinstance(call, web.Response):
            return call
        if error := call_error(call):
            return refuse(400, f"Failed to validate executor::Call: {error}")
        if call["type"] == "SUBSCRIBE" and not accepts_json(request):
            return refuse(406, "Expecting 'Accept' to allow application/json or application/x-protobuf")
        framework = self._agent.frameworks.get(call["framework_id"]["value"])
        if framework is None:
            return refuse(400, "Framework cannot be found")
        executor = framework.executors.get(call["executor_id"]["value"])
        if executor is None:
            return refuse(400, "Executor cannot be found")
        if call["type"] == "SUBSCRIBE":
            return await self._subscribe(request, executor, call["subscribe"])
        if executor.stream is None and call["type"] != "HEARTBEAT":
            return refuse(403, "Executor is not subscribed")
        match call["type"]:
            case "UPDATE":
                self._agent.update(executor, call["update"]["status"])
            case "MESSAGE":
                self._agent.message_to_framework(executor, call["message"]["data"])
        return web.Response(status=202)

    async def _subscribe(
        self, request: web.Request, executor: Executor, subscribe: dict[str, Any]
    ) -> web.StreamResponse:
        stream = EventStream()
        response = await open_stream(request)
        if executor.state in ("terminating", "terminated"):
            stream.send({"type": "SHUTDOWN"})
            stream.close()
        else:
            self._attach(executor, stream, subscribe)
        beating = asyncio.create_task(_beat(stream))
        try:
            # Should the executor go away, whether it also ended is for its process to tell.
            await stream.serve(response)
        finally:
            beating.cancel()
            if executor.stream is stream:
                executor.stream = None
                log.info("%s disconnected", executor.label)
        return response

    def _attach(self, executor: Executor, stream: EventStream, subscribe: dict[str, Any]) -> None:
        agent = self._agent
        if executor.stream is not None:
            executor.stream.close()
        executor.stop_timer()
        executor.stream, executor.state = stream, "running"
        log.info("%s subscribed", executor.label)
        executor.send(
            {
                "type": "SUBSCRIBED",
                "subscribed": {
                    "executor_info": executor.info,
                    "framework_info": agent.frameworks[executor.framework_id].info,
                    "agent_info": agent.info,
                    "container_id": {"value": executor.container_id},
                },
            }
        )
        for update in subscribe.get("unacknowledged_updates", ()):
            agent.update(executor, update["status"])
        has = {task["task_id"]["value"] for task in subscribe.get("unacknowledged_tasks", ())}
        for task in list(executor.tasks.values()):
            if task.state == "TASK_STAGING" and task.task_id not in has:
                state = lost_state(agent.frameworks.get(executor.framework_id))
                agent.end_task(executor, task, state, "AGENT_RESTARTED", "Task launched during agent restart")
        self._launches.deliver(executor)
        for task_id, event in executor.pending_kills.items():
            if task_id in executor.tasks and not executor.tasks[task_id].terminal:
                executor.send(event)
        executor.pending_kills.clear()


def call_error(call: dict[str, Any]) -> str | None:
    kind = call.get("type")
    if kind is None:
        return "Expecting 'type' to be present"
    if kind != "HEARTBEAT" and kind.lower() not in call:
        return f"Expecting '{kind.lower()}' to be present"
    if kind == "UPDATE":
        return _status_error(call["update"]["status"], call["executor_id"])
    for update in call.get("subscribe", {}).get("unacknowledged_updates", ()):
        if error := _status_error(update["status"], call["executor_id"]):
            return error
    return None


def _status_error(status: dict[str, Any], executor_id: dict[str, Any]) -> str | None:
    if len(base64.b64decode(status.get("uuid", ""))) != UUID_BYTES:
        return "Not a valid UUID"
    if status.get("executor_id", executor_id) != executor_id:
        return "ExecutorID in Call does not match ExecutorID in TaskStatus"
    if status.get("source") != "SOURCE_EXECUTOR":
        return "Received Call from executor with a source other than SOURCE_EXECUTOR"
    if status["state"] == "TASK_STAGING":
        return "Received TASK_STAGING from executor which is not allowed"
    return None


async def _beat(stream: EventStream) -> None:
    while not stream.closed:
        await asyncio.sleep(HEARTBEAT_SECONDS)
        stream.send({"type": "HEARTBEAT"})
