"""A master that may lead: its books, who belongs to the cluster, and whether the agents still answer."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Mapping
from typing import Any

from k8slab.mesos.master.books import Books
from k8slab.mesos.master.membership import Membership, MembershipOptions
from k8slab.mesos.master.model import Agent
from k8slab.mesos.master.options import MasterOptions
from k8slab.mesos.master.registrar import Registrar

log = logging.getLogger(__name__)


class Master(Books):
    def __init__(
        self,
        options: MasterOptions,
        registrar: Registrar,
        membership: MembershipOptions,
        *,
        on_failure: Callable[[str], None],
    ) -> None:
        """``on_failure`` hears why this master cannot go on leading."""
        super().__init__(options)
        self.start_time = time.time()
        self.elected_time: float | None = None
        self.leader: Mapping[str, Any] | None = None
        self.membership = Membership(self, registrar, membership, on_failure=on_failure)

    @property
    def elected(self) -> bool:
        return self.elected_time is not None

    def lead(self) -> None:
        self.elected_time = time.time()
        log.info("elected: %s at %s leads", self.master_id, self.pid)

    async def set_weights(self, weights: Mapping[str, float]) -> None:
        """Returns once they are stored. Raises RegistryError when they could not be."""
        await self.membership.set_weights(weights)

    async def mark_agent_gone(self, agent_id: str) -> None:
        """The operator knows that it never returns. Raises KeyError for an agent that nobody knows."""
        await self.membership.mark_gone(agent_id)

    def add_agent(self, agent: Agent) -> None:
        super().add_agent(agent)
        self._ping_later(agent)

    def _ping_later(self, agent: Agent) -> None:
        asyncio.get_running_loop().call_later(self.options.agent_ping_timeout, self._ping, agent)

    def _ping(self, agent: Agent) -> None:
        """Count what was not answered; a disconnected agent answers nothing and is given up after the same time."""
        if self.agents.get(agent.agent_id) is not agent:
            return
        if agent.unanswered_pings == self.options.max_agent_ping_timeouts:
            self.membership.mark_unreachable_soon(
                agent,
                message="health check timed out",
                # One that answered while it waited its turn may have a younger ping under way.
                still=lambda: agent.unanswered_pings > self.options.max_agent_ping_timeouts,
            )
        agent.unanswered_pings += 1
        agent.send({"type": "PING"})
        self._ping_later(agent)
