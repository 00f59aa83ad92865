"""ICMP echo and gratuitous ARP, on raw sockets opened in the nodes' namespaces.

A socket stays in the namespace it was opened in, so the hopping thread opens it and the event loop uses it.
"""

from __future__ import annotations

import asyncio
import os
import secrets
import socket
import struct
from collections.abc import Callable, Sequence
from contextlib import suppress

from k8slab.lab.switch.wire import Probe

_SOL_RAW, _ICMP_FILTER = 255, 1
_ECHO_REPLY, _ECHO_REQUEST = 0, 8
_FIRST_RETRY, _LONGEST_RETRY = 0.02, 0.25
_SO_BINDTODEVICE = 25


def open_echo_socket(device: str = "") -> socket.socket:
    """In the calling thread's namespace; answers alone are let through."""
    opened = socket.socket(socket.AF_INET, socket.SOCK_RAW | socket.SOCK_CLOEXEC, socket.IPPROTO_ICMP)
    opened.setblocking(False)
    opened.setsockopt(_SOL_RAW, _ICMP_FILTER, struct.pack("=I", ~(1 << _ECHO_REPLY) & 0xFFFFFFFF))
    if device:
        opened.setsockopt(socket.SOL_SOCKET, _SO_BINDTODEVICE, device.encode())
    return opened


def echo_request(identifier: int, sequence: int, payload: bytes) -> bytes:
    head = struct.pack("!BBHHH", _ECHO_REQUEST, 0, 0, identifier, sequence)
    return struct.pack("!BBHHH", _ECHO_REQUEST, 0, checksum(head + payload), identifier, sequence) + payload


def checksum(data: bytes) -> int:
    if len(data) % 2:
        data += b"\0"
    total: int = sum(struct.unpack(f"!{len(data) // 2}H", data))
    total = (total & 0xFFFF) + (total >> 16)
    return ~(total + (total >> 16)) & 0xFFFF


def read_reply(packet: bytes, identifier: int, payload: bytes) -> tuple[str, int] | None:
    """(sender's address, sequence) of an answer to one of ours, else None."""
    header = (packet[0] & 0x0F) * 4
    if len(packet) < header + 8:
        return None
    kind, _, _, ident, sequence = struct.unpack_from("!BBHHH", packet, header)
    if kind != _ECHO_REPLY or ident != identifier or packet[header + 8 :] != payload:
        return None
    return socket.inet_ntoa(packet[12:16]), sequence


async def exchange(
    probes: Sequence[Probe], sockets: dict[str, socket.socket], *, timeout: float, retry: float = _FIRST_RETRY
) -> dict[str, str]:
    """Send every probe from its sources in turn until it is answered: node → the source that was answered, or ""."""
    loop = asyncio.get_running_loop()
    identifier, payload = secrets.randbelow(0xFFFF) + 1, os.urandom(16)
    answered: dict[str, str] = {}
    changed = asyncio.Event()

    def receive(source: str, opened: socket.socket) -> None:
        with suppress(BlockingIOError, OSError):
            while True:
                reply = read_reply(opened.recv(2048), identifier, payload)
                if reply and reply[1] < len(probes) and probes[reply[1]].address == reply[0]:
                    answered.setdefault(probes[reply[1]].node, source)
                    changed.set()

    for source, opened in sockets.items():
        loop.add_reader(opened, receive, source, opened)
    try:
        deadline = loop.time() + timeout
        turn = 0
        while len(answered) < len(probes) and loop.time() < deadline:
            for number, probe in enumerate(probes):
                if probe.node in answered or not probe.sources:
                    continue
                source = probe.sources[turn % len(probe.sources)].name
                # A source may have lost its own wire meanwhile; the next turn takes another.
                with suppress(OSError):
                    sockets[source].sendto(echo_request(identifier, number, payload), (probe.address, 0))
            pause = min(loop.time() + retry, deadline)
            while len(answered) < len(probes) and loop.time() < pause:
                changed.clear()
                with suppress(TimeoutError):
                    await asyncio.wait_for(changed.wait(), pause - loop.time())
            turn, retry = turn + 1, min(retry * 2, _LONGEST_RETRY)
    finally:
        for opened in sockets.values():
            loop.remove_reader(opened)
    return {probe.node: answered.get(probe.node, "") for probe in probes}


def announce(device: str, mac: str, address: str) -> Callable[[], None]:
    """Tell the neighbours who has the address (in the calling thread's namespace); best effort.

    Returns what closes the socket: closing a packet socket waits for a grace period of the kernel, so the caller
    does it where nobody waits.
    """
    hardware = bytes.fromhex(mac.replace(":", ""))
    own = socket.inet_aton(address)
    frame = b"\xff" * 6 + hardware + struct.pack("!HHHBBH", 0x0806, 1, 0x0800, 6, 4, 1)
    frame += hardware + own + b"\0" * 6 + own
    opened = socket.socket(socket.AF_PACKET, socket.SOCK_RAW | socket.SOCK_CLOEXEC, 0)
    with suppress(OSError):
        opened.bind((device, 0))
        opened.send(frame)
    return opened.close
