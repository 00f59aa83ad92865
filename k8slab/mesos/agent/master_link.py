"""The agent's end of the link to the master: find it, register, stay connected. See ``k8slab.mesos.link``."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
from collections import deque
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any

import aiohttp
import orjson

from k8slab.mesos.agent.agent import Agent
from k8slab.mesos.agent.launches import Launches
from k8slab.mesos.agent.report import registration
from k8slab.mesos.client.detector import MasterDetector
from k8slab.mesos.link import CONTENT_TYPE, PATH
from k8slab.mesos.recordio import Decoder, FramingError, encode

log = logging.getLogger(__name__)

CONNECT_SECONDS = 5.0
REGISTRATION_SECONDS = 10.0
LONGEST_BACKOFF_SECONDS = 60.0
UNREGISTER_SECONDS = 5.0

Handler = Callable[[dict[str, Any]], None]
# By the type of the master's event.
Handlers = Mapping[str, Handler]


class Outbox:
    """Calls on their way into one request's body."""

    def __init__(self) -> None:
        self._waiting: deque[bytes] = deque()
        self._wake = asyncio.Event()

    def put(self, call: Mapping[str, Any]) -> None:
        self._waiting.append(encode(orjson.dumps(call)))
        self._wake.set()

    async def records(self) -> AsyncIterator[bytes]:
        """The body, as long as the link lives; what piled up meanwhile goes out as one chunk."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            chunk = b"".join(self._waiting)
            self._waiting.clear()
            yield chunk


class MasterLink:
    """``send`` writes to the present link and forgets what there is no link for."""

    def __init__(self, detector: MasterDetector, *, backoff: float, on_registered: Callable[[], None]) -> None:
        self._detector = detector
        self._backoff = backoff
        self._on_registered = on_registered
        self._outbox = Outbox()
        self._registered = False
        self.master: str | None = None
        self._leaving = False
        self._left = asyncio.Event()

    @property
    def registered(self) -> bool:
        return self._registered

    def send(self, call: Mapping[str, Any]) -> None:
        if self._registered:
            self._outbox.put(call)

    async def unregister(self) -> None:
        """Tell the master, which closes the link then, and do not come back."""
        self._leaving = True
        if self._registered:
            self.send({"type": "UNREGISTER"})
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(UNREGISTER_SECONDS):
                    await self._left.wait()

    async def run(self, agent: Agent, launches: Launches) -> None:
        """Until unregistered: follow the leader, and register with it."""
        handlers = self._handlers(agent, launches)
        delay = self._backoff
        # A master that just took over is reached by every agent at once; one that is new to the cluster is alone.
        waiting = bool(agent.agent_id)
        while not self._leaving:
            leader = await self._detector.leader()
            if waiting:
                if await self._detector.moved_within(leader, random.uniform(0, delay)):
                    delay = self._backoff
                    continue
                delay = min(delay * 2, LONGEST_BACKOFF_SECONDS)
            waiting = True
            if await self._stay(leader, agent, handlers):
                delay = self._backoff
        self._left.set()

    async def _stay(self, leader: str, agent: Agent, handlers: Handlers) -> bool:
        """One link, until it breaks or somebody else leads; whether it got as far as being registered."""
        linked = asyncio.create_task(self._link(leader, agent, handlers), name=f"link to {leader}")
        elsewhere = asyncio.create_task(self._detector.moved(leader))
        try:
            await asyncio.wait({linked, elsewhere}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in (linked, elsewhere):
                task.cancel()
            outcome, _ = await asyncio.gather(linked, elsewhere, return_exceptions=True)
            got_registered, self._registered = self._registered, False
            agent.updates.pause()
        if isinstance(outcome, Exception) and not isinstance(outcome, _EXPECTED):
            raise outcome
        log.info("link to %s ended: %s", leader, outcome or "closed by the master")
        return got_registered

    async def _link(self, leader: str, agent: Agent, handlers: Handlers) -> None:
        # One outbox for each link: what the last request's body still waits for must not swallow this registration.
        self._outbox = outbox = Outbox()
        outbox.put(registration(agent))
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_SECONDS)
        async with aiohttp.ClientSession(timeout=timeout) as session:
            async with asyncio.timeout(REGISTRATION_SECONDS):
                response = await session.post(
                    f"http://{leader}{PATH}",
                    data=outbox.records(),
                    headers={"Content-Type": CONTENT_TYPE},
                    allow_redirects=False,
                )
            if response.status == 307:
                self._detector.redirect(response.headers.get("Location", ""))
                raise ConnectionError(f"{leader} does not lead")
            if response.status != 200:
                raise ConnectionError(f"{leader} answers {response.status} {(await response.text())[:200]}")
            self.master = leader
            await self._read(response, agent, handlers)

    async def _read(self, response: aiohttp.ClientResponse, agent: Agent, handlers: Handlers) -> None:
        """Events until the end; a master that pings no more is as gone as one that closed."""
        decoder = Decoder()
        silence = REGISTRATION_SECONDS
        while True:
            async with asyncio.timeout(silence):
                chunk = await response.content.readany()
            if not chunk:
                return
            for record in decoder.feed(chunk):
                event = orjson.loads(record)
                if event["type"] in ("REGISTERED", "REREGISTERED"):
                    silence = event["total_ping_timeout_seconds"]
                    agent.adopt_id(event["agent_id"]["value"])
                    self._registered = True
                    log.info("%s as %s with %s", event["type"].lower(), agent.agent_id, self.master)
                    agent.updates.resume()
                    self._on_registered()
                elif (handler := handlers.get(event["type"])) is not None:
                    self._carry_out(handler, event, agent)
                else:
                    log.warning("event %s of the master is not known here", event["type"])

    def _carry_out(self, handler: Handler, event: dict[str, Any], agent: Agent) -> None:
        """What fails for one event is no trouble of the link, nor of the other tasks here."""
        try:
            handler(event)
        except Exception as trouble:
            log.exception("%s could not be carried out: %s", event["type"], event)
            for task_id in _launched(event):
                agent.cannot_run(event["framework_info"], task_id, trouble)

    def _handlers(self, agent: Agent, launches: Launches) -> Handlers:
        def executor_do(event: dict[str, Any], action: Callable[[Any], None]) -> None:
            framework = agent.frameworks.get(event["framework_id"]["value"])
            executor = framework.executors.get(event["executor_id"]["value"]) if framework else None
            if executor is not None:
                action(executor)

        def reconcile(event: dict[str, Any]) -> None:
            framework_id, task_id = event["framework_id"]["value"], event["task_id"]["value"]
            if agent.find_task(framework_id, task_id) is None:
                agent.tell_unknown(framework_id, task_id, partition_aware=event.get("partition_aware", False))

        return {
            "PING": lambda event: self.send({"type": "PONG"}),
            "RUN_TASK": lambda event: launches.run_task(event["framework_info"], event["task"], event["role"]),
            "RUN_TASK_GROUP": lambda event: launches.run_task_group(
                event["framework_info"], event["executor"], event["task_group"], event["role"]
            ),
            "KILL_TASK": lambda event: agent.kill_task(
                event["framework_id"]["value"],
                event["task_id"]["value"],
                event.get("kill_policy"),
                partition_aware=event.get("partition_aware", False),
            ),
            "ACKNOWLEDGE": lambda event: agent.acknowledge(
                event["framework_id"]["value"], event["task_id"]["value"], event["uuid"]
            ),
            "MESSAGE": lambda event: executor_do(
                event, lambda executor: executor.send({"type": "MESSAGE", "message": {"data": event["data"]}})
            ),
            "RECONCILE_TASK": reconcile,
            "CHECKPOINT_RESOURCES": lambda event: agent.checkpoint_resources(event["resources"]),
            "SHUTDOWN": lambda event: agent.order_to_leave(event.get("message", "asked to shut down by the master")),
            "SHUTDOWN_EXECUTOR": lambda event: executor_do(event, agent.shutdown_executor),
            "SHUTDOWN_FRAMEWORK": lambda event: agent.shutdown_framework(event["framework_id"]["value"]),
        }


def _launched(event: Mapping[str, Any]) -> list[str]:
    """The ids of the tasks that this event should have started, as far as it names any."""
    match event:
        case {"type": "RUN_TASK", "framework_info": {"id": {"value": _}}, "task": task}:
            tasks = [task]
        case {"type": "RUN_TASK_GROUP", "framework_info": {"id": {"value": _}}, "task_group": {"tasks": several}}:
            tasks = several
        case _:
            tasks = []
    return [task["task_id"]["value"] for task in tasks if "task_id" in task]


# RuntimeError is what aiohttp's reader says of a connection that was closed while it waited.
_EXPECTED = (aiohttp.ClientError, OSError, TimeoutError, FramingError, RuntimeError)
