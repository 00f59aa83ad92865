"""An agent that comes back: which executors still live, what became of the others."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

from k8slab.mesos.agent.agent import Agent
from k8slab.mesos.agent.checkpoint import RecoveredExecutor
from k8slab.mesos.agent.model import TERMINAL, Executor, Framework
from k8slab.mesos.agent.processes import Process, kill_session, kill_tree, start_time
from k8slab.mesos.resources import Resources

log = logging.getLogger(__name__)


class Incompatible(Exception):
    """The agent is started with other resources or attributes than the tasks it left behind were promised."""


def check_compatible(before: dict[str, Any], now: dict[str, Any], *, policy: str) -> None:
    """Raises Incompatible unless ``policy`` (``equal`` or ``additive``) allows the change."""
    had, has = (Resources.from_json(info.get("resources", ())) for info in (before, now))
    same_attributes = before.get("attributes") == now.get("attributes")
    if before.get("hostname") != now.get("hostname"):
        raise Incompatible(f"hostname was {before.get('hostname')}, is {now.get('hostname')}")
    kept = all(attribute in now.get("attributes", ()) for attribute in before.get("attributes", ()))
    if policy == "additive" and has.contains(had) and kept:
        return
    if had != has:
        raise Incompatible(f"resources were {had}, are {has}")
    if not same_attributes:
        raise Incompatible(f"attributes were {before.get('attributes')}, are {now.get('attributes')}")


def recover(agent: Agent, *, same_boot: bool) -> list[Executor]:
    """Take over what the last agent left; the executors that live and should subscribe again."""
    alive = []
    for found in list(agent.checkpoint.recover_executors(agent.agent_id, same_boot=same_boot)):
        executor = found.executor
        framework = agent.frameworks.get(executor.framework_id) or Framework(found.framework)
        if not framework.checkpoint:
            _end_unadopted(agent, found)
            continue
        agent.frameworks[executor.framework_id] = framework
        framework.executors[executor.executor_id] = executor
        _restore_tasks(agent, found)
        if _adopt(agent, found):
            alive.append(executor)
        else:
            _end_session(found)
            agent.executor_exited(executor, -1)
    return alive


def _restore_tasks(agent: Agent, found: RecoveredExecutor) -> None:
    executor = found.executor
    for task, journal in found.tasks:
        updates = agent.updates.restore(executor.framework_id, task.task_id, journal)
        if updates:
            task.statuses = updates
            task.state = next(
                (status["state"] for status in updates if status["state"] in TERMINAL), updates[-1]["state"]
            )
        if task.terminal and not agent.updates.waiting(executor.framework_id, task.task_id):
            executor.completed_tasks.append(task)
            agent.updates.forget(executor.framework_id, task.task_id)
        else:
            executor.tasks[task.task_id] = task


def _adopt(agent: Agent, found: RecoveredExecutor) -> bool:
    """Watch the living process; False when it is dead, or died this very moment."""
    executor = found.executor
    if found.pid is None:
        return False
    try:
        executor.process = Process(found.pid, lambda status: agent.executor_exited(executor, status))
    except ProcessLookupError:
        return False
    return True


def _end_session(found: RecoveredExecutor) -> None:
    """A session outlives its leader, and keeps its number from being given away: what is in it was the executor's."""
    if found.session is not None and start_time(found.session) is None:
        kill_session(found.session)


def _end_unadopted(agent: Agent, found: RecoveredExecutor) -> None:
    """Without checkpointing an executor should have ended with its agent; it is helped."""
    if found.pid is not None:
        log.info("%s is left over, and its framework does not checkpoint: killed", found.executor.label)
        kill_tree(found.pid)
    _end_session(found)
    agent.checkpoint.write_end(agent.agent_id, found.executor)


async def await_executors(agent: Agent, alive: list[Executor]) -> None:
    """Give the living executors the time to subscribe again; those that do not are killed."""
    deadline = asyncio.get_running_loop().time() + agent.options.executor_reregistration_timeout
    while any(executor.state == "registering" for executor in alive):
        if asyncio.get_running_loop().time() >= deadline:
            break
        await asyncio.sleep(0.02)
    for executor in alive:
        if executor.state == "registering":
            text = f"Executor did not reregister within {agent.options.executor_reregistration_timeout:g}secs"
            agent.terminate(executor, "EXECUTOR_REREGISTRATION_TIMEOUT", text)
