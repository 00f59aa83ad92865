"""``mesos-executor``: the built-in executor that runs one command task and reports how it ends."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from k8slab.mesos.agent.processes import signal_tree
from k8slab.mesos.client.executor import ExecutorClient

KILL_GRACE_SECONDS = 3.0
EXECUTOR_VARIABLES = frozenset(("MESOS_HTTP_COMMAND_EXECUTOR",))


class CommandExecutor:
    def __init__(self, client: ExecutorClient) -> None:
        self._client = client
        self._task: dict[str, Any] | None = None
        self._capabilities: set[str] = set()
        self._process: asyncio.subprocess.Process | None = None
        self._running: asyncio.Task[None] | None = None
        self._killed = False
        self._expired = False
        self._escalation: asyncio.TimerHandle | None = None
        self._escalation_due = 0.0
        self._last: str | None = None
        self._done = asyncio.Event()

    async def run(self) -> int:
        listening = asyncio.create_task(self._listen())
        await self._done.wait()
        listening.cancel()
        await asyncio.gather(listening, return_exceptions=True)
        await self._client.close()
        return 0

    async def _listen(self) -> None:
        async for event in self._client.events():
            match event["type"]:
                case "SUBSCRIBED":
                    info = event["subscribed"]["framework_info"]
                    self._capabilities = {known.get("type", "") for known in info.get("capabilities", ())}
                case "LAUNCH":
                    await self._launch(event["launch"]["task"])
                case "KILL":
                    await self._kill(event["kill"].get("kill_policy"))
                case "ACKNOWLEDGED":
                    if event["acknowledged"]["uuid"] == self._last:
                        self._done.set()
                case "SHUTDOWN":
                    await self._shutdown()
        if self._running is None:
            self._done.set()

    async def _launch(self, task: dict[str, Any]) -> None:
        task_id = task["task_id"]["value"]
        if self._task is not None:
            text = 'Attempted to run multiple tasks using a "command" executor'
            await self._client.update(task_id, "TASK_FAILED", message=text)
            return
        self._task = task
        await self._client.update(task_id, "TASK_STARTING")
        self._running = asyncio.create_task(self._execute(task))

    async def _execute(self, task: Mapping[str, Any]) -> None:
        task_id = task["task_id"]["value"]
        command = task["command"]
        shell = command.get("shell", True)
        value = command.get("value", "")
        argv = ["sh", "-c", value] if shell else command.get("arguments") or [value]
        env = {key: text for key, text in os.environ.items() if key not in EXECUTOR_VARIABLES}
        for variable in (command.get("environment") or {}).get("variables", ()):
            env[variable["name"]] = variable.get("value", "")
        # To stderr: the sandbox's stdout is to hold what the command says and nothing else.
        print(f"Starting task {task_id}", file=sys.stderr, flush=True)
        try:
            # A group of its own, but our session: so it can be signalled without us, and found when we are gone.
            self._process = await asyncio.create_subprocess_exec(
                *argv, executable="/bin/sh" if shell else value, env=env, process_group=0
            )
        except OSError as error:
            await self._end(task_id, "TASK_FAILED", f"Failed to run the command: {error}")
            return
        await self._client.update(task_id, "TASK_RUNNING")
        if self._killed:
            self._terminate(self._grace(None))
        limit = (task.get("max_completion_time") or {}).get("nanoseconds")
        timer = asyncio.get_running_loop().call_later(limit / 1e9, self._expire) if limit else None
        status = await self._process.wait()
        if timer is not None:
            timer.cancel()
        text = _told(status)
        print(f"{text} (pid: {self._process.pid})", file=sys.stderr, flush=True)
        if self._expired:
            await self._end(task_id, "TASK_FAILED", text, reason="REASON_MAX_COMPLETION_TIME_REACHED")
        elif self._killed:
            await self._end(task_id, "TASK_KILLED", text)
        else:
            await self._end(task_id, "TASK_FINISHED" if status == 0 else "TASK_FAILED", text)

    async def _end(self, task_id: str, state: str, message: str, *, reason: str | None = None) -> None:
        if self._escalation is not None:
            self._escalation.cancel()
        before = set(self._client.unacknowledged_updates)
        await self._client.update(task_id, state, message=message, reason=reason)
        self._last = next(iter(set(self._client.unacknowledged_updates) - before), None)
        if self._last is None:
            self._done.set()

    def _expire(self) -> None:
        self._expired = True
        self._terminate(self._grace(None))

    def _grace(self, policy: Mapping[str, Any] | None) -> float:
        policy = policy or (self._task or {}).get("kill_policy") or {}
        nanoseconds = policy.get("grace_period", {}).get("nanoseconds")
        return KILL_GRACE_SECONDS if nanoseconds is None else nanoseconds / 1e9

    async def _kill(self, policy: Mapping[str, Any] | None) -> None:
        if self._task is None:
            return
        if not self._killed and "TASK_KILLING_STATE" in self._capabilities:
            await self._client.update(self._task["task_id"]["value"], "TASK_KILLING")
        self._killed = True
        self._terminate(self._grace(policy))

    def _terminate(self, grace: float) -> None:
        """SIGTERM to the whole tree, SIGKILL after ``grace``; asked again, the kill can only come sooner."""
        if self._process is None or self._process.returncode is not None:
            return
        loop = asyncio.get_running_loop()
        due = loop.time() + grace
        if self._escalation is None:
            signal_tree(self._process.pid, signal.SIGTERM)
        elif due >= self._escalation_due:
            return
        else:
            self._escalation.cancel()
        self._escalation_due = due
        self._escalation = loop.call_at(due, self._escalate)

    def _escalate(self) -> None:
        if self._process is not None and self._process.returncode is None:
            signal_tree(self._process.pid, signal.SIGKILL)

    async def _shutdown(self) -> None:
        self._killed = True
        if self._process is None or self._process.returncode is not None:
            self._done.set()
            return
        grace = self._client.environment.shutdown_grace
        self._terminate(min(self._grace(None), max(0.0, grace - 0.5)))
        if self._running is not None:
            await asyncio.wait({self._running})
        self._done.set()


def _told(status: int) -> str:
    if status >= 0:
        return f"Command exited with status {status}"
    with contextlib.suppress(ValueError):
        return f"Command terminated with signal {signal.strsignal(-status)}"
    return f"Command terminated with signal {-status}"


def main() -> int:
    async def run() -> int:
        return await CommandExecutor(ExecutorClient.from_environment(os.environ)).run()

    os.chdir(Path(os.environ.get("MESOS_SANDBOX", ".")))
    return asyncio.run(run())


if __name__ == "__main__":
    sys.exit(main())
