"""Offers: what an allocation grants becomes one, until it is used, declined or taken back."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

from k8slab.mesos.master.allocator import Allocator
from k8slab.mesos.master.model import Agent, Framework, Offer


class OfferBook:
    """Every outstanding offer. ``timeout``: seconds after which an unused one is rescinded, None for never."""

    def __init__(
        self,
        allocator: Allocator,
        *,
        agents: Mapping[str, Agent],
        frameworks: Mapping[str, Framework],
        prefix: str,
        timeout: float | None,
        counters: Counter[str],
    ) -> None:
        self._allocator = allocator
        self._agents = agents
        self._frameworks = frameworks
        self._prefix = prefix
        self._timeout = timeout
        self._counters = counters
        self._offers: dict[str, Offer] = {}
        self._next = 0
        self._due: set[str] | None = set()
        self._scheduled = False

    def __len__(self) -> int:
        return len(self._offers)

    def get(self, offer_id: str) -> Offer | None:
        return self._offers.get(offer_id)

    def allocate_soon(self, agents: Iterable[str] | None = None) -> None:
        """Allocate before anything else happens, on ``agents`` or on all; calls of one turn are served together."""
        if agents is None:
            self._due = None
        elif self._due is not None:
            self._due.update(agents)
        if not self._scheduled:
            self._scheduled = True
            asyncio.get_running_loop().call_soon(self._allocate_due)

    def _allocate_due(self) -> None:
        due, self._due = self._due, set()
        self._scheduled = False
        self.allocate(due)

    def allocate(self, agents: Iterable[str] | None = None) -> None:
        """One allocation cycle: what it grants goes out as offers, one event for each framework."""
        loop = asyncio.get_running_loop()
        started = time.perf_counter()
        batches: dict[str, list[Offer]] = {}
        for grant in self._allocator.allocate(loop.time(), agents=agents):
            offer = Offer(
                offer_id=f"{self._prefix}-O{self._next}",
                framework_id=grant.framework_id,
                agent_id=grant.agent_id,
                role=grant.role,
                resources=grant.resources,
            )
            self._next += 1
            if self._timeout is not None:
                offer.expiry = loop.call_later(self._timeout, self.rescind, offer)
            self._offers[offer.offer_id] = offer
            self._frameworks[grant.framework_id].offers[offer.offer_id] = offer
            self._agents[grant.agent_id].offers[offer.offer_id] = offer
            batches.setdefault(grant.framework_id, []).append(offer)
        for framework_id, offers in batches.items():
            framework = self._frameworks[framework_id]
            shown = [offer_json(offer, framework, self._agents[offer.agent_id]) for offer in offers]
            framework.send({"type": "OFFERS", "offers": {"offers": shown}})
        self._counters["allocator/mesos/allocation_runs"] += 1
        self._counters["allocation_us"] = int((time.perf_counter() - started) * 1e6)

    def drop(self, offer: Offer, *, give_back: bool = True) -> None:
        """Forget an offer; ``give_back`` returns what it holds to the allocator, without a filter."""
        if self._offers.pop(offer.offer_id, None) is None:
            return
        if offer.expiry is not None:
            offer.expiry.cancel()
        self._frameworks[offer.framework_id].offers.pop(offer.offer_id, None)
        self._agents[offer.agent_id].offers.pop(offer.offer_id, None)
        if give_back:
            self._allocator.recover(offer.framework_id, offer.role, offer.agent_id, offer.resources)

    def rebalance(self, roles: Iterable[str]) -> None:
        """The weights of ``roles`` changed: what is on offer is taken back when that changes whose turn it is.

        A weight counts for the roles below it as well.
        """
        used = {role for framework in self._frameworks.values() for role in framework.roles}
        if any(role == changed or role.startswith(f"{changed}/") for changed in roles for role in used):
            for offer in list(self._offers.values()):
                self.rescind(offer)

    def rescind(self, offer: Offer) -> None:
        self.drop(offer)
        framework = self._frameworks.get(offer.framework_id)
        if framework is not None:
            framework.send({"type": "RESCIND", "rescind": {"offer_id": {"value": offer.offer_id}}})


def offer_json(offer: Offer, framework: Framework, agent: Agent) -> dict[str, Any]:
    """The v1 Offer, in the words this framework's capabilities say it knows."""
    multi_role = framework.capable("MULTI_ROLE")
    ip, _, port = agent.pid.partition("@")[2].rpartition(":")
    shown: dict[str, Any] = {
        "id": {"value": offer.offer_id},
        "framework_id": {"value": offer.framework_id},
        "agent_id": {"value": offer.agent_id},
        "hostname": agent.hostname,
        "url": {
            "scheme": "http",
            "address": {"hostname": agent.hostname, "ip": ip, "port": int(port)},
            "path": "/slave(1)",
        },
        "resources": offer.resources.to_json(
            refined=framework.capable("RESERVATION_REFINEMENT"), allocation_role=offer.role if multi_role else None
        ),
    }
    if attributes := agent.info.get("attributes"):
        shown["attributes"] = attributes
    running = [
        {"value": executor_id}
        for framework_id, executor_id in agent.executors
        if framework_id == framework.framework_id
    ]
    if running:
        shown["executor_ids"] = running
    if multi_role:
        shown["allocation_info"] = {"role": offer.role}
    return shown
