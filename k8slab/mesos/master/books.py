"""The master's books: who is registered, what runs where, what is on offer. HTTP and ZooKeeper stay outside."""

from __future__ import annotations

import asyncio
import logging
import time
import uuid
from collections import Counter, deque
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from k8slab.mesos.http import EventStream
from k8slab.mesos.master import operator_events
from k8slab.mesos.master.allocator import Allocator
from k8slab.mesos.master.model import Agent, Executor, Framework, Task, task_status
from k8slab.mesos.master.offers import OfferBook
from k8slab.mesos.master.options import MasterOptions
from k8slab.mesos.version import VERSION

log = logging.getLogger(__name__)

HEARTBEAT_SECONDS = 15.0
MAX_COMPLETED_FRAMEWORKS = 50


class Books:
    """Everything runs in one event loop and no method awaits, so every change of the books is atomic."""

    def __init__(self, options: MasterOptions) -> None:
        self.options = options
        self.master_id = str(uuid.uuid4())
        self.allocator = Allocator(
            allocation_interval=options.allocation_interval, min_allocatable=options.min_allocatable
        )
        self.frameworks: dict[str, Framework] = {}
        self.completed_frameworks: deque[Framework] = deque(maxlen=MAX_COMPLETED_FRAMEWORKS)
        self.agents: dict[str, Agent] = {}
        self.unreachable_agents: dict[str, float] = {}
        self.gone_agents: dict[str, float] = {}
        self.weights: dict[str, float] = {}
        self.watchers: list[Callable[[dict[str, Any]], None]] = []
        self.counters: Counter[str] = Counter()
        self.offers = OfferBook(
            self.allocator,
            agents=self.agents,
            frameworks=self.frameworks,
            prefix=self.master_id,
            timeout=options.offer_timeout,
            counters=self.counters,
        )
        self._next_framework = self._next_agent = 0

    @property
    def info(self) -> dict[str, Any]:
        """MasterInfo, as the znode and SUBSCRIBED carry it; ``ip`` is the address in network byte order, read here."""
        options = self.options
        return {
            "address": {"hostname": options.hostname, "ip": options.ip, "port": options.port},
            "capabilities": [{"type": "AGENT_UPDATE"}, {"type": "AGENT_DRAINING"}, {"type": "QUOTA_V2"}],
            "hostname": options.hostname,
            "id": self.master_id,
            "ip": int.from_bytes(bytes(map(int, options.ip.split("."))), "little"),
            "pid": self.pid,
            "port": options.port,
            "version": VERSION,
        }

    @property
    def pid(self) -> str:
        return f"master@{self.options.ip}:{self.options.port}"

    def announce(self, build: Callable[..., dict[str, Any]], *about: Any) -> None:
        """Tell the watchers; the event is built only when there is one."""
        if self.watchers:
            event = build(*about)
            for watcher in list(self.watchers):
                watcher(event)

    # -- frameworks

    def subscribe(
        self, info: dict[str, Any], *, suppressed: Iterable[str], stream: EventStream, stream_id: str
    ) -> Framework:
        """Register a framework, or take it over: the id alone says which."""
        framework_id = (info.get("id") or {}).get("value")
        framework = self.frameworks.get(framework_id) if framework_id else None
        happened = operator_events.framework_added if framework is None else operator_events.framework_updated
        if framework_id is None:
            framework_id = f"{self.master_id}-{self._next_framework:04d}"
            self._next_framework += 1
        if framework is None:
            framework = Framework(
                framework_id=framework_id, info={**info, "id": {"value": framework_id}}, registered_time=time.time()
            )
            self.frameworks[framework_id] = framework
            self.allocator.add_framework(framework_id, framework.roles, active=False)
        else:
            self._take_over(framework, info)
        framework.stream, framework.stream_id = stream, stream_id
        framework.active, framework.recovered = True, False
        framework.suppressed = set(suppressed)
        self.allocator.update_framework(
            framework_id, framework.roles, suppressed=framework.suppressed, capabilities=framework.capabilities
        )
        self.allocator.set_framework_active(framework_id, True)
        log.info("framework %s (%s) subscribed", framework_id, info["name"])
        framework.send(
            {
                "type": "SUBSCRIBED",
                "subscribed": {
                    "framework_id": {"value": framework_id},
                    "heartbeat_interval_seconds": HEARTBEAT_SECONDS,
                    "master_info": self.info,
                },
            }
        )
        self._beat(framework, stream)
        self.announce(happened, framework)
        self.offers.allocate_soon()
        return framework

    def _take_over(self, framework: Framework, info: dict[str, Any]) -> None:
        if framework.stream is not None:
            framework.send({"type": "ERROR", "error": {"message": "Framework failed over"}})
            framework.stream.close()
        if framework.failover is not None:
            framework.failover.cancel()
            framework.failover = None
        for offer in list(framework.offers.values()):
            self.offers.drop(offer)
        kept: dict[str, Any] = {
            key: framework.info[key] for key in ("id", "user", "checkpoint") if key in framework.info
        }
        framework.info = {**info, **kept}
        framework.reregistered_time = time.time()

    def _beat(self, framework: Framework, stream: EventStream) -> None:
        if framework.stream is stream and not stream.closed:
            framework.send({"type": "HEARTBEAT"})
            asyncio.get_running_loop().call_later(HEARTBEAT_SECONDS, self._beat, framework, stream)

    def disconnect_framework(self, framework: Framework, stream: EventStream) -> None:
        """Its stream ended: nothing is offered any more, and unless it returns in time it is removed."""
        if framework.stream is not stream:
            return
        framework.stream, framework.active = None, False
        self.allocator.set_framework_active(framework.framework_id, False)
        for offer in list(framework.offers.values()):
            self.offers.drop(offer)
        timeout = framework.info.get("failover_timeout", 0.0)
        log.info("framework %s disconnected, waiting %g s for it", framework.framework_id, timeout)
        if timeout <= 0:
            self.remove_framework(framework)
        else:
            # call_later cannot take the centuries some schedulers ask for.
            loop = asyncio.get_running_loop()
            framework.failover = loop.call_later(min(timeout, 1e8), self.remove_framework, framework)
            self.announce(operator_events.framework_updated, framework)

    def remove_framework(self, framework: Framework) -> None:
        """For good: agents shut its executors down, its tasks count as killed, its id is barred."""
        if self.frameworks.get(framework.framework_id) is not framework:
            return
        log.info("framework %s removed", framework.framework_id)
        for agent in self.agents.values():
            agent.send({"type": "SHUTDOWN_FRAMEWORK", "framework_id": {"value": framework.framework_id}})
        for offer in list(framework.offers.values()):
            self.offers.drop(offer)
        everywhere = (task for agent in self.agents.values() for task in agent.tasks.values())
        for task in [task for task in everywhere if task.framework_id == framework.framework_id]:
            if not task.terminal:
                task.state = "TASK_KILLED"
                task.note(
                    task_status(
                        task,
                        "TASK_KILLED",
                        reason="FRAMEWORK_REMOVED",
                        message=f"Framework {framework.framework_id} removed",
                        timestamp=time.time(),
                    )
                )
                self._count_status(task.statuses[-1])
                self.announce(operator_events.task_updated, task)
            self.release(task)
            self.forget_task(task)
        for executor in list(framework.executors.values()):
            self.remove_executor(executor)
        if framework.failover is not None:
            framework.failover.cancel()
        if framework.stream is not None:
            framework.stream.close()
        framework.stream, framework.active = None, False
        framework.unregistered_time = time.time()
        self.allocator.remove_framework(framework.framework_id)
        del self.frameworks[framework.framework_id]
        self.completed_frameworks.append(framework)
        self.announce(operator_events.framework_removed, framework)

    def is_completed(self, framework_id: str) -> bool:
        return any(framework.framework_id == framework_id for framework in self.completed_frameworks)

    # -- tasks and executors

    def add_task(self, task: Task) -> None:
        """One whose id is in use already, told of by an agent that was away, is in the agent's books alone."""
        self.frameworks[task.framework_id].tasks.setdefault(task.task_id, task)
        self.agents[task.agent_id].tasks[(task.framework_id, task.task_id)] = task
        self.announce(operator_events.task_added, task)

    def release(self, task: Task) -> None:
        """Give its resources back, once: they may be offered again before its last update is acknowledged."""
        if not task.released:
            task.released = True
            self.allocator.recover(task.framework_id, task.role, task.agent_id, task.resources)

    def forget_task(self, task: Task) -> None:
        """It is over and everyone knows: it moves to the completed ones."""
        framework = self.frameworks[task.framework_id]
        if framework.tasks.get(task.task_id) is task:
            del framework.tasks[task.task_id]
        framework.completed_tasks.append(task)
        agent = self.agents.get(task.agent_id)
        if agent is not None:
            agent.tasks.pop((task.framework_id, task.task_id), None)
            agent.pending_kills.pop((task.framework_id, task.task_id), None)

    def add_executor(self, executor: Executor) -> None:
        self.frameworks[executor.framework_id].executors[(executor.agent_id, executor.executor_id)] = executor
        self.agents[executor.agent_id].executors[(executor.framework_id, executor.executor_id)] = executor

    def remove_executor(self, executor: Executor) -> None:
        self.frameworks[executor.framework_id].executors.pop((executor.agent_id, executor.executor_id), None)
        agent = self.agents.get(executor.agent_id)
        key = (executor.framework_id, executor.executor_id)
        if agent is not None and key in agent.executors:
            del agent.executors[key]
            self.allocator.recover(executor.framework_id, executor.role, executor.agent_id, executor.resources)

    def send_update(self, framework: Framework, status: dict[str, Any]) -> None:
        framework.send({"type": "UPDATE", "update": {"status": status}})
        task = framework.tasks.get(status["task_id"]["value"])
        repeated = task is not None and task.statuses and "uuid" in status and task.statuses[-1].get("uuid")
        if status.get("reason") != "REASON_RECONCILIATION" and (not repeated or repeated != status["uuid"]):
            self._count_status(status)

    def _count_status(self, status: Mapping[str, Any]) -> None:
        """Once for each change of a task: repeats and answers to reconciliation change nothing."""
        self.counters[f"status/{status['state']}"] += 1
        if {"source", "reason"} <= status.keys():
            kind = status["state"].removeprefix("TASK_"), status["source"], status["reason"]
            self.counters["task_{}/{}/{}".format(*kind).lower()] += 1

    # -- agents

    def new_agent_id(self) -> str:
        agent_id = f"{self.master_id}-S{self._next_agent}"
        self._next_agent += 1
        return agent_id

    def add_agent(self, agent: Agent) -> None:
        self.agents[agent.agent_id] = agent
        self.allocator.add_agent(agent.agent_id, agent.resources)
        self.announce(operator_events.agent_added, agent)

    def disconnect_agent(self, agent: Agent, link: EventStream) -> None:
        """Its connection broke: offers are rescinded, tasks that nobody checkpoints are gone with it."""
        if agent.link is not link:
            return
        log.info("agent %s at %s disconnected", agent.agent_id, agent.pid)
        agent.link = None
        self.allocator.set_agent_active(agent.agent_id, False)
        for offer in list(agent.offers.values()):
            self.offers.rescind(offer)
        for task in list(agent.tasks.values()):
            framework = self.frameworks[task.framework_id]
            if not framework.info.get("checkpoint"):
                message = f"Agent {agent.hostname} disconnected"
                self.lose_task(task, "TASK_LOST", reason="AGENT_DISCONNECTED", message=message)
        for executor in list(agent.executors.values()):
            if not self.frameworks[executor.framework_id].info.get("checkpoint"):
                self.remove_executor(executor)

    def remove_agent(
        self, agent: Agent, *, message: str, gone: bool = False, lost: str = "TASK_GONE", now: float | None = None
    ) -> None:
        """Its tasks are lost; to those who know the words they are unreachable, or ``lost`` with what never returns.

        Only for the membership, which stores it first. ``now`` is the moment that was stored.
        """
        log.warning("agent %s at %s removed: %s", agent.agent_id, agent.pid, message)
        now = time.time() if now is None else now
        for offer in list(agent.offers.values()):
            self.offers.rescind(offer)
        for task in list(agent.tasks.values()):
            aware = self.frameworks[task.framework_id].capable("PARTITION_AWARE")
            extra = {} if gone else {"unreachable_time": {"nanoseconds": int(now * 1e9)}}
            text = f"Agent {agent.hostname} {message}"
            away = lost if gone else "TASK_UNREACHABLE"
            self.lose_task(task, away if aware else "TASK_LOST", reason="AGENT_REMOVED", message=text, **extra)
        for executor in list(agent.executors.values()):
            self.remove_executor(executor)
        if agent.link is not None:
            agent.link.close()
            agent.link = None
        self.allocator.remove_agent(agent.agent_id)
        del self.agents[agent.agent_id]
        self.counters["slave_removals"] += 1
        self.announce(operator_events.agent_removed, agent)
        self.tell_of_lost_agent(agent.agent_id)

    def tell_of_lost_agent(self, agent_id: str) -> None:
        for framework in self.frameworks.values():
            framework.send({"type": "FAILURE", "failure": {"agent_id": {"value": agent_id}}})

    def lose_task(self, task: Task, state: str, *, reason: str, message: str, **extra: Any) -> None:
        """Take a live task out of the books and tell its framework; a terminal one only goes to the completed ones."""
        framework = self.frameworks[task.framework_id]
        self.release(task)
        if task.terminal:
            self.forget_task(task)
            return
        status = task_status(task, state, reason=reason, message=message, timestamp=time.time(), **extra)
        task.state = state
        task.note(status)
        self.forget_task(task)
        if state == "TASK_UNREACHABLE":
            framework.completed_tasks.pop()
            framework.unreachable_tasks.append(task)
        self.announce(operator_events.task_updated, task)
        self.send_update(framework, status)

    def now(self) -> float:
        """The allocator's clock."""
        return asyncio.get_running_loop().time()
