"""What the built-in executors share: listening to the agent, and ending only when their last words are acknowledged."""

from __future__ import annotations

import asyncio
import os
import sys
from abc import ABC, abstractmethod
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

from k8slab.mesos.agent.task_run import TaskRun
from k8slab.mesos.client.executor import ExecutorClient

# Left to end by itself before the agent's own grace is over, so that the last states still get through.
SHUTDOWN_MARGIN_SECONDS = 0.5
LAST_WORDS_SECONDS = 60.0


class BuiltinExecutor(ABC):
    """Subclasses fill ``_launch`` and ``_ended``; ``_runs`` are the tasks that have not ended."""

    def __init__(self, client: ExecutorClient) -> None:
        self._client = client
        self._capabilities: frozenset[str] = frozenset()
        self._container_id = ""
        self._runs: dict[str, TaskRun] = {}
        self._shut_down = False
        self._done = asyncio.Event()
        self._acknowledged = asyncio.Event()
        self._working: set[asyncio.Task[None]] = set()

    async def run(self) -> int:
        listening = asyncio.create_task(self._listen())
        listening.add_done_callback(self._worked)
        await self._done.wait()
        await self._last_words()
        # A group may have come while the last states of the one before were under way.
        while self._runs:
            self._done.clear()
            await self._done.wait()
            await self._last_words()
        listening.cancel()
        await asyncio.gather(listening, return_exceptions=True)
        await self._client.close()
        return 0

    async def _last_words(self) -> None:
        """Wait for the acknowledgements, which an agent that shuts this executor down does not send any more."""
        try:
            async with asyncio.timeout(LAST_WORDS_SECONDS):
                while self._client.unacknowledged_updates and not self._shut_down:
                    self._acknowledged.clear()
                    await self._acknowledged.wait()
        except TimeoutError:
            print("the agent did not acknowledge the last update", file=sys.stderr, flush=True)

    async def _listen(self) -> None:
        async for event in self._client.events():
            match event["type"]:
                case "SUBSCRIBED":
                    self._note(event["subscribed"])
                case "LAUNCH":
                    await self._launch([event["launch"]["task"]], group=False)
                case "LAUNCH_GROUP":
                    await self._launch(event["launch_group"]["task_group"]["tasks"], group=True)
                case "KILL":
                    if (run := self._runs.get(event["kill"]["task_id"]["value"])) is not None:
                        self._work(run.kill(event["kill"].get("kill_policy")))
                case "ACKNOWLEDGED":
                    self._acknowledged.set()
                case "SHUTDOWN":
                    self._shutdown()
                    # The stream ends with this loop, and what the tasks end with still has to go out.
                    await self._done.wait()

    def _note(self, subscribed: dict[str, Any]) -> None:
        known = subscribed["framework_info"].get("capabilities", ())
        self._capabilities = frozenset(capability.get("type", "") for capability in known)
        self._container_id = (subscribed.get("container_id") or {}).get("value", "")

    @abstractmethod
    async def _launch(self, tasks: list[dict[str, Any]], *, group: bool) -> None:
        """Begin them; ``group``: they came together."""

    @abstractmethod
    async def _ended(self, run: TaskRun) -> None:
        """Its last state has been told, and it is out of ``_runs``."""

    def _work(self, work: Coroutine[Any, Any, None]) -> None:
        working = asyncio.create_task(work)
        self._working.add(working)
        working.add_done_callback(self._worked)

    def _worked(self, working: asyncio.Task[Any]) -> None:
        self._working.discard(working)
        if not working.cancelled() and (error := working.exception()) is not None:
            # What it was about cannot be saved here; the agent ends what is left and says so.
            print(f"{type(error).__name__}: {error}", file=sys.stderr, flush=True)
            os._exit(1)

    def _start(self, run: TaskRun) -> None:
        self._runs[run.task_id] = run
        self._work(self._live(run))

    async def _live(self, run: TaskRun) -> None:
        await run.run()
        del self._runs[run.task_id]
        await self._ended(run)

    def _shutdown(self) -> None:
        """Every task ends before the agent's patience does."""
        self._shut_down = True
        if not self._runs:
            self._done.set()
        grace = max(0.0, self._client.environment.shutdown_grace - SHUTDOWN_MARGIN_SECONDS)
        for run in self._runs.values():
            self._work(run.kill(at_most=grace))


def start(program: Coroutine[Any, Any, int]) -> int:
    """Run an executor in its sandbox."""
    os.chdir(Path(os.environ.get("MESOS_SANDBOX", ".")))
    return asyncio.run(program)
