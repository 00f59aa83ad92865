"""One look at whether a container is well: a command in it, a request to it, a connection with it."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import aiohttp
from yarl import URL

from k8slab.kube.kubelet.engine import Engine, EngineError, EngineUnavailable
from k8slab.kube.streams.dial import dial_error

_DEFAULT_TIMEOUT: Final = 1.0
_LARGEST_OUTPUT: Final = 10 * 1024
_MOST_REDIRECTS: Final = 10
AGENT: Final = "kube-probe/1.32"
_HEALTH_CHECK: Final = "/grpc.health.v1.Health/Check"
_SERVING: Final = 1
_GRPC_STATUS: Final = ("UNKNOWN", "SERVING", "NOT_SERVING", "SERVICE_UNKNOWN")


class ProbeError(Exception):
    """No look was possible, which says nothing about the container."""


@dataclass(frozen=True)
class Result:
    """``warning``: the container counts as well, but not in the way that was asked for; ``answered``: what was asked
    over HTTP has answered, if only that it is not well."""

    well: bool
    said: str = ""
    warning: bool = False
    answered: bool = False


@dataclass(frozen=True)
class Target:
    """A running container: its id in the engine, its declaration and its pod's address."""

    engine: Engine
    id: str
    container: Mapping[str, Any]
    address: str


async def probe(target: Target, spec: Mapping[str, Any]) -> Result:
    """``spec``: a Probe of the API. Raises ProbeError, EngineError and EngineUnavailable."""
    timeout = float(spec.get("timeoutSeconds") or _DEFAULT_TIMEOUT)
    if command := (spec.get("exec") or {}).get("command"):
        return await execute(target, command, timeout)
    if http := spec.get("httpGet"):
        return await http_get(target, http, timeout)
    if tcp := spec.get("tcpSocket"):
        return await _tcp(tcp.get("host") or target.address, port_of(target.container, tcp["port"]), timeout)
    if grpc := spec.get("grpc"):
        return await _grpc(target.address, int(grpc["port"]), str(grpc.get("service") or ""), timeout)
    raise ProbeError(f"missing probe handler for {target.container['name']}")


def port_of(container: Mapping[str, Any], port: int | str) -> int:
    """Of a number, or of a name that one of the container's ports has. Raises ProbeError."""
    if isinstance(port, int):
        return port
    for one in container.get("ports") or ():
        if one.get("name") == port:
            return int(one["containerPort"])
    if port.isdigit():
        return int(port)
    raise ProbeError(f'couldn\'t find port: "{port}" in container "{container["name"]}"')


async def execute(target: Target, command: list[str], timeout: float | None) -> Result:
    """Well is what exits with 0; its output is what it says."""
    process = await target.engine.execute(target.id, command, stdin=False, tty=False)
    output = b""

    async def ended() -> int:
        nonlocal output
        async for _, piece in process.output():
            output = (output + piece)[:_LARGEST_OUTPUT]
        return await target.engine.exit_code(process)

    with contextlib.closing(process):
        try:
            async with asyncio.timeout(timeout):
                code = await ended()
        except TimeoutError:
            await _end(target, process.identity)
            return Result(False, f'command "{" ".join(command)}" timed out')
        except asyncio.CancelledError:
            await asyncio.shield(_end(target, process.identity))
            raise
    return Result(code == 0, output.decode(errors="replace"))


async def _end(target: Target, identity: str) -> None:
    """The engine ends no command that it has begun, and nobody waits for this one and its children any more."""
    try:
        pid = await target.engine.pid_of_command(identity)
    except (EngineError, EngineUnavailable):
        return
    if pid:
        _kill(_family(pid), target.id)


def _kill(pids: list[int], container: str) -> None:
    """Only what is in the container: its number may by now be another's, or mean another in the engine's namespace."""
    for pid in pids:
        with contextlib.suppress(OSError):
            if container in Path(f"/proc/{pid}/cgroup").read_text():
                os.kill(pid, signal.SIGKILL)


def _family(pid: int) -> list[int]:
    found = [pid]
    for process in found:
        with contextlib.suppress(OSError):
            for children in Path(f"/proc/{process}/task").glob("*/children"):
                found += map(int, children.read_text().split())
    return found


async def http_get(target: Target, http: Mapping[str, Any], timeout: float | None, *, agent: str = AGENT) -> Result:
    """``agent``: as whom to come, unless the request's own headers say otherwise."""
    host, port = http.get("host") or target.address, port_of(target.container, http["port"])
    path = str(http.get("path") or "/")
    url = f"{str(http.get('scheme') or 'HTTP').lower()}://{_bracketed(host)}:{port}/{path.removeprefix('/')}"
    headers = {"User-Agent": agent, "Accept": "*/*"}
    headers |= {one["name"]: one.get("value") or "" for one in http.get("httpHeaders") or ()}
    try:
        async with asyncio.timeout(timeout), _session() as session:
            return await _get(session, URL(url, encoded=True), headers)
    except aiohttp.ClientConnectorError as trouble:
        return Result(False, f'Get "{url}": {dial_error(host, port, trouble.os_error)}')
    except TimeoutError:
        why = "context deadline exceeded (Client.Timeout exceeded while awaiting headers)"
        return Result(False, f'Get "{url}": {why}')
    except aiohttp.ServerDisconnectedError:
        return Result(False, f'Get "{url}": EOF')
    except (aiohttp.ClientError, OSError, ValueError) as trouble:
        return Result(False, f'Get "{url}": {trouble or type(trouble).__name__}')


def _session() -> aiohttp.ClientSession:
    # Each look makes a connection of its own: a kept one would look well when nobody accepts any more.
    return aiohttp.ClientSession(connector=aiohttp.TCPConnector(force_close=True, ssl=False), auto_decompress=False)


async def _get(session: aiohttp.ClientSession, url: URL, headers: Mapping[str, str]) -> Result:
    """Follows redirections within the host; one that leads away is well enough, with a warning."""
    for _ in range(_MOST_REDIRECTS):
        async with session.get(url, headers=headers, allow_redirects=False) as response:
            body = (await response.content.read(_LARGEST_OUTPUT)).decode(errors="replace")
            if not 200 <= response.status < 400:
                return Result(False, f"HTTP probe failed with statuscode: {response.status}", answered=True)
            if response.status < 300:
                return Result(True, body, answered=True)
            location = response.headers.get("Location")
            following = url.join(URL(location)) if location else None
            if following is None or following.host != url.host:
                said = f"Probe terminated redirects, Response body: {body}"
                return Result(True, said, warning=True, answered=True)
            url = following
    return Result(False, f'Get "{url}": stopped after {_MOST_REDIRECTS} redirects')


async def _tcp(host: str, port: int, timeout: float) -> Result:
    try:
        async with asyncio.timeout(timeout):
            _, writer = await asyncio.open_connection(host, port)
    except (OSError, TimeoutError) as trouble:
        return Result(False, dial_error(host, port, trouble))
    writer.close()
    return Result(True)


async def _grpc(host: str, port: int, service: str, timeout: float) -> Result:
    """The health service that gRPC servers have; its two messages have one field each."""
    # Few pods ask for this, and the library is large.
    from grpc import StatusCode
    from grpc.aio import AioRpcError, insecure_channel

    place = f"{_bracketed(host)}:{port}"
    name = service.encode()
    request = b"\x0a" + bytes([len(name)]) + name if name else b""
    async with insecure_channel(place, options=[("grpc.primary_user_agent", AGENT)]) as channel:
        try:
            answer = await channel.unary_unary(_HEALTH_CHECK)(request, timeout=timeout)
        except AioRpcError as trouble:
            match trouble.code():
                case StatusCode.UNIMPLEMENTED:
                    why = "error: this server does not implement the grpc health protocol (grpc.health.v1.Health)"
                    why = f"{why}: {trouble.details()}"
                case StatusCode.UNAVAILABLE | StatusCode.DEADLINE_EXCEEDED:
                    why = f'timeout: failed to connect service "{place}" within {timeout:g}s: {trouble.details()}'
                case _:
                    why = f"error: health rpc probe failed: {trouble.details()}"
            return Result(False, why)
    status = answer[1] if len(answer) > 1 and answer[0] == 0x08 else 0
    if status == _SERVING:
        return Result(True, "service healthy")
    word = _GRPC_STATUS[status] if status < len(_GRPC_STATUS) else str(status)
    return Result(False, f'service unhealthy (responded with "{word}")')


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host
