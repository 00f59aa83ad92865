"""The offers that are in hand: what Mesos gave and has not taken back, each for at most its time to live."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

from k8slab.k8sm.resources import Pool, attributes

LINGER: Final = 120.0
# Within this time after it heard of a launch Mesos offers again what was left.
RETURN: Final = 2.0


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


@dataclass(frozen=True)
class _SentBack:
    """``at``: seconds of the loop's clock; ``called_back``: whether Mesos has been asked for it since."""

    at: float
    slot: Slot
    called_back: bool = False


class OfferRegistry:
    """``linger``: seconds for which an offer that was sent back is remembered."""

    def __init__(self, *, linger: float = LINGER) -> None:
        self._linger = linger
        self._offers: dict[str, Offer] = {}
        self._by_agent: dict[str, dict[str, Offer]] = {}
        self._sent_back: dict[str, _SentBack] = {}
        self._used: dict[str, tuple[float, Slot]] = {}

    def __len__(self) -> int:
        return len(self._offers)

    def __iter__(self) -> Iterator[Offer]:
        return iter(self._offers.values())

    def add(self, offer: Offer) -> None:
        self._offers[offer.id] = offer
        self._by_agent.setdefault(offer.agent, {})[offer.id] = offer
        self._sent_back.pop(offer.host, None)
        self._used.pop(offer.host, None)

    def remove(self, offer: str) -> None:
        gone = self._offers.pop(offer, None)
        if gone is not None:
            held = self._by_agent[gone.agent]
            del held[offer]
            if not held:
                del self._by_agent[gone.agent]

    def drop_agent(self, agent: str) -> list[str]:
        """Take out all offers of an agent and forget what it had; returns their ids."""
        held = list(self._by_agent.get(agent, ()))
        for offer in held:
            self.remove(offer)
        self._sent_back = {host: kept for host, kept in self._sent_back.items() if kept.slot.agent != agent}
        self._used = {host: used for host, used in self._used.items() if used[1].agent != agent}
        return held

    def clear(self) -> None:
        self._offers.clear()
        self._by_agent.clear()
        self._sent_back.clear()
        self._used.clear()

    def use(self, slot: Slot, left: Slot, now: float) -> None:
        """Take out a slot's offers to launch on them; what is ``left`` of them is soon offered again."""
        for offer in slot.offers:
            self.remove(offer)
        self._used[slot.host] = (now, left)

    def heard(self, slot: Slot, now: float) -> None:
        """Mesos has heard what was launched on these offers: only now they can come back."""
        if (used := self._used.get(slot.host)) is not None:
            self._used[slot.host] = (now, used[1])

    def call_back(self, now: float) -> None:
        """Mesos is asked for all that was refused: what was sent back is about to come, or is somebody else's now."""
        for host, kept in self._sent_back.items():
            if not kept.called_back:
                self._used.setdefault(host, (now, kept.slot))
                self._sent_back[host] = replace(kept, called_back=True)

    def expected(self, now: float) -> dict[str, Slot]:
        """By host, what was used or called back a moment ago, as far as something is left, and has not come yet."""
        self._used = {host: used for host, used in self._used.items() if now - used[0] < RETURN}
        return {host: left for host, (_, left) in self._used.items()}

    def next_lapse(self, since: float) -> float | None:
        """When the next of those, after ``since``, has not come back in time."""
        return min((lapse for at, _ in self._used.values() if (lapse := at + RETURN) > since), default=None)

    def expire(self, arrived_before: float, now: float) -> list[str]:
        """Take out those that came before then, to be sent back; returns their ids."""
        old = [one for one in self._offers.values() if one.arrived <= arrived_before]
        for slot in _slots(old):
            self._sent_back[slot.host] = _SentBack(now, slot)
        for offer in old:
            self.remove(offer.id)
        return [one.id for one in old]

    def remembered(self, now: float) -> dict[str, Slot]:
        """By host, what was sent back not long ago and has not been offered again."""
        return {host: kept.slot for host, kept in self._sent_back.items() if now - kept.at < self._linger}

    def oldest(self) -> float | None:
        # The order is that of arrival.
        return next((offer.arrived for offer in self._offers.values()), None)

    def slots(self) -> list[Slot]:
        """In the order in which the agents' first offers came."""
        return _slots(self._offers.values())


def _slots(offers: Iterable[Offer]) -> list[Slot]:
    result: dict[str, Slot] = {}
    for offer in offers:
        known = result.get(offer.agent)
        result[offer.agent] = Slot(
            agent=offer.agent,
            host=offer.host,
            offers=(*known.offers, offer.id) if known else (offer.id,),
            pool=known.pool + offer.pool if known else offer.pool,
            executors=offer.executors or (known.executors if known else ()),
        )
    return list(result.values())
