"""An executor's side of the executor API: take tasks from the agent, report what becomes of them."""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any

import aiohttp

from k8slab.mesos.client.errors import MesosError
from k8slab.mesos.client.stream import Event, Subscription, encode_bytes, new_uuid
from k8slab.mesos.durations import parse_duration

log = logging.getLogger(__name__)

NOT_SUBSCRIBED = 403
RECOVERING = 503
RETRY_SECONDS = 0.1
# How long an executor that does not checkpoint waits for the agent that has just started it.
FIRST_CONTACT_SECONDS = 10.0


@dataclass(frozen=True)
class ExecutorEnvironment:
    """What the agent tells an executor through its environment. Times in seconds."""

    agent_endpoint: str
    framework_id: str
    executor_id: str
    agent_id: str
    directory: str
    checkpoint: bool
    recovery_timeout: float
    backoff_max: float
    shutdown_grace: float

    @classmethod
    def parse(cls, environ: Mapping[str, str]) -> ExecutorEnvironment:
        """Raises KeyError naming the variable that is missing."""
        return cls(
            agent_endpoint=environ["MESOS_AGENT_ENDPOINT"],
            framework_id=environ["MESOS_FRAMEWORK_ID"],
            executor_id=environ["MESOS_EXECUTOR_ID"],
            agent_id=environ.get("MESOS_SLAVE_ID", ""),
            directory=environ.get("MESOS_DIRECTORY", "."),
            checkpoint=environ.get("MESOS_CHECKPOINT", "0") == "1",
            recovery_timeout=parse_duration(environ.get("MESOS_RECOVERY_TIMEOUT", "15mins")),
            backoff_max=parse_duration(environ.get("MESOS_SUBSCRIPTION_BACKOFF_MAX", "2secs")),
            shutdown_grace=parse_duration(environ.get("MESOS_EXECUTOR_SHUTDOWN_GRACE_PERIOD", "5secs")),
        )


class ExecutorClient:
    """Keeps one executor subscribed to its agent and never forgets an update the agent has not acknowledged."""

    def __init__(self, environment: ExecutorEnvironment) -> None:
        self.environment = environment
        self.framework_id = environment.framework_id
        self.executor_id = environment.executor_id
        self.agent_id = environment.agent_id
        self.unacknowledged_tasks: dict[str, dict[str, Any]] = {}
        self.unacknowledged_updates: dict[str, dict[str, Any]] = {}
        self._subscription: Subscription | None = None
        self._turn = asyncio.Lock()
        self._closed = False

    @classmethod
    def from_environment(cls, environ: Mapping[str, str]) -> ExecutorClient:
        """Raises KeyError when this process was not started by an agent."""
        return cls(ExecutorEnvironment.parse(environ))

    async def events(self) -> AsyncIterator[Event]:
        """Every event but heartbeats, and ``{"type": "DISCONNECTED"}`` when a stream ends.

        A SHUTDOWN is the last event; the client makes one up when the agent stays away longer than an executor may
        wait for it: not at all without checkpointing, the recovery timeout with it.
        """
        alone_since = time.monotonic()
        patience = self.environment.recovery_timeout if self.environment.checkpoint else FIRST_CONTACT_SECONDS
        while not self._closed:
            subscribed = False
            async with aclosing(self._stream()) as stream:
                async for event in stream:
                    subscribed = subscribed or event["type"] == "SUBSCRIBED"
                    yield event
                    if event["type"] == "SHUTDOWN":
                        return
            if subscribed:
                alone_since = time.monotonic()
                patience = patience if self.environment.checkpoint else 0.0
                yield {"type": "DISCONNECTED"}
            if not self._closed and time.monotonic() - alone_since >= patience:
                yield {"type": "SHUTDOWN"}
                return
            await asyncio.sleep(random.uniform(0.05, 0.25) * self.environment.backoff_max)

    async def _stream(self) -> AsyncGenerator[Event, None]:
        subscription = self._subscription = Subscription(
            f"http://{self.environment.agent_endpoint}/slave(1)/api/v1/executor"
        )
        try:
            async for event in subscription.open(self._subscribe_call()):
                self._note(event)
                if event["type"] != "HEARTBEAT":
                    yield event
        except (aiohttp.ClientError, TimeoutError, OSError, MesosError) as error:
            log.info("agent at %s: %s %s", self.environment.agent_endpoint, type(error).__name__, error)
        finally:
            self._subscription = None
            await subscription.close()

    def _subscribe_call(self) -> dict[str, Any]:
        subscribe = {
            "unacknowledged_tasks": list(self.unacknowledged_tasks.values()),
            "unacknowledged_updates": [{"status": status} for status in self.unacknowledged_updates.values()],
        }
        return self._envelope("SUBSCRIBE", subscribe)

    def _note(self, event: Event) -> None:
        match event["type"]:
            case "SUBSCRIBED":
                self.agent_id = event["subscribed"]["agent_info"]["id"]["value"]
            case "LAUNCH":
                self._note_task(event["launch"]["task"])
            case "LAUNCH_GROUP":
                for task in event["launch_group"]["task_group"]["tasks"]:
                    self._note_task(task)
            case "ACKNOWLEDGED":
                self.unacknowledged_tasks.pop(event["acknowledged"]["task_id"]["value"], None)
                self.unacknowledged_updates.pop(event["acknowledged"]["uuid"], None)

    def _note_task(self, task: dict[str, Any]) -> None:
        self.unacknowledged_tasks[task["task_id"]["value"]] = task

    def _envelope(self, type: str, payload: Mapping[str, Any]) -> dict[str, Any]:
        return {
            "type": type,
            "executor_id": {"value": self.executor_id},
            "framework_id": {"value": self.framework_id},
            type.lower(): payload,
        }

    async def update(
        self,
        task_id: str,
        state: str,
        *,
        message: str = "",
        data: bytes | None = None,
        healthy: bool | None = None,
        reason: str | None = None,
        labels: Mapping[str, str] | None = None,
        container_status: Mapping[str, Any] | None = None,
        check_status: Mapping[str, Any] | None = None,
    ) -> None:
        """Report a state (``TASK_RUNNING``…). While the agent is away the update waits for the next subscription.

        Raises MesosError when the agent refuses it.
        """
        status: dict[str, Any] = {
            "task_id": {"value": task_id},
            "state": state,
            "source": "SOURCE_EXECUTOR",
            "uuid": new_uuid(),
            "timestamp": time.time(),
        }
        if message:
            status["message"] = message
        if data is not None:
            status["data"] = encode_bytes(data)
        if healthy is not None:
            status["healthy"] = healthy
        if reason is not None:
            status["reason"] = reason
        if labels:
            status["labels"] = {"labels": [{"key": key, "value": value} for key, value in labels.items()]}
        if container_status is not None:
            status["container_status"] = dict(container_status)
        if check_status is not None:
            status["check_status"] = dict(check_status)
        self.unacknowledged_updates[status["uuid"]] = status
        await self._deliver(self._envelope("UPDATE", {"status": status}), status["uuid"])

    async def _deliver(self, call: Mapping[str, Any], uuid: str) -> None:
        """Send an update until the agent takes it or the stream ends, after which the resubscription carries it."""
        async with self._turn:
            while (subscription := self._subscription) is not None and uuid in self.unacknowledged_updates:
                try:
                    await subscription.call(call)
                    return
                except MesosError as error:
                    if error.status not in (0, NOT_SUBSCRIBED, RECOVERING):
                        self.unacknowledged_updates.pop(uuid, None)
                        raise
                    log.info("update %s waits: %s", uuid, error)
                    await asyncio.sleep(RETRY_SECONDS)

    async def message(self, data: bytes) -> None:
        """Send ``data`` to the framework, best effort. Raises MesosError when the agent does not take it."""
        if self._subscription is None:
            raise MesosError(0, "MESSAGE: not subscribed")
        await self._subscription.call(self._envelope("MESSAGE", {"data": encode_bytes(data)}))

    async def close(self) -> None:
        self._closed = True
        if self._subscription is not None:
            await self._subscription.close()
