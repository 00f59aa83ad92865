"""Tasks on their way into executors: written down, and given to one that is started for them when none is there."""

from __future__ import annotations

import asyncio
import logging
import uuid
from typing import Any

from k8slab.mesos.agent.agent import Agent
from k8slab.mesos.agent.launcher import LaunchError, command_executor_info
from k8slab.mesos.agent.model import Executor, Framework, Task
from k8slab.mesos.agent.paths import link_latest, suppressed
from k8slab.mesos.agent.statuses import lost_state, own_status
from k8slab.mesos.resources import Resources

log = logging.getLogger(__name__)


class Launches:
    def __init__(self, agent: Agent) -> None:
        self._agent = agent

    def run_task(self, framework_info: dict[str, Any], info: dict[str, Any], role: str) -> None:
        executor_info = info.get("executor") or command_executor_info(info, framework_info["id"]["value"])
        self._run(framework_info, executor_info, [info], role, is_command="executor" not in info)

    def run_task_group(
        self, framework_info: dict[str, Any], executor_info: dict[str, Any], group: dict[str, Any], role: str
    ) -> None:
        self._run(framework_info, executor_info, group["tasks"], role, group=group)

    def _run(
        self,
        framework_info: dict[str, Any],
        executor_info: dict[str, Any],
        infos: list[dict[str, Any]],
        role: str,
        *,
        group: dict[str, Any] | None = None,
        is_command: bool = False,
    ) -> None:
        framework_id = framework_info["id"]["value"]
        framework = self._agent.know_framework(framework_info)
        if framework.terminating:
            log.info("tasks of framework %s dropped: it is shutting down", framework_id)
            return
        tasks = [
            Task(
                task_id=info["task_id"]["value"],
                info=info,
                role=role,
                resources=Resources.from_json(info.get("resources", ())),
                group=group,
            )
            for info in infos
        ]
        executor = framework.executors.get(executor_info["executor_id"]["value"])
        is_new = executor is None
        executor = executor or self._new_executor(framework, executor_info, role, is_command=is_command)
        executor.queued |= {task.task_id: task for task in tasks}
        try:
            self._write_launch(framework, framework_info, executor, tasks)
        except OSError as trouble:
            self._refuse(framework, executor, tasks, trouble, is_new=is_new)
            return
        if is_new:
            executor.launch = asyncio.create_task(
                self._launch(framework, executor), name=f"launch {executor.executor_id}"
            )
            executor.launch.add_done_callback(lambda launch: self._launched(executor, launch))
        elif executor.state in ("terminating", "terminated"):
            for task in tasks:
                state = lost_state(framework)
                self._agent.end_task(executor, task, state, "EXECUTOR_TERMINATED", "Executor is terminating")
        elif executor.state == "running" and executor.stream is not None:
            self.deliver(executor)

    def _write_launch(self, framework: Framework, info: dict[str, Any], executor: Executor, tasks: list[Task]) -> None:
        """What the next agent must know of it. Raises OSError."""
        if len(framework.executors) == 1 or framework.info != info:
            self._agent.checkpoint.write_framework(self._agent.agent_id, Framework(info))
            framework.info = info
        if executor.process is None:
            self._agent.checkpoint.write_executor(self._agent.agent_id, executor)
        for task in tasks if framework.checkpoint else ():
            self._agent.checkpoint.write_task(self._agent.agent_id, executor, task)

    def _refuse(
        self, framework: Framework, executor: Executor, tasks: list[Task], trouble: OSError, *, is_new: bool
    ) -> None:
        """What cannot be written down cannot be answered for after a restart: it is not begun."""
        log.error("tasks for %s are not started: %s", executor.label, trouble)
        text = f"The agent cannot write down what it starts: {trouble}"
        for task in tasks:
            executor.queued.pop(task.task_id, None)
            with suppressed(f"what was written of task {task.task_id} stays"):
                self._agent.checkpoint.forget_task(self._agent.agent_id, executor, task.task_id)
            status = own_status(
                self._agent.agent_id, task.task_id, lost_state(framework), "CONTAINER_LAUNCH_FAILED", text
            )
            self._agent.updates.add(executor.framework_id, status, journal=None)
        if is_new:
            self._agent.checkpoint.forget_run(self._agent.agent_id, executor)
            del framework.executors[executor.executor_id]
            self._agent.forget_if_idle(framework)

    def _new_executor(self, framework: Framework, info: dict[str, Any], role: str, *, is_command: bool) -> Executor:
        executor_id, container_id = info["executor_id"]["value"], str(uuid.uuid4())
        executor = Executor(
            framework_id=framework.framework_id,
            executor_id=executor_id,
            info={**info, "framework_id": {"value": framework.framework_id}},
            role=role,
            container_id=container_id,
            directory=self._agent.checkpoint.paths.sandbox(
                self._agent.agent_id, framework.framework_id, executor_id, container_id
            ),
            resources=Resources.from_json(info.get("resources", ())),
            is_command=is_command,
        )
        framework.executors[executor_id] = executor
        return executor

    async def _launch(self, framework: Framework, executor: Executor) -> None:
        await asyncio.to_thread(self._agent.checkpoint.prune_runs, self._agent.agent_id, executor)
        executor.process = await self._agent.launcher.launch(
            framework,
            executor,
            agent_id=self._agent.agent_id,
            joins=lambda: self._agent.isolation.admit(executor),
            on_exit=lambda status: self._agent.executor_exited(executor, status),
        )
        if executor.state == "registering":
            timeout = self._agent.options.executor_registration_timeout
            executor.timer = self._agent.later(timeout, self._registration_timed_out, executor)
        log.info("%s started as %d in %s", executor.label, executor.process.pid, executor.directory)
        link_latest(executor.directory)
        self._agent.checkpoint.write_pid(self._agent.agent_id, executor)

    def _launched(self, executor: Executor, launch: asyncio.Task[None]) -> None:
        """It runs, or it is all over with it: it was ended before it ran, or could not be started or written down."""
        executor.launch = None
        if launch.cancelled():
            # It is also when the agent itself stops.
            if executor.state == "terminating":
                self._agent.executor_exited(executor, -1)
        elif (error := launch.exception()) is not None:
            log.warning("%s: %s", executor.label, error)
            text = str(error) if isinstance(error, LaunchError) else f"Failed to launch container: {error}"
            executor.termination = executor.termination or ("CONTAINER_LAUNCH_FAILED", text)
            if executor.process is None:
                self._agent.executor_exited(executor, -1)
            else:
                executor.state = "terminating"
                self._agent.kill_executor(executor)

    def _registration_timed_out(self, executor: Executor) -> None:
        text = f"Executor did not register within {self._agent.options.executor_registration_timeout:g}secs"
        self._agent.terminate(executor, "EXECUTOR_REGISTRATION_TIMEOUT", text)

    def deliver(self, executor: Executor) -> None:
        """Everything queued to its subscribed executor; those of a group in one event. The container grows before."""
        queued = list(executor.queued.values())
        executor.tasks |= executor.queued
        executor.queued.clear()
        self._agent.isolation.resize(executor)
        groups: list[dict[str, Any]] = []
        for task in queued:
            if task.group is None:
                executor.send({"type": "LAUNCH", "launch": {"task": task.info}})
            elif not any(task.group is known for known in groups):
                groups.append(task.group)
                executor.send({"type": "LAUNCH_GROUP", "launch_group": {"task_group": task.group}})
