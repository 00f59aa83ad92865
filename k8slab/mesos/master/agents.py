"""What agents tell the master, and what that does to its books. The wire is described in ``k8slab.mesos.link``."""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from k8slab.mesos.http import EventStream
from k8slab.mesos.master import operator_events
from k8slab.mesos.master.master import Master
from k8slab.mesos.master.model import Agent, Executor, Framework, Task, task_status
from k8slab.mesos.master.reserving import tell_resources
from k8slab.mesos.master.validation import id_error
from k8slab.mesos.resources import Resources, with_reservations

log = logging.getLogger(__name__)

PID = re.compile(r"[^@]+@[^@\s]+:[0-9]{1,5}")


class AgentCalls:
    """``register`` begins a link, ``handle`` maps what follows on it to methods."""

    def __init__(self, master: Master) -> None:
        self._master = master
        self.handle: dict[str, Callable[[Agent, Mapping[str, Any]], None]] = {
            "UPDATE": self._update,
            "MESSAGE": self._message,
            "EXECUTOR_EXITED": self._executor_exited,
            "PONG": self._pong,
            "UNREGISTER": self._unregister,
        }

    async def register(self, call: Mapping[str, Any], link: EventStream) -> Agent:
        """A REGISTER or REREGISTER: the agent, with ``link`` as its way back, once the registry has it.

        KeyError, TypeError and ValueError: malformed, or an agent that may not return.
        """
        if error := registration_error(call):
            raise ValueError(error)
        given = call["agent_info"]["id"]["value"] if call["type"] == "REREGISTER" else None
        info = {**call["agent_info"], "id": {"value": given or self._master.new_agent_id()}}
        Resources.from_json(info.get("resources", ()))
        self._refuse_gone(given, link)
        was_unreachable = await self._master.membership.admit(info)
        # Whoever registered twice at one address, because its first link broke, is known by now under its first id.
        await self._evict_namesake(info["id"]["value"], call["pid"])
        self._refuse_gone(given, link)
        return self._registered({**call, "agent_info": info}, link, was_unreachable=was_unreachable)

    def _refuse_gone(self, agent_id: str | None, link: EventStream) -> None:
        if agent_id in self._master.gone_agents:
            link.send({"type": "SHUTDOWN", "message": "Agent has been marked gone"})
            raise ValueError("the agent was marked gone")

    def _registered(self, call: Mapping[str, Any], link: EventStream, *, was_unreachable: bool) -> Agent:
        agent = self._returning(call) if call["type"] == "REREGISTER" else None
        returning = agent is not None
        if agent is None:
            agent = self._admit(call)
        if agent.link is not None:
            agent.link.close()
        agent.link, agent.unanswered_pings = link, 0
        kind = "REREGISTERED" if call["type"] == "REREGISTER" else "REGISTERED"
        link.send(
            {
                "type": kind,
                "agent_id": {"value": agent.agent_id},
                "total_ping_timeout_seconds": self._master.options.total_ping_timeout,
            }
        )
        if agent.resources != _checkpointed(call):
            tell_resources(agent)
        if call["type"] == "REREGISTER":
            self._merge(agent, call, known_before=returning, was_unreachable=was_unreachable)
        self._master.allocator.set_agent_active(agent.agent_id, True)
        self._master.counters["slave_reregistrations" if call["type"] == "REREGISTER" else "slave_registrations"] += 1
        log.info("agent %s at %s %s", agent.agent_id, agent.pid, kind.lower())
        self._master.offers.allocate_soon([agent.agent_id])
        return agent

    async def _evict_namesake(self, agent_id: str | None, pid: str) -> None:
        """A host that comes without its old id has lost its work directory: the old entry cannot come back."""

        def namesakes() -> Iterator[Agent]:
            return (agent for agent in self._master.agents.values() if agent.pid == pid and agent.agent_id != agent_id)

        while (agent := next(namesakes(), None)) is not None:
            await self._master.membership.remove(agent, message="was replaced by a new agent at the same address")

    def _admit(self, call: Mapping[str, Any]) -> Agent:
        info = dict(call["agent_info"])
        agent_id = info["id"]["value"]
        agent = Agent(
            agent_id=agent_id,
            info=info,
            resources=with_reservations(Resources.from_json(info.get("resources", ())), _checkpointed(call)),
            pid=call["pid"],
            version=call.get("version", ""),
            registered_time=time.time(),
        )
        if call["type"] == "REREGISTER":
            agent.reregistered_time = time.time()
        self._master.add_agent(agent)
        return agent

    def _returning(self, call: Mapping[str, Any]) -> Agent | None:
        agent = self._master.agents.get(call["agent_info"]["id"]["value"])
        if agent is not None:
            info = dict(call["agent_info"])
            resources = with_reservations(Resources.from_json(info.get("resources", ())), agent.resources)
            if info != agent.info:
                # It restarted before its old link was seen to break: what is on offer is not what it is now.
                for offer in list(agent.offers.values()):
                    self._master.offers.rescind(offer)
            agent.reregistered_time = time.time()
            agent.pid, agent.version = call["pid"], call.get("version", "")
            agent.info, agent.resources = info, resources
            self._master.allocator.set_agent_total(agent.agent_id, agent.resources)
        return agent

    def _merge(self, agent: Agent, call: Mapping[str, Any], *, known_before: bool, was_unreachable: bool) -> None:
        """Make the books agree with what the agent says it runs."""
        for info in call.get("frameworks", ()):
            self._know_framework(agent, info)
        alive = {(item["framework_id"]["value"], _executor_id(item)) for item in call.get("executors", ())}
        for key, executor in list(agent.executors.items()):
            if key not in alive:
                self._lose_executor(agent, executor, status=-1)
        for item in call.get("executors", ()):
            self._merge_executor(agent, item)
        reported = set()
        for item in call.get("tasks", ()):
            reported.add((item["framework_id"]["value"], item["task_id"]["value"]))
            self._merge_task(agent, item, was_unreachable=was_unreachable)
        if known_before:
            missing = [task for key, task in agent.tasks.items() if key not in reported]
            for task in missing:
                agent.send(
                    {
                        "type": "RECONCILE_TASK",
                        "framework_id": {"value": task.framework_id},
                        "task_id": {"value": task.task_id},
                        "partition_aware": self._partition_aware(task.framework_id),
                    }
                )
        for event in agent.pending_kills.values():
            agent.send(event)
        agent.pending_kills.clear()

    def _partition_aware(self, framework_id: str) -> bool:
        framework = self._master.frameworks.get(framework_id)
        return framework is not None and framework.capable("PARTITION_AWARE")

    def _know_framework(self, agent: Agent, info: dict[str, Any]) -> None:
        framework_id = info["id"]["value"]
        if framework_id in self._master.frameworks:
            return
        if self._master.is_completed(framework_id):
            agent.send({"type": "SHUTDOWN_FRAMEWORK", "framework_id": {"value": framework_id}})
            return
        framework = Framework(
            framework_id=framework_id, info=dict(info), registered_time=time.time(), recovered=True, active=False
        )
        self._master.frameworks[framework_id] = framework
        self._master.allocator.add_framework(framework_id, framework.roles, active=False)

    def _merge_executor(self, agent: Agent, item: Mapping[str, Any]) -> None:
        framework_id = item["framework_id"]["value"]
        info = item["executor_info"]
        executor_id = info["executor_id"]["value"]
        if framework_id not in self._master.frameworks or (framework_id, executor_id) in agent.executors:
            return
        executor = Executor(
            executor_id=executor_id,
            framework_id=framework_id,
            agent_id=agent.agent_id,
            role=item.get("role", "*"),
            info=dict(info),
            resources=Resources.from_json(info.get("resources", ())),
        )
        self._master.add_executor(executor)
        self._master.allocator.occupy(framework_id, executor.role, agent.agent_id, executor.resources)

    def _merge_task(self, agent: Agent, item: Mapping[str, Any], *, was_unreachable: bool) -> None:
        framework = self._master.frameworks.get(item["framework_id"]["value"])
        if framework is None:
            return
        task_id = item["task_id"]["value"]
        task = agent.tasks.get((framework.framework_id, task_id))
        if task is None:
            framework.welcome_back(task_id, agent.agent_id)
            task = Task(
                task_id=task_id,
                name=item["name"],
                framework_id=framework.framework_id,
                agent_id=agent.agent_id,
                executor_id=item.get("executor_id", ""),
                role=item.get("role", "*"),
                resources=Resources.from_json(item.get("resources", ())),
                state=item["state"],
                statuses=list(item.get("statuses", ())),
                info=dict(item.get("info", {})),
            )
            task.released = task.terminal
            reused = task_id in framework.tasks
            self._master.add_task(task)
            if not task.terminal:
                self._master.allocator.occupy(framework.framework_id, task.role, agent.agent_id, task.resources)
                if reused:
                    log.warning("task %s of %s lives elsewhere: this one is killed", task_id, agent.agent_id)
                    identity = {"framework_id": {"value": framework.framework_id}, "task_id": {"value": task_id}}
                    agent.send({"type": "KILL_TASK", **identity})
        else:
            task.state = item["state"]
            if task.terminal:
                self._master.release(task)
        if was_unreachable:
            text = "Unreachable agent re-registered"
            status = task_status(task, task.state, reason="AGENT_REREGISTERED", message=text, timestamp=time.time())
            self._master.send_update(framework, status)

    def _update(self, agent: Agent, call: Mapping[str, Any]) -> None:
        """A status on its way to the scheduler: note it, pass it on."""
        status = call["status"]
        framework = self._master.frameworks.get(call["framework_id"]["value"])
        if framework is None:
            log.info("update of a task of unknown framework %s dropped", call["framework_id"]["value"])
            self._master.counters["invalid_status_updates"] += 1
            return
        self._master.counters["valid_status_updates"] += 1
        self._master.counters[f"task_states/{status['state']}"] += 1
        task = agent.tasks.get((framework.framework_id, status["task_id"]["value"]))
        self._master.send_update(framework, dict(status))
        if task is None:
            log.info("update of unknown task %s", status["task_id"]["value"])
            return
        task.state = call.get("latest_state", status["state"])
        task.note(dict(status))
        self._master.announce(operator_events.task_updated, task)
        if task.terminal:
            self._master.release(task)

    def _message(self, agent: Agent, call: Mapping[str, Any]) -> None:
        framework = self._master.frameworks.get(call["framework_id"]["value"])
        if framework is None or not framework.connected:
            self._master.counters["dropped_messages"] += 1
            return
        framework.send(
            {
                "type": "MESSAGE",
                "message": {
                    "agent_id": {"value": agent.agent_id},
                    "executor_id": call["executor_id"],
                    "data": call["data"],
                },
            }
        )

    def _executor_exited(self, agent: Agent, call: Mapping[str, Any]) -> None:
        key = (call["framework_id"]["value"], call["executor_id"]["value"])
        executor = agent.executors.get(key)
        if executor is not None:
            self._lose_executor(agent, executor, status=call["status"])

    def _lose_executor(self, agent: Agent, executor: Executor, *, status: int) -> None:
        self._master.remove_executor(executor)
        failure = {
            "agent_id": {"value": agent.agent_id},
            "executor_id": {"value": executor.executor_id},
            "status": status,
        }
        self._master.frameworks[executor.framework_id].send({"type": "FAILURE", "failure": failure})

    def _pong(self, agent: Agent, _call: Mapping[str, Any]) -> None:
        agent.unanswered_pings = 0

    def _unregister(self, agent: Agent, _call: Mapping[str, Any]) -> None:
        self._master.membership.remove_soon(agent, message="unregistered")


def registration_error(call: Mapping[str, Any]) -> str | None:
    """Why the first call on a link introduces nobody: all that the books are kept by, and offers name, must be there.

    KeyError, AttributeError and TypeError: it is not even of that shape.
    """
    if call["type"] not in ("REGISTER", "REREGISTER"):
        return f"{call['type']} before REGISTER"
    if not isinstance(call["pid"], str) or not PID.fullmatch(call["pid"]):
        return f"not a process id: {call['pid']!r}"
    info = call["agent_info"]
    if not isinstance(info.get("hostname", ""), str):
        return f"not a host's name: {info['hostname']!r}"
    if not isinstance(info.get("attributes", []), list):
        return f"not attributes: {info['attributes']!r}"
    if call["type"] == "REREGISTER":
        agent_id = info["id"]["value"]
        return id_error(agent_id) if isinstance(agent_id, str) else f"not an agent's id: {agent_id!r}"
    return None


def _checkpointed(call: Mapping[str, Any]) -> Resources:
    """What the agent has, as the last master told it."""
    listed = call.get("checkpointed_resources")
    return Resources.from_json(call["agent_info"].get("resources", ()) if listed is None else listed)


def _executor_id(item: Mapping[str, Any]) -> str:
    return str(item["executor_info"]["executor_id"]["value"])
