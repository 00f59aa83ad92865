"""One task in the hands of a built-in executor, from its start to its last state: kills, time limit, checks."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import sys
from collections.abc import Awaitable, Callable, Collection, Mapping
from typing import Any

from k8slab.mesos.agent.checks import Seen, nothing_seen, watch_check, watch_health
from k8slab.mesos.agent.payload import Payload
from k8slab.mesos.client.errors import MesosError

KILL_GRACE_SECONDS = 3.0

Report = Callable[..., Awaitable[None]]


class TaskRun:
    """``report(task_id, state, **fields)`` takes what ``ExecutorClient.update`` does."""

    def __init__(
        self, task: Mapping[str, Any], payload: Payload, report: Report, *, capabilities: Collection[str] = ()
    ) -> None:
        self.task_id: str = task["task_id"]["value"]
        self.state = "TASK_STAGING"
        self._task = task
        self._payload = payload
        self._report = report
        self._tells_killing = "TASK_KILLING_STATE" in capabilities
        self._kill_asked = asyncio.Event()
        self._expired = False
        self._started = False
        self._over = False
        self._healthy: bool | None = None
        self._check_status: Seen | None = nothing_seen(task["check"]) if "check" in task else None
        self._watchers: list[asyncio.Task[None]] = []
        self._signals: set[asyncio.Task[None]] = set()
        # Held while a state is being handed over: in their order, and none cut off by the end of its check.
        self._telling = asyncio.Lock()
        self._grace_seconds = _grace(task.get("kill_policy"), KILL_GRACE_SECONDS)
        self._escalation: asyncio.TimerHandle | None = None

    @property
    def killed(self) -> bool:
        return self._kill_asked.is_set()

    async def run(self) -> None:
        """To its end, which has been reported when this returns."""
        await self._tell("TASK_STARTING")
        try:
            if not await self._prepared():
                await self._tell("TASK_KILLED", message="Task was killed before it was started")
                return
            await self._payload.start()
        except OSError as error:
            reason = "REASON_CONTAINER_LAUNCH_FAILED"
            await self._tell("TASK_FAILED", message=f"Failed to launch container: {error}", reason=reason)
            return
        self._started = True
        limit = (self._task.get("max_completion_time") or {}).get("nanoseconds")
        timer = asyncio.get_running_loop().call_later(limit / 1e9, self._expire) if limit is not None else None
        if not self.killed:
            await self._tell("TASK_RUNNING", **self._payload.facts)
            self._watch()
        # Asked while it was being told: nobody has sent a signal yet.
        if self.killed and self._escalation is None:
            self._terminate(self._grace_seconds)
        try:
            status = await self._payload.wait()
            text, good = told(self._payload.noun, status), status == 0
        except OSError as error:
            text, good = str(error), False
        self._over = True
        for handle in (timer, self._escalation):
            if handle is not None:
                handle.cancel()
        for sending in self._signals:
            sending.cancel()
        await self._unwatch()
        await self._tell_end(text, good=good)

    async def _prepared(self) -> bool:
        """False when it is to be killed before it has begun."""
        preparing = asyncio.create_task(self._payload.prepare())
        killed = asyncio.create_task(self._kill_asked.wait())
        try:
            await asyncio.wait({preparing, killed}, return_when=asyncio.FIRST_COMPLETED)
            if self.killed:
                return False
            preparing.result()
            return True
        finally:
            for task in (preparing, killed):
                task.cancel()
            await asyncio.gather(preparing, killed, return_exceptions=True)

    async def _tell_end(self, text: str, *, good: bool) -> None:
        print(text, file=sys.stderr, flush=True)
        if self._expired:
            await self._tell("TASK_FAILED", message=text, reason="REASON_MAX_COMPLETION_TIME_REACHED")
        elif self.killed:
            await self._tell("TASK_KILLED", message=text)
        else:
            await self._tell("TASK_FINISHED" if good else "TASK_FAILED", message=text)

    async def _tell(self, state: str, **fields: Any) -> None:
        async with self._telling:
            self.state = state
            if self._healthy is not None:
                fields["healthy"] = self._healthy
            if self._check_status is not None:
                fields["check_status"] = self._check_status
            await self._report(self.task_id, state, **fields)

    # -- checks

    def _watch(self) -> None:
        if health := self._task.get("health_check"):
            watching = watch_health(health, self._payload.run_beside, self._tell_health)
            self._watchers.append(asyncio.create_task(watching))
        if check := self._task.get("check"):
            watching = watch_check(check, self._payload.run_beside, self._tell_check)
            self._watchers.append(asyncio.create_task(watching))

    async def _unwatch(self) -> None:
        current = asyncio.current_task()
        watchers = [watcher for watcher in self._watchers if watcher is not current]
        async with self._telling:
            for watcher in watchers:
                watcher.cancel()
        await asyncio.gather(*watchers, return_exceptions=True)

    async def _tell_health(self, healthy: bool, kill: bool) -> None:
        self._healthy = healthy
        if self.killed or self._over:
            return
        await self._tell_seen("REASON_TASK_HEALTH_CHECK_STATUS_UPDATED")
        if kill and not self._over:
            await self.kill()

    async def _tell_check(self, seen: Seen) -> None:
        self._check_status = seen
        if not (self.killed or self._over):
            await self._tell_seen("REASON_TASK_CHECK_STATUS_UPDATED")

    async def _tell_seen(self, reason: str) -> None:
        """An agent that does not take it ends no check: what was seen goes with the next state."""
        try:
            await self._tell("TASK_RUNNING", reason=reason)
        except MesosError as error:
            print(f"{reason}: {error}", file=sys.stderr, flush=True)

    # -- its end

    def _expire(self) -> None:
        """At once, whatever its kill policy says; what is being killed already ends as that."""
        if not self.killed:
            self._expired = True
            self._terminate(0.0)

    async def kill(self, policy: Mapping[str, Any] | None = None, *, at_most: float | None = None) -> None:
        """End it, with the grace of ``policy`` or else its own, no longer than ``at_most`` seconds."""
        if self._over:
            return
        first = not self.killed
        grace = _grace(policy, self._grace_seconds)
        grace = grace if at_most is None else min(grace, at_most)
        if first:
            self._grace_seconds = grace
            self._kill_asked.set()
            if self._started and self._tells_killing:
                await self._tell("TASK_KILLING")
        self._terminate(grace)
        await self._unwatch()

    def _terminate(self, grace: float) -> None:
        """SIGTERM to the whole tree, SIGKILL after ``grace``; asked again, the kill can only come sooner."""
        if not self._started or self._over:
            self._grace_seconds = min(self._grace_seconds, grace)
            return
        loop = asyncio.get_running_loop()
        due = loop.time() + grace
        if self._escalation is None:
            self._send(signal.SIGTERM)
        elif due >= self._escalation.when():
            return
        else:
            self._escalation.cancel()
        self._escalation = loop.call_at(due, self._send, signal.SIGKILL)

    def _send(self, number: int) -> None:
        sending = asyncio.create_task(self._payload.signal(number))
        self._signals.add(sending)
        sending.add_done_callback(self._signals.discard)


def _grace(policy: Mapping[str, Any] | None, default: float) -> float:
    """Seconds."""
    nanoseconds = (policy or {}).get("grace_period", {}).get("nanoseconds")
    return default if nanoseconds is None else float(nanoseconds) / 1e9


def told(noun: str, status: int) -> str:
    """An exit code, or minus a signal, in the original's words."""
    if status >= 0:
        return f"{noun} exited with status {status}"
    with contextlib.suppress(ValueError):
        return f"{noun} terminated with signal {signal.strsignal(-status)}"
    return f"{noun} terminated with signal {-status}"
