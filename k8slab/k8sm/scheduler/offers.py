"""The offers that are in hand: what Mesos gave and has not taken back, each for at most its time to live."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from k8slab.k8sm.resources import Pool, attributes


@dataclass(frozen=True)
class Offer:
    """``address``: the agent's IP; ``arrived``: seconds of the loop's clock; ``executors``: ids already there."""

    id: str
    agent: str
    host: str
    address: str
    pool: Pool
    attributes: Mapping[str, str]
    executors: tuple[str, ...]
    arrived: float


def parse(raw: Mapping[str, Any], now: float) -> Offer:
    address = (raw.get("url") or {}).get("address") or {}
    return Offer(
        id=raw["id"]["value"],
        agent=raw["agent_id"]["value"],
        host=raw["hostname"],
        address=address.get("ip", ""),
        pool=Pool.of(raw.get("resources") or ()),
        attributes=attributes(raw.get("attributes") or ()),
        executors=tuple(one["value"] for one in raw.get("executor_ids") or ()),
        arrived=now,
    )


@dataclass(frozen=True)
class Slot:
    """All offers of one agent together: one place where pods can go."""

    agent: str
    host: str
    offers: tuple[str, ...]
    pool: Pool
    executors: tuple[str, ...]


class OfferRegistry:
    def __init__(self) -> None:
        self._offers: dict[str, Offer] = {}

    def __len__(self) -> int:
        return len(self._offers)

    def add(self, offer: Offer) -> None:
        self._offers[offer.id] = offer

    def remove(self, offer: str) -> None:
        self._offers.pop(offer, None)

    def drop_agent(self, agent: str) -> list[str]:
        """Take out all offers of an agent; returns their ids."""
        held = [one.id for one in self._offers.values() if one.agent == agent]
        for offer in held:
            del self._offers[offer]
        return held

    def clear(self) -> None:
        self._offers.clear()

    def expire(self, arrived_before: float) -> list[str]:
        """Take out those that came before then; returns their ids."""
        old = [one.id for one in self._offers.values() if one.arrived <= arrived_before]
        for offer in old:
            del self._offers[offer]
        return old

    def oldest(self) -> float | None:
        return min((offer.arrived for offer in self._offers.values()), default=None)

    def slots(self) -> list[Slot]:
        """In the order in which the agents' first offers came."""
        result: dict[str, Slot] = {}
        for offer in self._offers.values():
            known = result.get(offer.agent)
            result[offer.agent] = Slot(
                agent=offer.agent,
                host=offer.host,
                offers=(*known.offers, offer.id) if known else (offer.id,),
                pool=known.pool + offer.pool if known else offer.pool,
                executors=offer.executors or (known.executors if known else ()),
            )
        return list(result.values())
