"""An agent in the hands of a test: what one would tell its master, and all that it is told."""

from __future__ import annotations

import asyncio
import base64
import uuid
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import orjson

from k8slab.mesos.link import PATH
from k8slab.mesos.recordio import Decoder, encode
from tests.daemons.mesos.cluster import Node, scalar
from tests.daemons.processes import eventually


class LinkAgent:
    """One link of an agent called ``name``. ``answers``: seconds from each PING to its PONG, None for never."""

    def __init__(self, master: Node, name: str, *, agent_id: str = "", cpus: float = 4, port: int = 5051) -> None:
        self.name, self.agent_id = name, agent_id
        self.answers: float | None = 0.0
        self.events: list[dict[str, Any]] = []
        self._master = master
        self._pid = f"slave(1)@127.0.0.1:{port}"
        self._info: dict[str, Any] = {"hostname": name, "resources": [scalar("cpus", cpus), scalar("mem", 1024)]}
        self._calls: asyncio.Queue[dict[str, Any] | None] = asyncio.Queue()
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> LinkAgent:
        await self.begin()
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._task is not None
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)

    async def begin(self, *tasks: dict[str, Any], frameworks: tuple[dict[str, Any], ...] = ()) -> None:
        """Register, or return with these tasks; until the master says so."""
        call: dict[str, Any] = {"type": "REGISTER", "pid": self._pid, "agent_info": self._info}
        if self.agent_id:
            info = {**self._info, "id": {"value": self.agent_id}}
            call |= {"type": "REREGISTER", "agent_info": info, "tasks": tasks, "frameworks": frameworks}
        self.say(call)
        self._task = asyncio.create_task(self._live())
        told = await self.event(f"{call['type']}ED")
        self.agent_id = told["agent_id"]["value"]

    def say(self, call: dict[str, Any]) -> None:
        self._calls.put_nowait(call)

    def update(self, framework_id: str, task_id: str, state: str) -> None:
        status = {
            "task_id": {"value": task_id},
            "agent_id": {"value": self.agent_id},
            "state": state,
            "source": "SOURCE_EXECUTOR",
            "uuid": base64.b64encode(uuid.uuid4().bytes).decode(),
        }
        self.say({"type": "UPDATE", "framework_id": {"value": framework_id}, "status": status, "latest_state": state})

    async def event(self, kind: str) -> dict[str, Any]:
        async def found() -> dict[str, Any] | None:
            return next((event for event in self.events if event["type"] == kind), None)

        return await eventually(found, what=f"{kind} for {self.name}")

    async def _body(self) -> AsyncIterator[bytes]:
        while (call := await self._calls.get()) is not None:
            yield encode(orjson.dumps(call))

    async def _live(self) -> None:
        loop, decoder = asyncio.get_running_loop(), Decoder()
        async with (
            aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=None)) as session,
            session.post(f"{self._master.url}{PATH}", data=self._body()) as response,
        ):
            async for chunk in response.content.iter_any():
                for event in map(orjson.loads, decoder.feed(chunk)):
                    self.events.append(event)
                    if event["type"] == "PING" and self.answers is not None:
                        loop.call_later(self.answers, self.say, {"type": "PONG"})
