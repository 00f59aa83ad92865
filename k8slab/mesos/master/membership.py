"""Who belongs to the cluster: every change goes into the registry first and into the master's books once it is stored.

After an election the registry tells which agents are to be expected. Those that do not return in time are unreachable.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter
from collections.abc import Callable, Coroutine, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

from k8slab.mesos.durations import parse_duration
from k8slab.mesos.master.books import Books
from k8slab.mesos.master.model import Agent
from k8slab.mesos.master.registrar import Registrar, RegistryError
from k8slab.mesos.master.registry import Registry, outdated

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class MembershipOptions:
    """``removal_interval``: seconds between two agents made unreachable, 0 for no limit. ``recovery_removal_limit``:
    the share of a recovered registry's agents that may be missing, 0 to 1. ``max_age``: seconds."""

    reregister_timeout: float = 600.0
    removal_interval: float = 0.0
    recovery_removal_limit: float = 1.0
    gc_interval: float = 900.0
    max_age: float = 14 * 86400.0
    max_count: int = 102400


def parse_rate(text: str) -> float:
    """``1/10mins`` as the seconds from one to the next. Raises ValueError."""
    count, slash, span = text.partition("/")
    if not slash or not count.isdigit() or int(count) == 0:
        raise ValueError(f"expected <number of agents>/<duration>, got {text!r}")
    return parse_duration(span) / int(count)


def parse_percentage(text: str) -> float:
    """``75%`` as 0.75. Raises ValueError."""
    number = text.removesuffix("%")
    try:
        share = float(number) / 100
    except ValueError:
        share = -1.0
    if number == text or not 0 <= share <= 1:
        raise ValueError(f"expected a percentage such as 75%, got {text!r}")
    return share


class RateLimit:
    """Lets one pass each ``interval`` seconds, in the order they came."""

    def __init__(self, interval: float) -> None:
        self._interval = interval
        self._next = 0.0

    async def acquire(self) -> None:
        now = asyncio.get_running_loop().time()
        turn = max(now, self._next)
        self._next = turn + self._interval
        if turn > now:
            await asyncio.sleep(turn - now)


class Membership:
    """``expected``: AgentInfo by id of the registry's agents that have not come back to this leader yet."""

    def __init__(
        self, books: Books, registrar: Registrar, options: MembershipOptions, *, on_failure: Callable[[str], None]
    ) -> None:
        self._books = books
        self._registrar = registrar
        self._options = options
        self._on_failure = on_failure
        self._limit = RateLimit(options.removal_interval)
        self._changing: Counter[str] = Counter()
        self._tasks: set[asyncio.Task[None]] = set()
        self._recovered_count = 0
        self.expected: dict[str, dict[str, Any]] = {}

    @property
    def recovered(self) -> bool:
        return self._registrar.recovered

    def metrics(self) -> dict[str, float]:
        return self._registrar.metrics()

    async def recover(self) -> None:
        """Read what the last leader left. RegistryError: this master cannot lead."""
        registry = await self._registrar.recover()
        self.expected = registry.agents
        self._recovered_count = len(self.expected)
        self._books.unreachable_agents |= registry.unreachable
        self._books.gone_agents |= registry.gone
        self._apply_weights(registry.weights)
        log.info("recovered %d agents from the registry", len(self.expected))
        if self.expected:
            self._soon(self._give_up_the_missing())
        self._soon(self._collect())

    def in_transition(self, agent_id: str | None) -> bool:
        """Whether what this agent runs, or any one when None, cannot be told yet."""
        if agent_id is None:
            return bool(self.expected or self._changing)
        return agent_id in self.expected or self._changing[agent_id] > 0

    # -- joining

    async def admit(self, info: dict[str, Any]) -> bool:
        """Returns once an agent with this info belongs to the cluster; whether it was unreachable before."""
        agent_id = info["id"]["value"]
        known = self._books.agents.get(agent_id)
        listed = known.info if known is not None else self.expected.get(agent_id)
        # What is being stored about it right now was decided before it came: this is stored after that.
        if listed != info or self._changing[agent_id]:
            with self._change(agent_id):
                await self._registrar.apply(lambda registry: registry.admit(info))
        if agent_id not in self._books.gone_agents:
            self.expected.pop(agent_id, None)
        return self._books.unreachable_agents.pop(agent_id, None) is not None

    # -- leaving

    def remove_soon(self, agent: Agent, *, message: str) -> None:
        """It will not return."""
        self._soon(self.remove(agent, message=message))

    async def remove(self, agent: Agent, *, message: str) -> None:
        with self._change(agent.agent_id):
            await self._registrar.apply(lambda registry: registry.remove(agent.agent_id))
        if self._books.agents.get(agent.agent_id) is agent:
            self._books.remove_agent(agent, message=message, gone=True)

    def mark_unreachable_soon(self, agent: Agent, *, message: str, still: Callable[[], bool]) -> None:
        """Unless ``still`` says no when the rate limit lets it through."""
        self._soon(self._mark_unreachable(agent, message, still))

    async def _mark_unreachable(self, agent: Agent, message: str, still: Callable[[], bool]) -> None:
        await self._limit.acquire()
        if self._books.agents.get(agent.agent_id) is not agent or not still():
            return
        now = time.time()
        with self._change(agent.agent_id):
            await self._registrar.apply(lambda registry: registry.mark_unreachable([agent.agent_id], now))
        if self._books.agents.get(agent.agent_id) is agent:
            self._books.unreachable_agents[agent.agent_id] = now
            self._books.remove_agent(agent, message=message, now=now)

    async def mark_gone(self, agent_id: str) -> None:
        """Raises KeyError for an agent that nobody knows, RegistryError when it could not be stored."""
        books = self._books
        if agent_id in books.gone_agents:
            return
        if not (agent_id in books.agents or agent_id in self.expected or agent_id in books.unreachable_agents):
            raise KeyError(agent_id)
        now = time.time()
        with self._change(agent_id):
            await self._registrar.apply(lambda registry: registry.mark_gone(agent_id, now))
        books.gone_agents.setdefault(agent_id, now)
        books.unreachable_agents.pop(agent_id, None)
        if self.expected.pop(agent_id, None) is not None:
            books.tell_of_lost_agent(agent_id)
        agent = books.agents.get(agent_id)
        if agent is not None:
            agent.send({"type": "SHUTDOWN", "message": "Agent has been marked gone"})
            books.remove_agent(
                agent, message="was marked gone by the operator", gone=True, lost="TASK_GONE_BY_OPERATOR"
            )

    async def _give_up_the_missing(self) -> None:
        await asyncio.sleep(self._options.reregister_timeout)
        missing = list(self.expected)
        allowed = self._options.recovery_removal_limit
        if self._recovered_count and len(missing) / self._recovered_count > allowed:
            self._on_failure(
                f"{len(missing)} of {self._recovered_count} recovered agents did not return: more than the "
                f"{allowed:.0%} that --recovery_agent_removal_limit allows"
            )
            return
        if self._options.removal_interval:
            for agent_id in missing:
                await self._limit.acquire()
                await self._give_up([agent_id])
        elif missing:
            await self._give_up(missing)

    async def _give_up(self, missing: list[str]) -> None:
        missing = [agent_id for agent_id in missing if agent_id in self.expected and not self._changing[agent_id]]
        now = time.time()
        with self._change(*missing):
            await self._registrar.apply(lambda registry: registry.mark_unreachable(missing, now))
        for agent_id in missing:
            if self.expected.pop(agent_id, None) is not None:
                log.warning("agent %s did not return to this leader", agent_id)
                self._books.unreachable_agents[agent_id] = now
                self._books.counters["recovery_slave_removals"] += 1
                self._books.tell_of_lost_agent(agent_id)

    # -- weights, old entries

    async def set_weights(self, weights: Mapping[str, float]) -> None:
        """Raises RegistryError when they could not be stored."""
        await self._registrar.apply(lambda registry: registry.set_weights(weights))
        self._apply_weights(weights)

    def _apply_weights(self, weights: Mapping[str, float]) -> None:
        self._books.weights |= weights
        for role, weight in weights.items():
            self._books.allocator.set_weight(role, weight)

    async def _collect(self) -> None:
        while True:
            await asyncio.sleep(self._options.gc_interval)
            before = time.time() - self._options.max_age
            lists = self._books.unreachable_agents, self._books.gone_agents
            old = [outdated(since, before=before, keep=self._options.max_count) for since in lists]
            forgotten = [agent_id for found in old for agent_id in found]
            if forgotten:
                await self._registrar.apply(partial(Registry.forget, agent_ids=forgotten))
                for since in lists:
                    for agent_id in forgotten:
                        since.pop(agent_id, None)

    # -- underneath

    @contextmanager
    def _change(self, *agent_ids: str) -> Iterator[None]:
        self._changing.update(agent_ids)
        try:
            yield
        finally:
            self._changing.subtract(agent_ids)
            self._changing = +self._changing

    def _soon(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            if not isinstance(error, RegistryError):
                log.error("the membership's books are broken", exc_info=error)
            self._on_failure(str(error))

    def close(self) -> None:
        self._registrar.close()
        for task in self._tasks:
            task.cancel()
