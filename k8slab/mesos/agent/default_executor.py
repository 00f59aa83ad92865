"""``mesos-default-executor``: the built-in executor of task groups, whose tasks start together and end together."""

from __future__ import annotations

import argparse
import os
import sys
import uuid
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from k8slab.mesos.agent.builtin import BuiltinExecutor, start
from k8slab.mesos.agent.fetching import fetch
from k8slab.mesos.agent.paths import make_sandbox, make_shared_sandbox
from k8slab.mesos.agent.payload import ProcessPayload, inherited
from k8slab.mesos.agent.task_run import TaskRun
from k8slab.mesos.client.executor import ExecutorClient


@dataclass
class Group:
    """``failing``: one of it ended badly, the others are being ended."""

    runs: list[TaskRun] = field(default_factory=list)
    failing: bool = False


class DefaultExecutor(BuiltinExecutor):
    """Each task is a nested container: a sandbox of its own below the executor's, found by the task's name."""

    def __init__(self, client: ExecutorClient, *, sandbox: Path, user: str | None, role: str) -> None:
        """``user``: whom tasks run as that name nobody; None is who we are."""
        super().__init__(client)
        self._sandbox = sandbox
        self._user = user
        self._role = role
        self._groups: dict[str, Group] = {}

    async def _launch(self, tasks: list[dict[str, Any]], *, group: bool) -> None:
        together = Group()
        together.runs = [self._prepare(task) for task in tasks]
        self._groups |= {run.task_id: together for run in together.runs}
        for run in together.runs:
            self._start(run)

    def _prepare(self, task: dict[str, Any]) -> TaskRun:
        container_id = str(uuid.uuid4())
        task_id = task["task_id"]["value"]
        command = task.get("command") or {}
        directory = self._sandbox / "containers" / container_id
        user = (command.get("user") or self._user) if self._user is not None else None

        async def prepare() -> None:
            make_nested_sandbox(self._sandbox, directory, task_id=task_id, user=user)
            await fetch(command.get("uris", ()), directory, user=user)

        environment = {
            **inherited(),
            "MESOS_SANDBOX": str(directory),
            "MESOS_DIRECTORY": str(directory),
            "MESOS_TASK_ID": task_id,
            "MESOS_ALLOCATION_ROLE": self._role,
        }
        payload = ProcessPayload(
            command, environment=environment, directory=directory, user=user, prepare=prepare, own_output=True
        )
        container = {"value": container_id, "parent": {"value": self._container_id}}
        report = partial(self._client.update, container_status={"container_id": container})
        return TaskRun(task, payload, report, capabilities=self._capabilities)

    async def _ended(self, run: TaskRun) -> None:
        group = self._groups.pop(run.task_id)
        if run.state != "TASK_FINISHED" and not group.failing:
            group.failing = True
            for sibling in group.runs:
                if sibling.task_id in self._runs:
                    self._work(sibling.kill())
        if not self._runs:
            self._done.set()


def make_nested_sandbox(sandbox: Path, directory: Path, *, task_id: str, user: str | None) -> None:
    """``containers/<container>`` and ``tasks/<task>``, which points to it. Raises OSError."""
    for parent in (sandbox / "containers", sandbox / "tasks"):
        make_shared_sandbox(parent)
    try:
        make_sandbox(directory, user)
    except KeyError as error:
        raise OSError(f"Failed to get user information for '{user}'") from error
    link = sandbox / "tasks" / task_id
    # A task that has ended may have left its name to another.
    link.unlink(missing_ok=True)
    link.symlink_to(Path("..", "containers", directory.name))


def main() -> int:
    parser = argparse.ArgumentParser(prog="mesos-default-executor", allow_abbrev=False)
    parser.add_argument("--user", help="run tasks as this user, unless they name another")
    parser.add_argument("--role", default="*", help="the role whose resources the tasks use")
    options = parser.parse_args()

    async def run() -> int:
        client = ExecutorClient.from_environment(os.environ)
        return await DefaultExecutor(client, sandbox=Path.cwd(), user=options.user, role=options.role).run()

    return start(run())


if __name__ == "__main__":
    sys.exit(main())
