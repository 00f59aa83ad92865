"""What survives an agent: who it is, its frameworks, executors and tasks, written below ``work_dir/meta``."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from k8slab.mesos.agent.model import Executor, Framework, Task
from k8slab.mesos.agent.paths import Paths, ended_runs, folders, link_latest, read_json, write_json, write_whole
from k8slab.mesos.agent.processes import start_time
from k8slab.mesos.resources import Resources

KEPT_RUNS = 5


@dataclass(frozen=True)
class RecoveredExecutor:
    """An executor's run as the last agent left it. ``pid`` is None when that very process is dead.

    ``session`` is the one it led, None after a reboot: there may be something left of it.
    """

    framework: dict[str, Any]
    executor: Executor
    tasks: list[tuple[Task, Path]]
    pid: int | None
    session: int | None


class Checkpoint:
    """Writes and reads one agent's meta directory. Executors of frameworks that do not checkpoint leave only their pid:
    enough to end them when the agent comes back."""

    def __init__(self, paths: Paths) -> None:
        self.paths = paths

    def recover_agent(self) -> dict[str, Any] | None:
        """The AgentInfo, with id, of the agent that worked here last."""
        info: dict[str, Any] | None = read_json(self.paths.latest_agent / "slave.info")
        return info

    def write_agent(self, info: dict[str, Any]) -> None:
        home = self.paths.agent(info["id"]["value"])
        write_json(home / "slave.info", info, durable=True)
        link_latest(home)

    def forget_agent(self) -> None:
        self.paths.latest_agent.unlink(missing_ok=True)

    def write_resources(self, resources: list[dict[str, Any]]) -> None:
        write_json(self.paths.resources, resources, durable=True)

    def read_resources(self) -> list[dict[str, Any]] | None:
        found: list[dict[str, Any]] | None = read_json(self.paths.resources)
        return found

    def same_boot(self, boot_id: str) -> bool:
        """Whether the machine has not been rebooted since the last agent; remembers ``boot_id``."""
        try:
            before = self.paths.boot_id.read_text().strip()
        except FileNotFoundError:
            before = boot_id
        if not self.paths.boot_id.exists() or before != boot_id:
            write_whole(self.paths.boot_id, boot_id.encode(), durable=True)
        return before == boot_id

    def write_framework(self, agent_id: str, framework: Framework) -> None:
        write_json(self.paths.framework(agent_id, framework.framework_id) / "framework.info", framework.info)

    def write_executor(self, agent_id: str, executor: Executor) -> None:
        home = self.paths.executor(agent_id, executor.framework_id, executor.executor_id)
        info = {"executor_info": executor.info, "role": executor.role, "is_command": executor.is_command}
        write_json(home / "executor.info", info)
        run = self._run(agent_id, executor)
        run.mkdir(parents=True, exist_ok=True)
        link_latest(run)

    def write_pid(self, agent_id: str, executor: Executor) -> None:
        """The pid, and when it started: a pid alone may be somebody else's by the time it is read."""
        if executor.process is not None:
            pid = executor.process.pid
            write_json(self._run(agent_id, executor) / "pids" / "forked.pid", {"pid": pid, "start": start_time(pid)})

    def forget_run(self, agent_id: str, executor: Executor) -> None:
        """One that never came to be: what was written of it is taken back."""
        shutil.rmtree(self._run(agent_id, executor), ignore_errors=True)

    def write_end(self, agent_id: str, executor: Executor) -> None:
        """Nothing of this run is left to be done: its process ended and its updates are acknowledged."""
        run = self._run(agent_id, executor)
        if run.is_dir():
            (run / "executor.sentinel").touch()

    def prune_runs(self, agent_id: str, executor: Executor) -> None:
        """Of an executor that is started again and again only the last runs stay, with their sandboxes."""
        runs = self._run(agent_id, executor).parent
        for _, run in sorted(ended_runs(runs, "*"))[:-KEPT_RUNS]:
            sandbox = self.paths.sandbox(agent_id, executor.framework_id, executor.executor_id, run.name)
            for folder in (sandbox, run):
                shutil.rmtree(folder, ignore_errors=True)

    def write_task(self, agent_id: str, executor: Executor, task: Task) -> None:
        write_json(self._task(agent_id, executor, task.task_id) / "task.info", {"task": task.info, "role": task.role})

    def forget_task(self, agent_id: str, executor: Executor, task_id: str) -> None:
        """Its last update is acknowledged: the next agent need not know of it."""
        home = self._task(agent_id, executor, task_id)
        # First of all: a description without its updates would be taken for a task that never started.
        (home / "task.info").unlink(missing_ok=True)
        shutil.rmtree(home, ignore_errors=True)

    def journal(self, agent_id: str, executor: Executor, task_id: str) -> Path:
        """Where the task's updates are kept."""
        home = self._task(agent_id, executor, task_id)
        home.mkdir(parents=True, exist_ok=True)
        return home / "task.updates"

    def _run(self, agent_id: str, executor: Executor) -> Path:
        return self.paths.run(agent_id, executor.framework_id, executor.executor_id, executor.container_id)

    def _task(self, agent_id: str, executor: Executor, task_id: str) -> Path:
        return self._run(agent_id, executor) / "tasks" / task_id

    def recover_executors(self, agent_id: str, *, same_boot: bool) -> Iterator[RecoveredExecutor]:
        """Every run not marked as ended, be its process alive or dead. After a reboot all of them are dead."""
        for framework_home in folders(self.paths.agent(agent_id) / "frameworks"):
            framework = read_json(framework_home / "framework.info")
            for executor_home in folders(framework_home / "executors"):
                found = self._recover(agent_id, framework, executor_home, same_boot=same_boot)
                if found is not None:
                    yield found

    def _recover(
        self, agent_id: str, framework: dict[str, Any] | None, home: Path, *, same_boot: bool
    ) -> RecoveredExecutor | None:
        saved = read_json(home / "executor.info")
        run = (home / "runs" / "latest").resolve()
        if framework is None or saved is None or not run.is_dir() or (run / "executor.sentinel").exists():
            return None
        info = saved["executor_info"]
        framework_id = framework["id"]["value"]
        executor = Executor(
            framework_id=framework_id,
            executor_id=info["executor_id"]["value"],
            info=info,
            role=saved["role"],
            container_id=run.name,
            directory=self.paths.sandbox(agent_id, framework_id, info["executor_id"]["value"], run.name),
            resources=Resources.from_json(info.get("resources", ())),
            is_command=saved["is_command"],
        )
        tasks = [task for folder in folders(run / "tasks") if (task := _recover_task(folder)) is not None]
        forked = read_json(run / "pids" / "forked.pid") if same_boot else None
        session = int(forked["pid"]) if forked else None
        alive = forked is not None and forked["start"] is not None and start_time(forked["pid"]) == forked["start"]
        return RecoveredExecutor(framework, executor, tasks, pid=session if alive else None, session=session)


def _recover_task(folder: Path) -> tuple[Task, Path] | None:
    saved = read_json(folder / "task.info")
    if saved is None:
        return None
    info = saved["task"]
    resources = Resources.from_json(info.get("resources", ()))
    task = Task(task_id=info["task_id"]["value"], info=info, role=saved["role"], resources=resources)
    return task, folder / "task.updates"
