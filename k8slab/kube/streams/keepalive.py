"""Connections that may be silent for long, and yet notice when their peer's machine is gone."""

from __future__ import annotations

import asyncio
import socket
from typing import Any, Final

IDLE_SECONDS: Final = 15
PROBE_SECONDS: Final = 5
PROBES: Final = 3


def watch_over(transport: asyncio.BaseTransport | None) -> None:
    """A peer that is there but does not read for a while is none that is gone: only silence is asked about."""
    raw = transport.get_extra_info("socket") if transport is not None else None
    if raw is not None and raw.family in (socket.AF_INET, socket.AF_INET6):
        _set(raw)


def new_socket(info: Any) -> socket.socket:
    """For aiohttp's connectors; ``info``: as getaddrinfo gives it."""
    family, kind, proto, *_ = info
    made = socket.socket(family=family, type=kind, proto=proto)
    _set(made)
    return made


def _set(raw: Any) -> None:
    raw.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, IDLE_SECONDS)
    raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, PROBE_SECONDS)
    raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, PROBES)
