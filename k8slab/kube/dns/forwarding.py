"""Questions that are not the cluster's, passed on byte by byte to the name servers that the node has.

The same question asked twice at once is passed on once. That also ends a circle of servers that ask one another: the
question that comes round waits for itself, until its time is up.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import secrets
import socket
import struct
import time
from collections.abc import Sequence
from ipaddress import ip_address
from pathlib import Path
from typing import Final

from k8slab.kube.dns.answers import HEADER

log = logging.getLogger(__name__)

PORT: Final = 53
# Of one server, and of all together: resolvers wait for five seconds before they ask again.
PATIENCE: Final = 2.0
WHOLE_PATIENCE: Final = 4.5
MOST_AT_ONCE: Final = 256
_LOOK_AGAIN: Final = 5.0

Server = tuple[str, int]


class NoUpstream(Exception):
    """There is no server that could be asked."""


class NoAnswer(Exception):
    """No server answered, or too many questions are waiting."""


class Upstreams:
    """Whom to ask: those that were named, or those of a resolv.conf, read again when it has changed.

    ``own``: where this server itself is asked; it is never asked by itself.
    """

    def __init__(self, named: Sequence[Server], resolv_conf: Path | None, own: Sequence[Server]) -> None:
        self._named = tuple(one for one in named if not _is_own(one, own))
        self._file = resolv_conf if not named else None
        self._own = own
        self._read: tuple[Server, ...] = ()
        self._version: tuple[int, int] | None = None
        self._looked = float("-inf")

    def servers(self) -> tuple[Server, ...]:
        if self._file is None:
            return self._named
        if time.monotonic() - self._looked > _LOOK_AGAIN:
            self._looked = time.monotonic()
            self._reread(self._file)
        return self._read

    def _reread(self, file: Path) -> None:
        try:
            stat = file.stat()
            version = (stat.st_mtime_ns, stat.st_ino)
            if version == self._version:
                return
            found = name_servers(file.read_text(errors="replace"))
        except OSError:
            version, found = None, []
        self._version = version
        before, self._read = self._read, tuple(one for one in found if not _is_own(one, self._own))
        if self._read != before or version is None:
            who = ", ".join(host for host, _ in self._read)
            log.info("names outside of the cluster: %s", f"asked of {who}" if who else "refused, no server is known")


class Forwarder:
    def __init__(self, upstreams: Upstreams) -> None:
        self._upstreams = upstreams
        self._waiting: dict[tuple[bool, bytes], asyncio.Task[bytes]] = {}

    async def ask(self, wire: bytes, *, stream: bool) -> bytes:
        """The answer to a question, under the question's own id. Raises NoUpstream and NoAnswer."""
        servers = self._upstreams.servers()
        if not servers:
            raise NoUpstream
        key = (stream, wire[2:])
        task = self._waiting.get(key)
        if task is None:
            if len(self._waiting) >= MOST_AT_ONCE:
                raise NoAnswer(f"{MOST_AT_ONCE} questions are waiting already")
            task = self._waiting[key] = asyncio.create_task(_ask_all(servers, wire[2:], stream))
            task.add_done_callback(lambda done: self._done(key, done))
        return wire[:2] + await asyncio.shield(task)

    def _done(self, key: tuple[bool, bytes], task: asyncio.Task[bytes]) -> None:
        del self._waiting[key]
        if not task.cancelled():
            # Whoever asked may have gone; then nobody else would look at it.
            task.exception()

    async def close(self) -> None:
        tasks = list(self._waiting.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def name_servers(text: str) -> list[Server]:
    """Of a resolv.conf; what is no address is passed over."""
    found = []
    for line in text.splitlines():
        match line.split():
            case ["nameserver", address, *_]:
                with contextlib.suppress(ValueError):
                    found.append((str(ip_address(address)), PORT))
    return found


async def _ask_all(servers: Sequence[Server], question: bytes, stream: bool) -> bytes:
    trouble = ""
    try:
        async with asyncio.timeout(WHOLE_PATIENCE):
            for server in servers:
                try:
                    return await exchange(server, question, stream=stream)
                except (OSError, TimeoutError, EOFError) as error:
                    trouble = f"{server[0]}: {str(error) or 'no answer in time'}"
    except TimeoutError:
        trouble = trouble or "no answer in time"
    raise NoAnswer(trouble)


async def exchange(server: Server, question: bytes, *, stream: bool = False, patience: float = PATIENCE) -> bytes:
    """Question and answer without their ids: one of chance is put before the question, and only what comes back under
    it, to the same question, is the answer. Raises OSError, TimeoutError and EOFError."""
    wire = secrets.token_bytes(2) + question
    async with asyncio.timeout(patience):
        return (await (_over_tcp if stream else _over_udp)(server, wire))[2:]


async def _over_udp(server: Server, wire: bytes) -> bytes:
    loop = asyncio.get_running_loop()
    answer: asyncio.Future[bytes] = loop.create_future()
    # Connected, so that the kernel picks a port of its own and lets nobody else answer.
    transport, _ = await loop.create_datagram_endpoint(lambda: _Asking(wire, answer), remote_addr=server)
    try:
        transport.sendto(wire)
        return await answer
    finally:
        transport.close()


async def _over_tcp(server: Server, wire: bytes) -> bytes:
    reader, writer = await asyncio.open_connection(*server)
    try:
        writer.write(struct.pack("!H", len(wire)) + wire)
        (length,) = struct.unpack("!H", await reader.readexactly(2))
        answer = await reader.readexactly(length)
        if not is_answer(wire, answer):
            raise OSError("it answered something else")
        return answer
    finally:
        writer.close()


class _Asking(asyncio.DatagramProtocol):
    def __init__(self, wire: bytes, answer: asyncio.Future[bytes]) -> None:
        self._wire = wire
        self._answer = answer

    def datagram_received(self, data: bytes, addr: object) -> None:
        if not self._answer.done() and is_answer(self._wire, data):
            self._answer.set_result(data)

    def error_received(self, exc: Exception) -> None:
        if not self._answer.done():
            self._answer.set_exception(exc)


def is_answer(question: bytes, answer: bytes) -> bool:
    """Whether it is a response with the same id to the same question; a server that is at a loss may leave that out."""
    if len(answer) < HEADER or answer[:2] != question[:2] or not answer[2] & 0x80:
        return False
    if answer[4:6] == b"\0\0":
        return bool(answer[3] & 0x0F)
    end = question.find(b"\0", HEADER) + 5
    return answer[HEADER:end].lower() == question[HEADER:end].lower()


def _is_own(server: Server, own: Sequence[Server]) -> bool:
    host, port = server
    return any(
        port == number and (host == address or (address == "0.0.0.0" and _is_here(host))) for address, number in own
    )


def _is_here(address: str) -> bool:
    """Whether an address is this machine's: only then a socket can have it."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as probe:
        try:
            probe.bind((address, 0))
        except OSError:
            return False
    return True
