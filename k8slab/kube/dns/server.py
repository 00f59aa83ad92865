"""The name server's two sockets: datagrams, and streams of messages with their length before them (RFC 7766)."""

from __future__ import annotations

import asyncio
import logging
import struct
import time
from collections.abc import Callable
from typing import Final, cast

import dns.exception
import dns.flags
import dns.message
import dns.rcode

from k8slab.kube.dns.answers import Elsewhere, Octets, Reply, answer, question_of
from k8slab.kube.dns.forwarding import Forwarder, NoAnswer, NoUpstream
from k8slab.kube.dns.index import Index
from k8slab.kube.dns.metrics import Metrics

log = logging.getLogger(__name__)

# A stream on which nothing is asked for so long is closed; and so many may be open.
IDLE: Final = 10.0
MOST_STREAMS: Final = 256
# Datagrams whose answers are waited for; what comes beyond is dropped, and asked again by whoever sent it.
MOST_WAITING: Final = 1024


class NameServer:
    """``synced``: whether the index is complete; until then names of the cluster are a failure, not unknown."""

    def __init__(self, index: Index, forwarder: Forwarder, metrics: Metrics, synced: Callable[[], bool]) -> None:
        self._index = index
        self._forwarder = forwarder
        self._metrics = metrics
        self._synced = synced
        self._waiting: set[asyncio.Task[None]] = set()
        self._streams: set[asyncio.Task[None]] = set()
        self._transport: asyncio.DatagramTransport | None = None
        self._listening: asyncio.Server | None = None

    async def start(self, address: str, port: int) -> None:
        """Raises OSError when the port cannot be had."""
        loop = asyncio.get_running_loop()
        self._transport, _ = await loop.create_datagram_endpoint(
            lambda: _Datagrams(self._datagram), local_addr=(address, port)
        )
        self._listening = await asyncio.start_server(self._stream, address, port, reuse_address=True)

    async def close(self) -> None:
        if self._transport is not None:
            self._transport.close()
        if self._listening is not None:
            self._listening.close()
        tasks = [*self._waiting, *self._streams]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._forwarder.close()

    def _datagram(self, wire: bytes, send: Callable[[bytes], None]) -> None:
        found, began = self._judged(wire, stream=False)
        if not _has_to_wait(found):
            send(self._said(found, began, "udp"))
            return
        if len(self._waiting) < MOST_WAITING:
            task = asyncio.create_task(self._later(found, wire, began, send))
            self._waiting.add(task)
            task.add_done_callback(self._waiting.discard)

    async def _later(
        self, found: Reply | Elsewhere | Octets, wire: bytes, began: float, send: Callable[[bytes], None]
    ) -> None:
        send(self._said(await self._completed(found, wire, stream=False), began, "udp"))

    async def _stream(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._streams.add(task)
        try:
            if len(self._streams) <= MOST_STREAMS:
                await self._converse(reader, writer)
        except (OSError, TimeoutError, EOFError) as end:
            log.debug("a stream ended: %s", end)
        finally:
            self._streams.discard(task)
            writer.close()

    async def _converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            async with asyncio.timeout(IDLE):
                (length,) = struct.unpack("!H", await reader.readexactly(2))
                wire = await reader.readexactly(length)
            found, began = self._judged(wire, stream=True)
            said = self._said(await self._completed(found, wire, stream=True), began, "tcp")
            if not said:
                return
            writer.write(struct.pack("!H", len(said)) + said)
            async with asyncio.timeout(IDLE):
                await writer.drain()

    def _judged(self, wire: bytes, *, stream: bool) -> tuple[Reply | Elsewhere | Octets, float]:
        began = time.perf_counter()
        found = answer(wire, self._index, stream=stream)
        if isinstance(found, Reply) and not self._synced() and found.message.rcode() in (0, dns.rcode.NXDOMAIN):
            query = dns.message.from_wire(wire)
            assert isinstance(query, dns.message.QueryMessage)
            found = Elsewhere(query, found.limit).refused(dns.rcode.SERVFAIL)
        self._metrics.asked("tcp" if stream else "udp", found)
        return found, began

    async def _completed(self, found: Reply | Elsewhere | Octets, wire: bytes, *, stream: bool) -> Reply | Octets:
        match found:
            case Elsewhere():
                return await self._forwarded(found, wire, stream=stream)
            case Reply(missing=str(name)) if name:
                await self._chased(found)
        return found

    async def _forwarded(self, found: Elsewhere, wire: bytes, *, stream: bool) -> Reply | Octets:
        try:
            said = await self._forwarder.ask(wire, stream=stream)
        except NoUpstream:
            return found.refused(dns.rcode.REFUSED)
        except NoAnswer as trouble:
            self._metrics.forward_failures.inc()
            log.info("%s %s: %s", *question_of(found.query), trouble)
            return found.refused(dns.rcode.SERVFAIL)
        return Octets(said, dns.rcode.to_text(dns.rcode.Rcode(said[3] & 0x0F)))

    async def _chased(self, found: Reply) -> None:
        """Resolvers of pods do not follow an alias themselves: what it stands for comes with it, if anybody knows."""
        (question,) = found.message.question
        query = dns.message.make_query(found.missing, question.rdtype, use_edns=0, payload=4096)
        try:
            said = dns.message.from_wire(await self._forwarder.ask(query.to_wire(), stream=False))
            if said.flags & dns.flags.TC:
                said = dns.message.from_wire(await self._forwarder.ask(query.to_wire(), stream=True))
        except (NoUpstream, NoAnswer, dns.exception.DNSException) as trouble:
            log.debug("%s: %s", found.missing, trouble)
            return
        found.message.answer += said.answer
        if said.rcode() == dns.rcode.NXDOMAIN:
            found.message.set_rcode(dns.rcode.NXDOMAIN)

    def _said(self, found: Reply | Elsewhere | Octets, began: float, protocol: str) -> bytes:
        assert not isinstance(found, Elsewhere)
        wire = found.wire() if isinstance(found, Reply) else found.wire
        if wire:
            self._metrics.answered(protocol, found.rcode, time.perf_counter() - began)
        return wire


def _has_to_wait(found: Reply | Elsewhere | Octets) -> bool:
    return isinstance(found, Elsewhere) or (isinstance(found, Reply) and bool(found.missing))


class _Datagrams(asyncio.DatagramProtocol):
    def __init__(self, handle: Callable[[bytes, Callable[[bytes], None]], None]) -> None:
        self._handle = handle
        self._transport: asyncio.DatagramTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # Not looked at: the loop's own class of it need not be one of asyncio's.
        self._transport = cast(asyncio.DatagramTransport, transport)

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        def send(wire: bytes) -> None:
            if wire and self._transport is not None and not self._transport.is_closing():
                self._transport.sendto(wire, addr)

        try:
            self._handle(data, send)
        except Exception:
            # One datagram, whatever is in it, is not worth the server.
            log.exception("a question of %s was not answered", addr[0])

    def error_received(self, exc: Exception) -> None:
        log.debug("a datagram was not sent: %s", exc)
