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
from k8slab.mesos.client.scheduler import RECONCILE_SECONDS, SchedulerClient, launch
from k8slab.mesos.client.stream import Event

log = logging.getLogger(__name__)

RETURN_SECONDS = 30.0
KILL_SECONDS = 10.0
TEARDOWN_SECONDS = 3.0
KILL_AGAIN_SECONDS = 1.0
# How long a task that was stopped is listened to after its end.
OUTPUT_SECONDS = 3.0
ENDED = frozenset(
    (
        *("TASK_FINISHED", "TASK_FAILED", "TASK_KILLED", "TASK_ERROR", "TASK_LOST"),
        *("TASK_DROPPED", "TASK_GONE", "TASK_GONE_BY_OPERATOR", "TASK_UNKNOWN"),
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
    """``on_status`` hears every state; ``on_output`` what the command writes: (``stdout`` or ``stderr``, bytes).

    ``on_waiting`` is told once when offers come and none is big enough, ``on_trouble`` what could not be done.
    """

    def __init__(
        self,
        master: str,
        command: Command,
        *,
        on_status: Callable[[Status], None],
        on_output: Callable[[str, bytes], None],
        on_waiting: Callable[[], None],
        on_trouble: Callable[[str], None],
        reconcile_seconds: float = RECONCILE_SECONDS,
    ) -> None:
        """Raises ValueError when ``master`` is no address."""
        self.command = command
        self.client = SchedulerClient(master, command.framework_info())
        self.final: Status | None = None
        self._on_status, self._on_output = on_status, on_output
        self._on_waiting, self._on_trouble = on_waiting, on_trouble
        self._reconcile_seconds = reconcile_seconds
        self._launched = self._waiting = False
        self._agent_id = self._address = ""
        self._output: asyncio.Task[None] | None = None
        self._stop: asyncio.Event | None = None

    async def run(self, stop: asyncio.Event) -> Status | None:
        """The final status, after all output; None when ``stop`` was set before it had begun, or nothing answers.

        ``stop`` kills the task. Whatever happens, the framework is torn down. Raises MesosError when it is refused, and
        what ``on_output`` raises, which ends the task as ``stop`` does.
        """
        self._stop = stop
        beside = [
            asyncio.create_task(self._stop_when(stop), name="stop"),
            asyncio.create_task(
                self.client.keep_reconciled(self._unended, interval=self._reconcile_seconds), name="reconciliation"
            ),
        ]
        try:
            async with aclosing(self.client.events()) as events:
                try:
                    async for event in events:
                        await self._handle(event)
                        if self.final is not None:
                            break
                    await self._output_over()
                    return self.final
                finally:
                    await self._tear_down(events)
        finally:
            for task in beside:
                task.cancel()
            if self._output is not None:
                self._output.cancel()
            await self.client.close()

    async def _output_over(self) -> None:
        """Wait for the rest of what the task wrote, or do without when nobody knows whether there will be any."""
        if self._output is None:
            return
        if self.final is None:
            self._output.cancel()
        await asyncio.wait({self._output})
        if not self._output.cancelled():
            self._output.result()

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
            self._on_trouble(f"framework {self.client.framework_id} was not torn down: no master answers")

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
                await self._quietly(self.client.reconcile(self._unended()))

    def _unended(self) -> list[tuple[str, str | None]]:
        return [(self.command.task_id, self._agent_id)] if self._launched and self.final is None else []

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
            self._agent_id = offer["agent_id"]["value"]
            self._address = f"{address.get('ip') or address['hostname']}:{address['port']}"
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
        if self._output is None and status.get("source") != "SOURCE_MASTER":
            self._output = asyncio.create_task(self._hand_on(), name="output")
            self._output.add_done_callback(self._output_ended)
        if status["state"] in ENDED:
            self.final = status

    def _output_ended(self, output: asyncio.Task[None]) -> None:
        """A command that nobody listens to any more is not to run on unheard."""
        if not output.cancelled() and output.exception() is not None and self._stop is not None:
            self._stop.set()

    async def _hand_on(self) -> None:
        agent = AgentClient(self._address)
        sandbox = Sandbox(
            agent,
            framework_id=self.client.framework_id or "",
            executor_id=self.command.task_id,
            task_id=self.command.task_id,
        )

        async def copy(name: str) -> None:
            try:
                async for written in sandbox.follow(name, lambda: self.final is not None):
                    self._on_output(name, written)
            except MesosError as error:
                self._on_trouble(f"{name} of the task cannot be read: {error}")

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
            self._on_trouble(f"the task did not end within {KILL_SECONDS:g} s")
        if self.final is None:
            await self._quietly(self.client.teardown())
            await self.client.close()
        elif self._output is not None:
            await asyncio.wait({self._output}, timeout=OUTPUT_SECONDS)
            self._output.cancel()
