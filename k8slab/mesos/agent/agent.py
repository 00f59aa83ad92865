"""The agent's books: which executors live here, which tasks they have, what becomes of them. HTTP stays outside."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from k8slab.mesos.agent.checkpoint import Checkpoint
from k8slab.mesos.agent.isolation import Isolation
from k8slab.mesos.agent.launcher import Launcher
from k8slab.mesos.agent.model import MAX_COMPLETED_FRAMEWORKS, Executor, Framework, Task
from k8slab.mesos.agent.options import AgentOptions
from k8slab.mesos.agent.paths import link_latest, suppressed
from k8slab.mesos.agent.processes import kill_tree
from k8slab.mesos.agent.statuses import completed, ends, own_status, unknown_state
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

    def kill_task(
        self,
        framework_id: str,
        task_id: str,
        kill_policy: Mapping[str, Any] | None,
        *,
        partition_aware: bool = False,
    ) -> None:
        found = self.find_task(framework_id, task_id)
        if found is None:
            self.tell_unknown(framework_id, task_id, partition_aware=partition_aware)
            return
        executor, task = found
        if task_id in executor.queued:
            text = "Task was killed before its executor was given it"
            # A group is started whole or not at all.
            for other in [queued for queued in executor.queued.values() if queued is task or _together(queued, task)]:
                self.end_task(executor, other, "TASK_KILLED", "TASK_KILLED_DURING_LAUNCH", text)
            # One that was subscribed once and only lost its connection comes back, and may be given other tasks.
            if executor.state == "registering" and not executor.live:
                self.terminate(executor, "TASK_KILLED_DURING_LAUNCH", text)
            return
        event: dict[str, Any] = {"type": "KILL", "kill": {"task_id": {"value": task_id}}}
        if kill_policy is not None:
            event["kill"]["kill_policy"] = kill_policy
        if executor.stream is None:
            executor.pending_kills[task_id] = event
        executor.send(event)

    def cannot_run(self, framework_info: Mapping[str, Any], task_id: str, trouble: Exception) -> None:
        """A task the agent failed over: it has an end all the same."""
        framework_id = framework_info["id"]["value"]
        text = f"The agent failed to start the task: {trouble!r}"
        if (found := self.find_task(framework_id, task_id)) is not None:
            self.end_task(*found, "TASK_FAILED", "CONTAINER_LAUNCH_FAILED", text)
        else:
            status = own_status(self.agent_id, task_id, "TASK_FAILED", "CONTAINER_LAUNCH_FAILED", text)
            self.updates.add(framework_id, status, journal=None)
        if (framework := self.frameworks.get(framework_id)) is not None:
            self.forget_if_idle(framework)

    def find_task(self, framework_id: str, task_id: str) -> tuple[Executor, Task] | None:
        framework = self.frameworks.get(framework_id)
        for executor in framework.executors.values() if framework else ():
            task = executor.queued.get(task_id) or executor.tasks.get(task_id)
            if task is not None:
                return executor, task
        return None

    def tell_unknown(self, framework_id: str, task_id: str, *, partition_aware: bool) -> None:
        """The master asks for a task that is not here: say so, as an update it will have to be acknowledged for."""
        state = unknown_state(partition_aware=partition_aware)
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
        own = status["source"] != "SOURCE_EXECUTOR"
        if not executor.has_told(status) and not self._keep_update(executor, task, status, own=own):
            # It is not confirmed: the executor comes back and repeats it.
            executor.disconnect()
            return
        if not own:
            confirmed = {"task_id": status["task_id"], "uuid": status["uuid"]}
            executor.send({"type": "ACKNOWLEDGED", "acknowledged": confirmed})

    def _keep_update(self, executor: Executor, task: Task | None, status: dict[str, Any], *, own: bool) -> bool:
        """Whether it is kept. What the agent says itself is told even when it cannot be: nobody would repeat it."""
        framework = self.frameworks.get(executor.framework_id)
        kept = partial(self._take_over, executor, task, status)
        try:
            journal = None
            if framework is not None and framework.checkpoint and task is not None:
                journal = self.checkpoint.journal(self.agent_id, executor, task.task_id)
            self.updates.add(executor.framework_id, status, journal=journal, kept=kept)
        except OSError as trouble:
            log.error("an update of task %s cannot be kept: %s", status["task_id"]["value"], trouble)
            if not own:
                return False
            self.updates.add_unkept(executor.framework_id, status, kept=kept)
        return True

    def _take_over(self, executor: Executor, task: Task | None, status: dict[str, Any]) -> None:
        if task is None or task.terminal:
            return
        task.take(status)
        if task.terminal:
            executor.queued.pop(task.task_id, None)
            executor.tasks[task.task_id] = task
            self.isolation.resize(executor)

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
        with suppressed(f"what was written of task {task_id} stays"):
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
        executor.timer = self.later(grace if executor.stream is not None else 0.0, self.kill_executor, executor)

    def shutdown_framework(self, framework_id: str) -> None:
        # Of one that is not here there may still be updates: nobody is left to acknowledge them.
        self.updates.forget_framework(framework_id)
        framework = self.frameworks.get(framework_id)
        if framework is None:
            return
        log.info("framework %s is shut down", framework_id)
        framework.terminating = True
        for executor in list(framework.executors.values()):
            if executor.state == "terminated":
                self._forget(executor)
            else:
                self.shutdown_executor(executor)
        self.forget_if_idle(framework)

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
        with suppressed(f"the end of {executor.label} cannot be written down"):
            self.checkpoint.write_end(self.agent_id, executor)
        del framework.executors[executor.executor_id]
        framework.completed_executors.append(executor)
        self.forget_if_idle(framework)

    def know_framework(self, info: dict[str, Any]) -> Framework:
        """The framework of this FrameworkInfo, with what it had here before if it was a completed one."""
        framework_id = info["id"]["value"]
        if (framework := self.frameworks.get(framework_id)) is not None:
            return framework
        framework = self.frameworks[framework_id] = Framework(info)
        for before in [known for known in self.completed_frameworks if known.framework_id == framework_id]:
            self.completed_frameworks.remove(before)
            framework.completed_executors.extend(before.completed_executors)
        return framework

    def forget_if_idle(self, framework: Framework) -> None:
        """One of which nothing runs here is a completed one, until it sends something new."""
        if not framework.executors and self.frameworks.pop(framework.framework_id, None) is not None:
            self.completed_frameworks.append(framework)

    def later(self, seconds: float, callback: Callable[[Executor], None], executor: Executor) -> asyncio.TimerHandle:
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
