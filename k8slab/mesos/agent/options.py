"""The agent's flags as its books read them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class AgentOptions:
    """The agent's flags, parsed. Times in seconds."""

    executor_registration_timeout: float = 60.0
    executor_reregistration_timeout: float = 2.0
    executor_shutdown_grace_period: float = 5.0
    flags: Mapping[str, str] = field(default_factory=dict)
