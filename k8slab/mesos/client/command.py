"""A framework for a single command: launch it, hand on what it writes, say how it ended."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Any

from k8slab.mesos.client.errors import MesosError
from k8slab.mesos.client.offers import take
from k8slab.mesos.client.operator import AgentClient
from k8slab.mesos.client.sandbox import Sandbox
from k8slab.mesos.client.scheduler import SchedulerClient, launch
from k8slab.mesos.client.stream import Event

log = logging.getLogger(__name__)

RETURN_SECONDS = 30.0
KILL_SECONDS = 10.0
TEARDOWN_SECONDS = 3.0
KILL_AGAIN_SECONDS = 1.0
ENDED = frozenset(
    (
        *("TASK_FINISHED", "TASK_FAILED", "TASK_KILLED", "TASK_ERROR", "TASK_LOST"),
        *("TASK_DROPPED", "TASK_GONE", "TASK_GONE_BY_OPERATOR"),
    )
)

Status = dict[str, Any]


@dataclass(frozen=True)
class Command:
    """A shell command and what it needs; ``mem`` in megabytes. With a ``docker_image`` it runs in a container of it."""

    task_id: str
    value: str
    name: str
    cpus: float = 0.1
    mem: float = 32.0
    role: str = "*"
    user: str = "root"
    docker_image: str = ""
    environment: Mapping[str, str] = field(default_factory=dict)

    def task_info(self, agent_id: Mapping[str, Any], resources: list[dict[str, Any]]) -> dict[str, Any]:
        command: dict[str, Any] = {"value": self.value}
        if self.environment:
            variables = [{"name": name, "value": value} for name, value in self.environment.items()]
            command["environment"] = {"variables": variables}
        info = {
            "name": self.name,
            "task_id": {"value": self.task_id},
            "agent_id": dict(agent_id),
            "resources": resources,
            "command": command,
        }
        if self.docker_image:
            info["container"] = {"type": "DOCKER", "docker": {"image": self.docker_image}}
        return info

    def framework_info(self) -> dict[str, Any]:
        info: dict[str, Any] = {
            "user": self.user,
            "name": self.name,
            "checkpoint": True,
            "failover_timeout": RETURN_SECONDS,
            "capabilities": [{"type": "PARTITION_AWARE"}],
        }
        return info if self.role == "*" else {**info, "role": self.role}


class CommandRun:
    """``on_status`` hears every state; ``on_output`` what the command writes: (``stdout`` or ``stderr``, text).

    ``on_waiting`` is told once when offers come and none is big enough.
    """

    def __init__(
        self,
        master: str,
        command: Command,
        *,
        on_status: Callable[[Status], None],
        on_output: Callable[[str, str], None],
        on_waiting: Callable[[], None],
    ) -> None:
        """Raises ValueError when ``master`` is no address."""
        self.command = command
        self.client = SchedulerClient(master, command.framework_info())
        self.final: Status | None = None
        self._on_status, self._on_output, self._on_waiting = on_status, on_output, on_waiting
        self._launched = self._waiting = False
        self._agents: dict[str, str] = {}
        self._output: asyncio.Task[None] | None = None

    async def run(self, stop: asyncio.Event) -> Status | None:
        """The final status, after all output; None when ``stop`` was set before it had begun, or nothing answers.

        ``stop`` kills the task. Whatever happens, the framework is torn down. Raises MesosError when it is refused.
        """
        stopping = asyncio.create_task(self._stop_when(stop))
        try:
            async with aclosing(self.client.events()) as events:
                try:
                    async for event in events:
                        await self._handle(event)
                        if self.final is not None:
                            break
                    if self._output is not None:
                        await self._output
                    return self.final
                finally:
                    await self._tear_down(events)
        finally:
            stopping.cancel()
            if self._output is not None:
                self._output.cancel()
            await self.client.close()

    async def _tear_down(self, events: AsyncIterator[Event]) -> None:
        """With the next master if this one is just leaving; not at all when none comes."""
        try:
            async with asyncio.timeout(TEARDOWN_SECONDS):
                while True:
                    try:
                        await self.client.teardown()
                        return
                    except MesosError as error:
                        if await anext(events, None) is None:
                            log.info("not torn down: %s", error)
                            return
        except TimeoutError:
            log.warning("framework %s was not torn down: no master answers", self.client.framework_id)

    async def _handle(self, event: Mapping[str, Any]) -> None:
        match event["type"]:
            case "ERROR":
                raise MesosError(0, event["error"]["message"])
            case "OFFERS":
                await self._quietly(self._choose(event["offers"].get("offers", ())))
            case "UPDATE":
                self._on_update(event["update"]["status"])
            case "SUBSCRIBED" if self._launched:
                # What became of the task meanwhile, or of its launch if that got lost with a master.
                await self._quietly(self.client.reconcile([(self.command.task_id, None)]))

    async def _quietly(self, call: Awaitable[None]) -> None:
        try:
            await call
        except MesosError as error:
            log.info("%s; the subscription's end follows", error)

    async def _choose(self, offers: list[dict[str, Any]]) -> None:
        unused = []
        for offer in offers:
            needs = {"cpus": self.command.cpus, "mem": self.command.mem}
            resources = None if self._launched else take(offer.get("resources", ()), needs)
            if resources is None:
                unused.append(offer["id"]["value"])
                continue
            self._launched = True
            address = offer["url"]["address"]
            self._agents[offer["agent_id"]["value"]] = f"{address.get('ip') or address['hostname']}:{address['port']}"
            task = self.command.task_info(offer["agent_id"], resources)
            await self.client.accept([offer["id"]["value"]], [launch([task])])
            await self.client.suppress()
        if unused:
            await self.client.decline(unused, refuse_seconds=1.0)
        if not self._launched and not self._waiting:
            self._waiting = True
            self._on_waiting()

    def _on_update(self, status: Status) -> None:
        self._on_status(status)
        agent_id = (status.get("agent_id") or {}).get("value", "")
        address = self._agents.get(agent_id) if status.get("source") != "SOURCE_MASTER" else None
        if address and self._output is None:
            self._output = asyncio.create_task(self._hand_on(address), name="output")
        if status["state"] in ENDED:
            self.final = status

    async def _hand_on(self, address: str) -> None:
        agent = AgentClient(address)
        sandbox = Sandbox(
            agent,
            framework_id=self.client.framework_id or "",
            executor_id=self.command.task_id,
            task_id=self.command.task_id,
        )

        async def copy(name: str) -> None:
            try:
                async for text in sandbox.follow(name, lambda: self.final is not None):
                    self._on_output(name, text)
            except MesosError as error:
                log.warning("%s of the task cannot be read: %s", name, error)

        try:
            await asyncio.gather(copy("stdout"), copy("stderr"))
        finally:
            await agent.close()

    async def _stop_when(self, stop: asyncio.Event) -> None:
        """Ask for the task's end until it has ended; give up on a cluster that does not answer."""
        await stop.wait()
        try:
            async with asyncio.timeout(KILL_SECONDS):
                while self._launched and self.final is None:
                    await self._quietly(self.client.kill(self.command.task_id))
                    await asyncio.sleep(KILL_AGAIN_SECONDS)
        except TimeoutError:
            log.warning("the task did not end within %g s", KILL_SECONDS)
        if self.final is None:
            await self._quietly(self.client.teardown())
            await self.client.close()
