"""What a task writes: the files of its sandbox, read from its agent, also while it runs."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Iterator, Mapping
from typing import Any

from k8slab.mesos.client.errors import MesosError
from k8slab.mesos.client.operator import AgentClient

# Agents hand out no more at a time.
PIECE = 65_536
LOOK_EVERY = 0.2
NOT_FOUND = 404
# No answer, or that of an agent which has not recovered yet.
AWAY = (0, 503)


class Sandbox:
    """The directory of one task on its agent; it may be looked for before it is there."""

    def __init__(self, agent: AgentClient, *, framework_id: str, executor_id: str, task_id: str) -> None:
        """``executor_id``: the task's own id for a command task."""
        self._agent = agent
        self._framework_id, self._executor_id, self._task_id = framework_id, executor_id, task_id
        self._directory: str | None = None

    async def directory(self) -> str | None:
        """Its path on the agent, None while (or because) the agent does not know it. Raises MesosError."""
        if self._directory is None:
            self._directory = self._find(await self._agent.state())
        return self._directory

    async def former_directory(self) -> str | None:
        """The path of one whose framework the agent has forgotten: files outlive the books. Raises MesosError."""
        if await self.directory() is not None:
            return self._directory
        state = await self._agent.state()
        work_dir = state.get("flags", {}).get("work_dir", "")
        path = (
            f"{work_dir}/slaves/{state['id']}/frameworks/{self._framework_id}/executors/{self._executor_id}/runs/latest"
        )
        try:
            await self._agent.read_file(f"{path}/stdout", length=0)
        except MesosError as error:
            if error.status != NOT_FOUND:
                raise
            return None
        self._directory = path
        return path

    def _find(self, state: Mapping[str, Any]) -> str | None:
        for executor in _executors(state, self._framework_id):
            tasks = [task["id"] for kind in ("tasks", "queued_tasks", "completed_tasks") for task in executor[kind]]
            if self._task_id in tasks or executor["id"] == self._executor_id:
                directory = str(executor["directory"])
                # The tasks of a group have sandboxes of their own inside their executor's.
                return f"{directory}/tasks/{self._task_id}" if executor.get("type") == "DEFAULT" else directory
        return None

    async def follow(self, name: str, ended: Callable[[], bool], *, offset: int = 0) -> AsyncGenerator[bytes, None]:
        """The bytes of the file ``name`` (such as ``stdout``) as it grows, until all is read after ``ended``.

        An agent that is away is waited for as long as the task has not ended. Raises MesosError when it refuses.
        """
        while True:
            last_look = ended()
            try:
                while piece := await self._piece(name, offset):
                    offset += len(piece)
                    yield piece
            except MesosError as error:
                if last_look or error.status not in AWAY:
                    raise
            if last_look:
                return
            await asyncio.sleep(LOOK_EVERY)

    async def _piece(self, name: str, offset: int) -> bytes:
        """What there is from ``offset`` on, at most a piece; nothing at the end, or before there is a file."""
        directory = await self.directory()
        if directory is None:
            return b""
        try:
            return await self._agent.read_file(f"{directory}/{name}", offset=offset, length=PIECE)
        except MesosError as error:
            if error.status == NOT_FOUND:
                return b""
            raise


def _executors(state: Mapping[str, Any], framework_id: str) -> Iterator[Mapping[str, Any]]:
    for kind in ("frameworks", "completed_frameworks"):
        for framework in state.get(kind, ()):
            if framework["id"] == framework_id:
                yield from framework.get("executors", ())
                yield from reversed(framework.get("completed_executors", ()))
