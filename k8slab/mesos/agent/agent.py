"""The agent's books: which executors live here, which tasks they have, what becomes of them. HTTP stays outside."""

from __future__ import annotations

import asyncio
import logging
import time
import uuid
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any

from k8slab.mesos.agent.checkpoint import Checkpoint
from k8slab.mesos.agent.isolation import Isolation
from k8slab.mesos.agent.launcher import Launcher, LaunchError, command_executor_info
from k8slab.mesos.agent.model import MAX_COMPLETED_FRAMEWORKS, Executor, Framework, Task
from k8slab.mesos.agent.options import AgentOptions
from k8slab.mesos.agent.paths import link_latest
from k8slab.mesos.agent.processes import kill_tree
from k8slab.mesos.agent.statuses import completed, ends, lost_state, own_status, unknown_state
from k8slab.mesos.agent.updates import StatusUpdates
from k8slab.mesos.resources import Resources

log = logging.getLogger(__name__)

Call = dict[str, Any]


class Agent:
    """``send`` takes calls to the master; while there is none they are lost, but for updates, which are kept."""

    def __init__(
        self,
        info: dict[str, Any],
        *,
        pid: str,
        options: AgentOptions,
        launcher: Launcher,
        checkpoint: Checkpoint,
        send: Callable[[Call], None],
        isolation: Isolation | None = None,
    ) -> None:
        self.info = info
        self.pid = pid
        self.options = options
        self.launcher = launcher
        self.checkpoint = checkpoint
        self.isolation = isolation or Isolation()
        self.frameworks: dict[str, Framework] = {}
        self.completed_frameworks: deque[Framework] = deque(maxlen=MAX_COMPLETED_FRAMEWORKS)
        self.start_time = time.time()
        # The agent's resources with what was reserved since, as the master last said; None before it said so.
        self.checkpointed_resources: list[dict[str, Any]] | None = checkpoint.read_resources()
        self.farewell: asyncio.Future[str] | None = None
        self._send = send
        self.updates = StatusUpdates(self._forward)

    @property
    def agent_id(self) -> str:
        """Empty before the first registration."""
        return str((self.info.get("id") or {}).get("value", ""))

    def adopt_id(self, agent_id: str) -> None:
        if self.agent_id != agent_id:
            self.info["id"] = {"value": agent_id}
            self.checkpoint.write_agent(self.info)
            sandboxes = self.checkpoint.paths.work_dir / "slaves" / agent_id
            sandboxes.mkdir(parents=True, exist_ok=True)
            link_latest(sandboxes)

    @property
    def resources(self) -> Resources:
        return Resources.from_json(self.checkpointed_resources or self.info.get("resources", ()))

    def checkpoint_resources(self, resources: list[dict[str, Any]]) -> None:
        self.checkpointed_resources = resources
        self.checkpoint.write_resources(resources)

    def order_to_leave(self, message: str) -> None:
        """The master counts this agent as gone, or its operator wants it to be."""
        if self.farewell is not None and not self.farewell.done():
            self.farewell.set_result(message)

    # -- tasks

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
        framework = self.frameworks.get(framework_id)
        if framework is None:
            framework = self.frameworks[framework_id] = Framework(framework_info)
            self.checkpoint.write_framework(self.agent_id, framework)
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
        executor = executor or self._new_executor(framework, executor_info, role, tasks, is_command=is_command)
        for task in tasks:
            executor.queued[task.task_id] = task
            if framework.checkpoint:
                self.checkpoint.write_task(self.agent_id, executor, task)
        if executor.state in ("terminating", "terminated"):
            for task in tasks:
                state = lost_state(framework)
                self.end_task(executor, task, state, "EXECUTOR_TERMINATED", "Executor is terminating")
        elif executor.state == "running" and executor.stream is not None:
            self.deliver(executor)

    def _new_executor(
        self, framework: Framework, info: dict[str, Any], role: str, tasks: list[Task], *, is_command: bool
    ) -> Executor:
        executor_id, container_id = info["executor_id"]["value"], str(uuid.uuid4())
        executor = Executor(
            framework_id=framework.framework_id,
            executor_id=executor_id,
            info={**info, "framework_id": {"value": framework.framework_id}},
            role=role,
            container_id=container_id,
            directory=self.checkpoint.paths.sandbox(self.agent_id, framework.framework_id, executor_id, container_id),
            resources=Resources.from_json(info.get("resources", ())),
            is_command=is_command,
            queued={task.task_id: task for task in tasks},
        )
        framework.executors[executor_id] = executor
        self.checkpoint.write_executor(self.agent_id, executor)
        self.checkpoint.prune_runs(self.agent_id, executor)
        executor.launch = asyncio.create_task(self._launch(framework, executor), name=f"launch {executor_id}")
        executor.launch.add_done_callback(lambda launch: self._launched(executor, launch))
        return executor

    async def _launch(self, framework: Framework, executor: Executor) -> None:
        executor.process = await self.launcher.launch(
            framework,
            executor,
            agent_id=self.agent_id,
            joins=lambda: self.isolation.admit(executor),
            on_exit=lambda status: self.executor_exited(executor, status),
        )
        executor.timer = self._later(self.options.executor_registration_timeout, self._registration_timed_out, executor)
        log.info("%s started as %d in %s", executor.label, executor.process.pid, executor.directory)
        link_latest(executor.directory)
        self.checkpoint.write_pid(self.agent_id, executor)

    def _launched(self, executor: Executor, launch: asyncio.Task[None]) -> None:
        """It runs, or it is all over with it: it was ended before it ran, or could not be started or written down."""
        executor.launch = None
        if launch.cancelled():
            # It is also when the agent itself stops.
            if executor.state == "terminating":
                self.executor_exited(executor, -1)
        elif (error := launch.exception()) is not None:
            log.warning("%s: %s", executor.label, error)
            text = str(error) if isinstance(error, LaunchError) else f"Failed to launch container: {error}"
            executor.termination = executor.termination or ("CONTAINER_LAUNCH_FAILED", text)
            if executor.process is None:
                self.executor_exited(executor, -1)
            else:
                executor.state = "terminating"
                self.kill_executor(executor)

    def _registration_timed_out(self, executor: Executor) -> None:
        text = f"Executor did not register within {self.options.executor_registration_timeout:g}secs"
        self.terminate(executor, "EXECUTOR_REGISTRATION_TIMEOUT", text)

    def deliver(self, executor: Executor) -> None:
        """Everything queued to its subscribed executor; those of a group in one event. The container grows before."""
        queued = list(executor.queued.values())
        executor.tasks |= executor.queued
        executor.queued.clear()
        self.isolation.resize(executor)
        groups: list[dict[str, Any]] = []
        for task in queued:
            if task.group is None:
                executor.send({"type": "LAUNCH", "launch": {"task": task.info}})
            elif not any(task.group is known for known in groups):
                groups.append(task.group)
                executor.send({"type": "LAUNCH_GROUP", "launch_group": {"task_group": task.group}})

    def kill_task(self, framework_id: str, task_id: str, kill_policy: Mapping[str, Any] | None) -> None:
        found = self.find_task(framework_id, task_id)
        if found is None:
            self.tell_unknown(framework_id, task_id)
            return
        executor, task = found
        if task_id in executor.queued:
            text = "Task was killed before its executor was given it"
            # A group is started whole or not at all.
            for other in [queued for queued in executor.queued.values() if queued is task or _together(queued, task)]:
                self.end_task(executor, other, "TASK_KILLED", "TASK_KILLED_DURING_LAUNCH", text)
            if not executor.live:
                self.terminate(executor, "TASK_KILLED_DURING_LAUNCH", text)
            return
        event: dict[str, Any] = {"type": "KILL", "kill": {"task_id": {"value": task_id}}}
        if kill_policy is not None:
            event["kill"]["kill_policy"] = kill_policy
        if executor.stream is None:
            executor.pending_kills[task_id] = event
        executor.send(event)

    def find_task(self, framework_id: str, task_id: str) -> tuple[Executor, Task] | None:
        framework = self.frameworks.get(framework_id)
        for executor in framework.executors.values() if framework else ():
            task = executor.queued.get(task_id) or executor.tasks.get(task_id)
            if task is not None:
                return executor, task
        return None

    def tell_unknown(self, framework_id: str, task_id: str) -> None:
        """The master asks for a task that is not here: say so, as an update it will have to be acknowledged for."""
        state = unknown_state(self.frameworks.get(framework_id))
        text = "Reconciliation: task unknown to the agent"
        status = own_status(self.agent_id, task_id, state, "RECONCILIATION", text)
        self.updates.add(framework_id, status, journal=None)

    # -- updates

    def update(self, executor: Executor, status: dict[str, Any]) -> None:
        """A status from an executor (or of our own making for one of its tasks): keep it, pass it on, confirm it."""
        if ends(status) and status["source"] == "SOURCE_EXECUTOR" and self.end_overrun(executor):
            return
        task_id = status["task_id"]["value"]
        task = executor.tasks.get(task_id) or executor.queued.get(task_id)
        status = completed(status, executor, agent_id=self.agent_id, ip=self.launcher.options.ip)
        framework = self.frameworks.get(executor.framework_id)
        journal = None
        if framework is not None and framework.checkpoint and task is not None:
            journal = self.checkpoint.journal(self.agent_id, executor, task_id)
        if task is not None and not task.terminal:
            task.state = status["state"]
            task.statuses.append(status)
            if task.terminal:
                executor.queued.pop(task_id, None)
                executor.tasks[task_id] = task
                self.isolation.resize(executor)
        self.updates.add(executor.framework_id, status, journal=journal)
        if status["source"] == "SOURCE_EXECUTOR":
            confirmed = {"task_id": status["task_id"], "uuid": status["uuid"]}
            executor.send({"type": "ACKNOWLEDGED", "acknowledged": confirmed})

    def end_task(self, executor: Executor, task: Task, state: str, reason: str, message: str) -> None:
        status = own_status(self.agent_id, task.task_id, state, reason, message)
        if executor.exceeded:
            status["limitation"] = {"resources": executor.exceeded}
        self.update(executor, status)

    def _forward(self, framework_id: str, status: dict[str, Any]) -> None:
        found = self.find_task(framework_id, status["task_id"]["value"])
        latest = found[1].state if found else status["state"]
        call = {"framework_id": {"value": framework_id}, "status": status, "latest_state": latest}
        self._send({"type": "UPDATE", **call})

    def acknowledge(self, framework_id: str, task_id: str, update: str) -> None:
        """The scheduler has seen an update; with the last one of a task nobody needs the task any more."""
        status = self.updates.acknowledge(framework_id, task_id, update)
        if status is None or not ends(status):
            return
        self.updates.forget(framework_id, task_id)
        found = self.find_task(framework_id, task_id)
        if found is None:
            return
        executor, task = found
        executor.tasks.pop(task_id, None)
        executor.completed_tasks.append(task)
        self.checkpoint.forget_task(self.agent_id, executor, task_id)
        if executor.state == "terminated":
            self._forget_if_done(executor)

    # -- executors

    def terminate(self, executor: Executor, reason: str, message: str) -> None:
        """End it at once; ``reason`` and ``message`` are what its live tasks end with."""
        executor.termination = executor.termination or (reason, message)
        executor.state = "terminating"
        self.kill_executor(executor)

    def end_overrun(self, executor: Executor) -> bool:
        """End it when the kernel has ended something of it for want of memory, whatever the executor makes of that."""
        if executor.state == "terminated" or (overrun := self.isolation.overrun(executor)) is None:
            return False
        if executor.state != "terminating":
            log.warning("%s: %s", executor.label, overrun.message)
            executor.exceeded = overrun.resources
            self.terminate(executor, "CONTAINER_LIMITATION_MEMORY", overrun.message)
        return True

    def check_limits(self) -> None:
        """To be called now and then: an executor need not notice what the kernel did."""
        for framework in list(self.frameworks.values()):
            for executor in list(framework.executors.values()):
                self.end_overrun(executor)

    def kill_executor(self, executor: Executor) -> None:
        executor.stop_timer()
        if executor.process is not None:
            kill_tree(executor.process.pid)
            self.isolation.kill(executor)
        elif executor.launch is not None:
            executor.launch.cancel()

    def shutdown_executor(self, executor: Executor) -> None:
        """Ask it to end, and kill it after its grace period."""
        if executor.state in ("terminating", "terminated"):
            return
        executor.stop_timer()
        executor.state = "terminating"
        executor.send({"type": "SHUTDOWN"})
        given = executor.info.get("shutdown_grace_period", {}).get("nanoseconds")
        grace = self.options.executor_shutdown_grace_period if given is None else given / 1e9
        executor.timer = self._later(grace if executor.stream is not None else 0.0, self.kill_executor, executor)

    def shutdown_framework(self, framework_id: str) -> None:
        framework = self.frameworks.get(framework_id)
        if framework is None:
            return
        log.info("framework %s is shut down", framework_id)
        framework.terminating = True
        self.updates.forget_framework(framework_id)
        for executor in list(framework.executors.values()):
            if executor.state == "terminated":
                self._forget(executor)
            else:
                self.shutdown_executor(executor)
        if not framework.executors:
            self._forget_framework(framework)

    def executor_exited(self, executor: Executor, status: int) -> None:
        """Its process ended (``status`` as from wait): so have its tasks."""
        log.info("%s ended with status %d", executor.label, status)
        executor.stop_timer()
        self.end_overrun(executor)
        executor.state = "terminated"
        self.isolation.release(executor.container_id)
        self.launcher.clean_up(executor)
        if executor.stream is not None:
            executor.stream.close()
            executor.stream = None
        framework = self.frameworks.get(executor.framework_id)
        reason, message = executor.termination or ("EXECUTOR_TERMINATED", "Executor terminated")
        if framework is not None and not framework.terminating:
            for task in [*executor.queued.values(), *executor.tasks.values()]:
                if not task.terminal:
                    self.end_task(executor, task, "TASK_FAILED", reason, message)
            if not executor.is_command:
                self._send(
                    {
                        "type": "EXECUTOR_EXITED",
                        "framework_id": {"value": executor.framework_id},
                        "executor_id": {"value": executor.executor_id},
                        "status": status,
                    }
                )
        self._forget_if_done(executor)

    def _forget_if_done(self, executor: Executor) -> None:
        """An ended executor stays as long as one of its tasks has an update that nobody has acknowledged."""
        framework = self.frameworks.get(executor.framework_id)
        if framework is None or framework.terminating or not executor.tasks:
            self._forget(executor)

    def _forget(self, executor: Executor) -> None:
        framework = self.frameworks.get(executor.framework_id)
        if framework is None or framework.executors.get(executor.executor_id) is not executor:
            return
        # Not before: what the next agent finds ended it reads no more, unacknowledged updates and all.
        self.checkpoint.write_end(self.agent_id, executor)
        del framework.executors[executor.executor_id]
        framework.completed_executors.append(executor)
        if framework.terminating and not framework.executors:
            self._forget_framework(framework)

    def _forget_framework(self, framework: Framework) -> None:
        if self.frameworks.pop(framework.framework_id, None) is not None:
            self.completed_frameworks.append(framework)

    def _later(self, seconds: float, callback: Callable[[Executor], None], executor: Executor) -> asyncio.TimerHandle:
        return asyncio.get_running_loop().call_later(seconds, callback, executor)

    def used(self) -> Resources:
        total = Resources()
        for framework in self.frameworks.values():
            for executor in framework.executors.values():
                if executor.state != "terminated":
                    total += executor.allocated
        return total

    def message_to_framework(self, executor: Executor, data: str) -> None:
        self._send(
            {
                "type": "MESSAGE",
                "framework_id": {"value": executor.framework_id},
                "executor_id": {"value": executor.executor_id},
                "data": data,
            }
        )


def _together(one: Task, other: Task) -> bool:
    return one.group is not None and one.group is other.group
