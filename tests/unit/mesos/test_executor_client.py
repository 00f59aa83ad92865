"""The executor's client against an agent that says what agents say while they recover, over real sockets."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from typing import Any

import orjson
from aiohttp import web
from aiohttp.test_utils import TestServer

from k8slab.mesos import recordio
from k8slab.mesos.client.executor import ExecutorClient


async def test_an_update_outlives_an_agent_that_has_not_recovered_yet() -> None:
    updates: list[dict[str, Any]] = []

    async def agent(request: web.Request) -> web.StreamResponse:
        call = orjson.loads(await request.read())
        if call["type"] == "UPDATE":
            updates.append(call["update"]["status"])
            if len(updates) == 1:
                return web.Response(status=503, text="Agent has not finished recovery")
            return web.Response(status=202)
        response = web.StreamResponse()
        await response.prepare(request)
        subscribed = {"type": "SUBSCRIBED", "subscribed": {"agent_info": {"id": {"value": "S0"}}}}
        await response.write(recordio.encode(orjson.dumps(subscribed)))
        await asyncio.Event().wait()
        return response

    app = web.Application()
    app.router.add_route("POST", "/slave(1)/api/v1/executor", agent)
    async with TestServer(app) as server:
        environment = {
            "MESOS_AGENT_ENDPOINT": f"{server.host}:{server.port}",
            "MESOS_FRAMEWORK_ID": "f",
            "MESOS_EXECUTOR_ID": "e",
        }
        client = ExecutorClient.from_environment(environment)
        async with asyncio.timeout(10), aclosing(client.events()) as events:
            assert (await anext(events))["type"] == "SUBSCRIBED"
            await client.update("t", "TASK_FINISHED")
        assert [status["state"] for status in updates] == ["TASK_FINISHED"] * 2
        assert updates[0]["uuid"] == updates[1]["uuid"]
        assert list(client.unacknowledged_updates) == [updates[0]["uuid"]]
        await client.close()
