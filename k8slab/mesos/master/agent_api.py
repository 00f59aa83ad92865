"""``POST /api/v1/agent``: the master's end of the link that ``k8slab.mesos.link`` describes."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

from aiohttp import web

from k8slab.mesos.http import EventStream, open_stream, parse_json, refuse
from k8slab.mesos.master.agents import AgentCalls
from k8slab.mesos.master.leading import not_leading
from k8slab.mesos.master.master import Master
from k8slab.mesos.master.model import Agent
from k8slab.mesos.recordio import Decoder, FramingError

log = logging.getLogger(__name__)


class AgentApi:
    def __init__(self, master: Master) -> None:
        self._master = master
        self._calls = AgentCalls(master)

    async def __call__(self, request: web.Request) -> web.StreamResponse:
        if request.method != "POST":
            return refuse(405, f"Expecting one of {{ 'POST' }}, but received '{request.method}'", Allow="POST")
        if (elsewhere := not_leading(self._master, request)) is not None:
            return elsewhere
        link = EventStream()
        response = await open_stream(request)
        writing = asyncio.create_task(link.pump(response))
        reading = asyncio.create_task(self._read(request, link))
        try:
            await asyncio.wait({writing, reading}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in (writing, reading):
                task.cancel()
            outcomes = await asyncio.gather(writing, reading, return_exceptions=True)
            for outcome in outcomes:
                if isinstance(outcome, Exception):
                    log.info("link to %s: %s %s", request.remote, type(outcome).__name__, outcome)
        return response

    async def _register(self, call: Any, link: EventStream) -> Agent:
        """An admission that began is finished even if the link breaks meanwhile: the registry has the agent then."""

        async def finish() -> Agent:
            agent = await self._calls.register(call, link)
            if link.closed:
                self._master.disconnect_agent(agent, link)
            return agent

        return await asyncio.shield(asyncio.create_task(finish()))

    async def _read(self, request: web.Request, link: EventStream) -> None:
        decoder = Decoder()
        agent: Agent | None = None
        try:
            async for chunk in request.content.iter_any():
                for record in decoder.feed(chunk):
                    call = parse_json(record)
                    if agent is None:
                        agent = await self._register(call, link)
                    elif agent.link is link:
                        self._calls.handle[call["type"]](agent, call)
        except (FramingError, AttributeError, KeyError, TypeError, ValueError) as error:
            log.warning("link to %s closed: not an agent's call (%s %s)", request.remote, type(error).__name__, error)
        finally:
            link.close()
            if agent is not None:
                self._master.disconnect_agent(agent, link)
