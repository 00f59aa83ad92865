"""The master's flags, parsed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from k8slab.mesos.master.allocator import MIN_ALLOCATABLE, Minimums


@dataclass(frozen=True)
class MasterOptions:
    """Times in seconds; ``roles`` is the whitelist, None for any."""

    ip: str
    port: int
    hostname: str
    cluster: str = ""
    allocation_interval: float = 1.0
    agent_ping_timeout: float = 15.0
    max_agent_ping_timeouts: int = 5
    offer_timeout: float | None = None
    min_allocatable: Minimums = MIN_ALLOCATABLE
    roles: frozenset[str] | None = None
    root_submissions: bool = True
    flags: Mapping[str, str] = field(default_factory=dict)

    @property
    def total_ping_timeout(self) -> float:
        return self.agent_ping_timeout * self.max_agent_ping_timeouts
