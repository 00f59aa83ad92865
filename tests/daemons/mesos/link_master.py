"""The master's end of one agent's link, in the hands of a test: what a master would order, and all the agent says."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Callable
from typing import Any

from aiohttp import web

from k8slab.mesos.link import PATH
from k8slab.mesos.recordio import Decoder, encode
from tests.daemons.mesos.cluster import Node, scalar
from tests.daemons.processes import Daemon, Supervisor, free_port

FRAMEWORK = {"id": {"value": "F"}, "name": "test", "user": "root", "checkpoint": True}
SECONDS = 40.0


class LinkMaster:
    """Registers whoever comes under the id it has, ``S0`` the first time; acknowledges updates unless told not to."""

    def __init__(self, supervisor: Supervisor, *, framework: dict[str, Any] | None = None) -> None:
        self.framework = FRAMEWORK | (framework or {})
        self.acknowledge = True
        self.calls: list[dict[str, Any]] = []
        self.agent: Node | None = None
        self._supervisor = supervisor
        self._news = asyncio.Event()
        self._response: web.StreamResponse | None = None
        self._runner: web.AppRunner | None = None
        self._port = free_port()
        self._ids = 0

    async def __aenter__(self) -> LinkMaster:
        app = web.Application()
        app.router.add_post(PATH, self._serve)
        self._runner = web.AppRunner(app, shutdown_timeout=0.1)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", self._port).start()
        return self

    async def __aexit__(self, *_: object) -> None:
        if self.agent is not None:
            await asyncio.to_thread(self.agent.daemon.stop)
        assert self._runner is not None
        await self._runner.cleanup()

    async def start_agent(self, *flags: str, **env: str) -> Node:
        port, work_dir = free_port(), self._supervisor.directory / "agent"
        argv = [
            f"--master=127.0.0.1:{self._port}",
            "--ip=127.0.0.1",
            f"--port={port}",
            f"--work_dir={work_dir}",
            "--resources=cpus:4;mem:4096;disk:2000;ports:[31000-31099]",
            "--registration_backoff_factor=50ms",
            *flags,
        ]
        daemon: Daemon = self._supervisor.module("agent", "k8slab.mesos.agent.main", *argv, env=env)
        self.agent = Node(daemon=daemon, port=port, work_dir=work_dir)
        await daemon.start_async()
        return self.agent

    async def _serve(self, request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        response.enable_chunked_encoding()
        await response.prepare(request)
        decoder = Decoder()
        # A killed agent's link ends as a crash ends it.
        with contextlib.suppress(ConnectionError):
            async for chunk in request.content.iter_any():
                for record in decoder.feed(chunk):
                    await self._take(json.loads(record), response)
        return response

    async def _take(self, call: dict[str, Any], response: web.StreamResponse) -> None:
        self.calls.append(call)
        if call["type"] in ("REGISTER", "REREGISTER"):
            await self._register(call, response)
        elif call["type"] == "UPDATE" and self.acknowledge:
            await self.confirm(call["status"])
        self._news.set()
        self._news = asyncio.Event()

    async def _register(self, call: dict[str, Any], response: web.StreamResponse) -> None:
        self._response = response
        agent_id = call["agent_info"].get("id")
        if agent_id is None:
            agent_id = {"value": f"S{self._ids}"}
            self._ids += 1
        kind = f"{call['type']}ED"
        await self.send(kind, agent_id=agent_id, total_ping_timeout_seconds=75.0)

    async def send(self, kind: str, **fields: Any) -> None:
        assert self._response is not None
        await self._response.write(encode(json.dumps({"type": kind, **fields}).encode()))

    async def confirm(self, status: dict[str, Any]) -> None:
        kept = {key: status[key] for key in ("task_id", "agent_id", "uuid")}
        await self.send("ACKNOWLEDGE", framework_id=self.framework["id"], **kept)

    async def run_task(self, task: dict[str, Any]) -> None:
        await self.send("RUN_TASK", framework_info=self.framework, task=_placed(task), role="*")

    async def run_group(self, *tasks: dict[str, Any], executor: dict[str, Any] | None = None) -> None:
        group = {"tasks": [_placed(task) for task in tasks]}
        executor = executor or default_executor()
        await self.send("RUN_TASK_GROUP", framework_info=self.framework, executor=executor, task_group=group, role="*")

    async def kill(self, task_id: str, **fields: Any) -> None:
        await self.send("KILL_TASK", framework_id=self.framework["id"], task_id={"value": task_id}, **fields)

    async def until(self, found: Callable[[], Any], what: str, *, timeout: float = SECONDS) -> Any:
        try:
            async with asyncio.timeout(timeout):
                while not (answer := found()):
                    await self._news.wait()
                return answer
        except TimeoutError:
            said = [call for call in self.calls if call["type"] not in ("REGISTER", "REREGISTER")]
            raise AssertionError(f"not within {timeout:g} s: {what}; the agent said {said}") from None

    def statuses(self, task_id: str) -> list[dict[str, Any]]:
        updates = [call["status"] for call in self.calls if call["type"] == "UPDATE"]
        return [status for status in updates if status["task_id"]["value"] == task_id]

    async def status(self, task_id: str, *states: str) -> dict[str, Any]:
        return await self.until(
            lambda: next((status for status in self.statuses(task_id) if status["state"] in states), None),
            f"{task_id} in {states}",
        )

    async def call(self, kind: str, *, after: int = 0) -> dict[str, Any]:
        return await self.until(lambda: next((call for call in self.calls[after:] if call["type"] == kind), None), kind)


def default_executor(executor_id: str = "groups", **fields: Any) -> dict[str, Any]:
    resources = [scalar("cpus", 0.1), scalar("mem", 32)]
    return {"type": "DEFAULT", "executor_id": {"value": executor_id}, "resources": resources, **fields}


def _placed(task: dict[str, Any]) -> dict[str, Any]:
    return {"agent_id": {"value": "S0"}, **task}
