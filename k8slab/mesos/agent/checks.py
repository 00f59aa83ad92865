"""Health checks and checks of a task: COMMAND, HTTP and TCP, on its own machine, again and again.

A health check says healthy or not and may end the task; a check only reports what it saw. Both may be wrong about
nothing: a probe that takes too long has seen nothing, which for a health check is a failure.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import aiohttp

log = logging.getLogger(__name__)

HEALTHY_STATUSES = range(200, 400)

# A CommandInfo to its exit code, where the task lives; cancelled when its time is up.
Command = Callable[[Mapping[str, Any]], Awaitable[int]]
Seen = dict[str, Any]
OnHealth = Callable[[bool, bool], Awaitable[None]]
OnCheck = Callable[[Seen], Awaitable[None]]


def kind_of(spec: Mapping[str, Any]) -> str:
    """``COMMAND``, ``HTTP`` or ``TCP``; older frameworks leave the type to what is described."""
    return str(spec.get("type") or next((name for name in ("COMMAND", "HTTP", "TCP") if name.lower() in spec), ""))


def nothing_seen(spec: Mapping[str, Any]) -> Seen:
    """The CheckStatusInfo of a check that has not told anything (yet)."""
    kind = kind_of(spec)
    return {"type": kind, kind.lower(): {}}


async def watch_health(spec: Mapping[str, Any], command: Command, tell: OnHealth) -> None:
    """For ever: ``tell(healthy, kill)`` at the first success, at the first after failures, and at every failure.

    Failures in the grace period count only after a success. ``kill``: there were as many in a row as are borne.
    """
    loop = asyncio.get_running_loop()
    grace_ends = loop.time() + spec.get("grace_period_seconds", 10.0)
    borne = spec.get("consecutive_failures", 3)
    failures, ever_healthy = 0, False
    await asyncio.sleep(spec.get("delay_seconds", 15.0))
    while True:
        seen = await _probe(spec, spec.get("command") or {}, command)
        if _healthy(seen):
            if failures or not ever_healthy:
                await tell(True, False)
            failures, ever_healthy = 0, True
        elif ever_healthy or loop.time() > grace_ends:
            failures += 1
            log.warning("health check failed, %d in a row", failures)
            await tell(False, failures >= borne)
        await asyncio.sleep(spec.get("interval_seconds", 10.0))


async def watch_check(spec: Mapping[str, Any], command: Command, tell: OnCheck) -> None:
    """For ever: ``tell(CheckStatusInfo)`` whenever it is another one than before."""
    last = nothing_seen(spec)
    await asyncio.sleep(spec.get("delay_seconds", 15.0))
    while True:
        seen = await _probe(spec, (spec.get("command") or {}).get("command") or {}, command)
        if seen != last:
            last = seen
            await tell(seen)
        await asyncio.sleep(spec.get("interval_seconds", 10.0))


def _healthy(seen: Seen) -> bool:
    match seen["type"]:
        case "COMMAND":
            return bool(seen["command"].get("exit_code") == 0)
        case "HTTP":
            return seen["http"].get("status_code", 0) in HEALTHY_STATUSES
    return bool(seen.get("tcp", {}).get("succeeded", False))


async def _probe(spec: Mapping[str, Any], command_info: Mapping[str, Any], command: Command) -> Seen:
    seen = nothing_seen(spec)
    limit = spec.get("timeout_seconds", 20.0)
    try:
        # Zero means that there is no limit.
        async with asyncio.timeout(limit or None):
            match kind_of(spec):
                case "COMMAND":
                    seen["command"] = {"exit_code": await command(command_info)}
                case "HTTP":
                    seen["http"] = {"status_code": await _status(spec["http"])}
                case "TCP":
                    seen["tcp"] = {"succeeded": await _connects(spec["tcp"])}
    except TimeoutError:
        log.warning("%s check gave no answer within %g s", seen["type"], limit)
    except (OSError, aiohttp.ClientError, KeyError, ValueError) as error:
        log.warning("%s check: %s %s", seen["type"], type(error).__name__, error)
    return seen


def _host(spec: Mapping[str, Any]) -> str:
    return "::1" if spec.get("protocol") == "IPv6" else "127.0.0.1"


async def _status(http: Mapping[str, Any]) -> int:
    host = _host(http)
    where = f"[{host}]" if ":" in host else host
    url = f"{http.get('scheme', 'http')}://{where}:{int(http['port'])}{http.get('path', '')}"
    async with aiohttp.ClientSession() as session, session.get(url, ssl=False) as response:
        return response.status


async def _connects(tcp: Mapping[str, Any]) -> bool:
    try:
        _, writer = await asyncio.open_connection(_host(tcp), int(tcp["port"]))
    except OSError:
        return False
    writer.close()
    return True
