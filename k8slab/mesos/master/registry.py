"""What outlives a leader: which agents belong to the cluster, which are away or gone for good, and the roles' weights.

The state is cut into shards by agent id, so that a change rewrites little and no part grows large: with 4,000 agents a
shard holds about 30. A mutation touches one shard for each agent it names; the weights have a shard of their own.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import orjson

SHARDS = 128
WEIGHTS = "weights"
COMPRESSION_LEVEL = 1


def shard_of(agent_id: str) -> str:
    return f"agents-{zlib.crc32(agent_id.encode()) % SHARDS:03d}"


NAMES = (*(f"agents-{number:03d}" for number in range(SHARDS)), WEIGHTS)


@dataclass
class Shard:
    """``agents``: AgentInfo by id. ``unreachable`` and ``gone``: since when, in seconds since the epoch, by id."""

    agents: dict[str, dict[str, Any]] = field(default_factory=dict)
    unreachable: dict[str, float] = field(default_factory=dict)
    gone: dict[str, float] = field(default_factory=dict)

    def encode(self) -> bytes:
        return _pack({"agents": self.agents, "unreachable": self.unreachable, "gone": self.gone})


class Registry:
    """``dirty`` names the shards changed since ``take_dirty``. An id is in at most one of the three lists."""

    def __init__(self, contents: Mapping[str, bytes] | None = None) -> None:
        """``contents``: shards as stored, by name; empty ones were never written. ValueError: not a registry's."""
        self._shards: dict[str, Shard] = {}
        self.weights: dict[str, float] = {}
        self._dirty: set[str] = set()
        for name, content in (contents or {}).items():
            if content:
                self._load(name, content)

    def _load(self, name: str, content: bytes) -> None:
        if name not in NAMES:
            raise ValueError(f"{name} is no shard of this registry")
        try:
            found = orjson.loads(zlib.decompress(content))
            if name == WEIGHTS:
                self.weights = dict(found)
            else:
                self._shards[name] = Shard(**found)
        except (zlib.error, TypeError, ValueError) as error:
            raise ValueError(f"shard {name} cannot be read: {error}") from error

    @property
    def agents(self) -> dict[str, dict[str, Any]]:
        return {agent_id: info for shard in self._shards.values() for agent_id, info in shard.agents.items()}

    @property
    def unreachable(self) -> dict[str, float]:
        return {agent_id: since for shard in self._shards.values() for agent_id, since in shard.unreachable.items()}

    @property
    def gone(self) -> dict[str, float]:
        return {agent_id: since for shard in self._shards.values() for agent_id, since in shard.gone.items()}

    # -- mutations

    def admit(self, info: dict[str, Any]) -> None:
        """A new agent, one that was unreachable, or one that tells other things of itself; ``info`` has its id."""
        agent_id = info["id"]["value"]
        shard = self._change(agent_id)
        if agent_id not in shard.gone:
            shard.unreachable.pop(agent_id, None)
            shard.agents[agent_id] = info

    def remove(self, agent_id: str) -> None:
        """It left of its own, or was replaced."""
        self._change(agent_id).agents.pop(agent_id, None)

    def mark_unreachable(self, agent_ids: Iterable[str], since: float) -> None:
        for agent_id in agent_ids:
            shard = self._change(agent_id)
            if shard.agents.pop(agent_id, None) is not None:
                shard.unreachable[agent_id] = since

    def mark_gone(self, agent_id: str, since: float) -> None:
        shard = self._change(agent_id)
        shard.agents.pop(agent_id, None)
        shard.unreachable.pop(agent_id, None)
        shard.gone.setdefault(agent_id, since)

    def set_weights(self, weights: Mapping[str, float]) -> None:
        self.weights |= weights
        self._dirty.add(WEIGHTS)

    def forget(self, agent_ids: Iterable[str]) -> None:
        """Unreachable and gone ones that nobody will ask about any more."""
        for agent_id in agent_ids:
            shard = self._change(agent_id)
            shard.unreachable.pop(agent_id, None)
            shard.gone.pop(agent_id, None)

    def _change(self, agent_id: str) -> Shard:
        name = shard_of(agent_id)
        self._dirty.add(name)
        return self._shards.setdefault(name, Shard())

    # -- contents

    def take_dirty(self) -> dict[str, bytes]:
        """The changed shards as they are to be stored, by name."""
        names, self._dirty = self._dirty, set()
        return {name: self._encode(name) for name in sorted(names)}

    def _encode(self, name: str) -> bytes:
        return _pack(self.weights) if name == WEIGHTS else self._shards[name].encode()


def outdated(since: Mapping[str, float], *, before: float, keep: int) -> list[str]:
    """Those listed before a moment, and the oldest of what is too much."""
    ordered = sorted(since, key=lambda agent_id: since[agent_id])
    surplus = max(0, len(ordered) - keep)
    return [agent_id for place, agent_id in enumerate(ordered) if place < surplus or since[agent_id] < before]


def _pack(value: Any) -> bytes:
    return zlib.compress(orjson.dumps(value), COMPRESSION_LEVEL)
