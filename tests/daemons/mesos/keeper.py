"""A framework that keeps fifty tasks running whatever happens to the masters, and keeps books of all it hears."""

from __future__ import annotations

import asyncio
import base64
import itertools
import random
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any

from k8slab.mesos.client import MesosError
from k8slab.mesos.client.command import ENDED
from k8slab.mesos.client.offers import left, take
from k8slab.mesos.client.scheduler import SchedulerClient, launch
from tests.daemons.mesos.cluster import scalar

PROGRAM = Path(__file__).with_name("lifetimes.py")
EXECUTOR_ID = "lifetimes"
NEEDS = {"cpus": 0.01, "mem": 4.0}
FOR_EVER = 0.0
SECONDS = 60.0
RECONCILE_EVERY = 1.0
NEVER_RAN = ("TASK_DROPPED", "TASK_UNKNOWN", "TASK_GONE")


class Keeper:
    """``count`` tasks at a time, half of them for ever, the others for a few seconds each, replaced as they end.

    ``states`` are the latest of all that were launched, ``terminal`` the updates that ended one. What was lost with a
    master, or on its way to a frozen agent, never ran: it moves to ``never_ran``.
    """

    def __init__(
        self, master: str, *, python: str, count: int = 50, environment: Mapping[str, str] | None = None
    ) -> None:
        framework = {
            "user": "root",
            "name": "keeper",
            "checkpoint": True,
            "failover_timeout": 600.0,
            "capabilities": [{"type": "PARTITION_AWARE"}],
        }
        self.client = SchedulerClient(master, framework, max_backoff=0.5, session_timeout=2.0)
        self.count = count
        self.states: dict[str, str] = {}
        self.agents: dict[str, str] = {}
        self.lifetimes: dict[str, float] = {}
        self.terminal: Counter[tuple[str, str]] = Counter()
        self.never_ran: set[str] = set()
        self._ran: set[str] = set()
        self.heard: list[dict[str, Any]] = []
        self.subscriptions = 0
        variables = [{"name": name, "value": value} for name, value in (environment or {}).items()]
        variables.append({"name": "PROGRAM", "value": PROGRAM.read_text()})
        self._command = {"value": f'exec {python} -c "$PROGRAM"', "environment": {"variables": variables}}
        self._numbers = itertools.count()
        self._news = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []

    async def __aenter__(self) -> Keeper:
        self._tasks = [asyncio.create_task(self._listen()), asyncio.create_task(self._reconcile())]
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.client.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def in_state(self, *states: str) -> set[str]:
        return {task for task, state in self.states.items() if state in states}

    @property
    def live(self) -> set[str]:
        return {task for task, state in self.states.items() if state not in ENDED}

    @property
    def eternal(self) -> set[str]:
        return {task for task in self.states if self.lifetimes[task] == FOR_EVER}

    async def until(self, found: Callable[[], Any], *, what: str, timeout: float = SECONDS) -> Any:
        """The first truthy answer of ``found``, asked again at all news."""
        try:
            async with asyncio.timeout(timeout):
                while not (answer := found()):
                    self._news.clear()
                    await self._news.wait()
                return answer
        except TimeoutError:
            raise AssertionError(f"not within {timeout:g} s: {what}; {Counter(self.states.values())}") from None

    async def full(self, *, timeout: float = SECONDS) -> None:
        """As many run as should."""
        await self.until(
            lambda: len(self.in_state("TASK_RUNNING")) >= self.count, what=f"{self.count} run", timeout=timeout
        )

    async def _listen(self) -> None:
        async for event in self.client.events():
            match event["type"]:
                case "SUBSCRIBED":
                    self.subscriptions += 1
                case "OFFERS":
                    await self._quietly(self._use(event["offers"]["offers"]))
                case "UPDATE":
                    self._note(event["update"]["status"])
                case "FAILURE" | "ERROR":
                    self.heard.append(event)
            self._news.set()

    async def _quietly(self, call: Awaitable[None]) -> None:
        """A call that a dying master did not hear is found out by the reconciliation."""
        try:
            await call
        except MesosError:
            return

    async def _use(self, offers: list[dict[str, Any]]) -> None:
        for offer in offers:
            rest, tasks = offer["resources"], []
            # The room for the executor, counted once too often when it runs already.
            reserve = take(rest, {"cpus": 0.1, "mem": 64.0})
            rest = left(rest, reserve) if reserve else []
            wanted = self.count - len(self.live)
            # No agent gets all of them.
            for _ in range(min(wanted, self.count // 2)):
                if (taken := take(rest, NEEDS)) is not None:
                    tasks.append(self._task(offer["agent_id"], taken))
                    rest = left(rest, taken)
            offer_ids = [offer["id"]["value"]]
            if tasks:
                await self.client.accept(offer_ids, [launch(tasks)], refuse_seconds=0.2)
            else:
                await self.client.decline(offer_ids, refuse_seconds=0.2)

    def _task(self, agent_id: dict[str, Any], resources: list[dict[str, Any]]) -> dict[str, Any]:
        number = next(self._numbers)
        task_id = f"kept-{number}"
        eternal = number % 2 == 0 and len(self.eternal) < self.count // 2
        lifetime = FOR_EVER if eternal else random.uniform(1.0, 6.0)
        self.states[task_id] = "TASK_STAGING"
        self.agents[task_id] = agent_id["value"]
        self.lifetimes[task_id] = lifetime
        return {
            "name": task_id,
            "task_id": {"value": task_id},
            "agent_id": agent_id,
            "resources": resources,
            "data": base64.b64encode(str(lifetime).encode()).decode(),
            "executor": {
                "executor_id": {"value": EXECUTOR_ID},
                "name": "lifetimes",
                "command": self._command,
                "resources": [scalar("cpus", 0.1), scalar("mem", 64)],
            },
        }

    def _note(self, status: dict[str, Any]) -> None:
        task_id, state = status["task_id"]["value"], status["state"]
        if task_id in self.never_ran and state in NEVER_RAN:
            return
        if task_id not in self.states:
            raise AssertionError(f"a task that was given up, or nobody's: {status}")
        if state in NEVER_RAN and task_id not in self._ran:
            del self.states[task_id]
            self.never_ran.add(task_id)
            return
        self.heard.append(status)
        if state == "TASK_RUNNING":
            self._ran.add(task_id)
        if state in ENDED and status.get("uuid"):
            self.terminal[(task_id, status["uuid"])] += 1
        if self.states[task_id] not in ENDED:
            self.states[task_id] = state

    async def _reconcile(self) -> None:
        """Whoever is in between is asked after until that is settled."""
        while True:
            await asyncio.sleep(RECONCILE_EVERY)
            unsettled = self.in_state("TASK_STAGING", "TASK_UNREACHABLE")
            if unsettled and self.client.subscribed:
                await self._quietly(self.client.reconcile([(task, self.agents[task]) for task in unsettled]))

    def audit(self, starts: list[str]) -> None:
        """Nothing stopped that should not have, nothing ran twice, each end was told once. ``starts``: all agents'."""
        counted = Counter(starts)
        assert {task: number for task, number in counted.items() if number != 1} == {}, "doubled"
        assert set(counted) == set(self.states), "what ran is what is in the books"
        bad = {state for state in self.states.values() if state not in ("TASK_RUNNING", "TASK_FINISHED")}
        assert not bad, Counter(self.states.values())
        assert all(self.states[task] == "TASK_RUNNING" for task in self.eternal), "one that lives for ever stopped"
        ended = [task for task, _ in self.terminal]
        assert sorted(ended) == sorted(self.in_state("TASK_FINISHED")), "each end has one update"
        assert set(self.terminal.values()) <= {1}, "each was told once"
        assert [event for event in self.heard if event.get("type") == "ERROR"] == []


def starts_below(work_dirs: list[Path]) -> list[str]:
    """The lines of all ``starts`` files of agents' sandboxes."""
    files = [
        path for work_dir in work_dirs for path in work_dir.glob("slaves/*-S*/frameworks/*/executors/*/runs/*/starts")
    ]
    # ``latest`` links to a run beside it.
    return [line for path in files if path.parent.name != "latest" for line in path.read_text().splitlines()]
