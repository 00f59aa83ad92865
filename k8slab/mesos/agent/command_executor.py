"""``mesos-executor``: the built-in executor that runs one command task and reports how it ends."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from k8slab.mesos.agent.builtin import BuiltinExecutor, start
from k8slab.mesos.agent.payload import Payload, ProcessPayload, inherited
from k8slab.mesos.agent.task_run import TaskRun
from k8slab.mesos.client.executor import ExecutorClient


class CommandExecutor(BuiltinExecutor):
    """``payload``: a TaskInfo to what it runs."""

    def __init__(self, client: ExecutorClient, payload: Callable[[dict[str, Any]], Payload]) -> None:
        super().__init__(client)
        self._payload = payload
        self._taken = False

    async def _launch(self, tasks: list[dict[str, Any]], *, group: bool) -> None:
        for task in tasks:
            if self._taken or group:
                text = 'Attempted to run multiple tasks using a "command" executor'
                await self._client.update(task["task_id"]["value"], "TASK_FAILED", message=text)
                continue
            self._taken = True
            print(f"Starting task {task['task_id']['value']}", flush=True)
            self._start(TaskRun(task, self._payload(task), self._client.update, capabilities=self._capabilities))

    async def _ended(self, run: TaskRun) -> None:
        self._done.set()


def process_payload(task: dict[str, Any]) -> Payload:
    return ProcessPayload(task["command"], environment=inherited(), directory=Path.cwd())


def main() -> int:
    async def run() -> int:
        return await CommandExecutor(ExecutorClient.from_environment(os.environ), process_payload).run()

    return start(run())


if __name__ == "__main__":
    sys.exit(main())
