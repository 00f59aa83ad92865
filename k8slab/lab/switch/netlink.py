"""Netlink without ceremony: whole batches in one send, acknowledgements collected, answers read where they lie.

pyroute2 composes what is said to the kernel (``messages.py``). The conversation is held here because a socket of our
own can be opened in any thread and namespace without an event loop, waits no longer than it is told to, and reads the
few attributes the switch needs some fifty times faster than a full decode.
"""

from __future__ import annotations

import errno
import os
import socket
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

_HEADER = struct.Struct("=IHHII")
_ATTRIBUTE = struct.Struct("=HH")
_NLMSG_ERROR, _NLMSG_DONE = 2, 3
_FLAG_DUMP_INTERRUPTED, _FLAG_ACK_TLVS = 0x10, 0x200
_ERROR_TEXT = 1
_SOL_NETLINK, _CAP_ACK, _EXT_ACK = 270, 10, 11
_SO_RCVBUFFORCE = 33
# 128 requests' answers fit with room to spare; stock kernels lose acknowledgements from some 500 on.
_RECEIVE_BUFFER = 4 << 20
_DATAGRAM = 1 << 17
_TIMEOUT = 10.0

RTM_NEWLINK, RTM_DELLINK, RTM_NEWADDR, RTM_NEWROUTE = 16, 17, 20, 24
GROUP_LINK = 1


@dataclass(frozen=True)
class Answer:
    """The kernel's word on one request: ``code`` is an errno, 0 for done; ``replies`` are whole messages."""

    code: int
    text: str
    replies: tuple[bytes, ...] = ()

    def __str__(self) -> str:
        name = errno.errorcode.get(self.code, str(self.code))
        return f"{self.text or os.strerror(self.code)} ({name})"


class Netlink:
    """A route netlink socket of the namespace its thread is in when it is made."""

    def __init__(self, *, groups: int = 0) -> None:
        self.socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, socket.NETLINK_ROUTE)
        try:
            self.socket.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, _RECEIVE_BUFFER)
        except PermissionError:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _RECEIVE_BUFFER)
        for option in (_CAP_ACK, _EXT_ACK):
            self.socket.setsockopt(_SOL_NETLINK, option, 1)
        self.socket.bind((0, groups))
        self.socket.settimeout(_TIMEOUT)
        self._sequence = 0

    def __enter__(self) -> Netlink:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self.socket.close()

    def transact(self, requests: Sequence[bytes]) -> list[Answer]:
        """One send for all requests (each must ask for an acknowledgement), one answer for each, in their order."""
        if not requests:
            return []
        first = self._sequence + 1
        answers: dict[int, Answer] = {}
        replies: dict[int, list[bytes]] = {}
        self.socket.send(b"".join(self._numbered(request) for request in requests))
        while len(answers) < len(requests):
            for kind, flags, sequence, message in messages(self.socket.recv(_DATAGRAM)):
                if sequence < first:
                    continue
                if kind == _NLMSG_ERROR:
                    answers[sequence] = _verdict(message, flags, tuple(replies.get(sequence, ())))
                else:
                    replies.setdefault(sequence, []).append(message)
        return [answers[first + i] for i in range(len(requests))]

    def dump(self, request: bytes) -> list[bytes]:
        """All messages of a dump; starts over when the kernel says that the table changed meanwhile."""
        while True:
            found: list[bytes] = []
            interrupted = False
            self.socket.send(self._numbered(request))
            while True:
                done = False
                for kind, flags, sequence, message in messages(self.socket.recv(_DATAGRAM)):
                    if sequence != self._sequence:
                        continue
                    interrupted = interrupted or bool(flags & _FLAG_DUMP_INTERRUPTED)
                    if kind == _NLMSG_ERROR:
                        raise OSError(_verdict(message, flags).code, str(_verdict(message, flags)))
                    if kind == _NLMSG_DONE:
                        done = True
                    else:
                        found.append(message)
                if done:
                    break
            if not interrupted:
                return found

    def _numbered(self, request: bytes) -> bytes:
        self._sequence += 1
        return request[:8] + struct.pack("=I", self._sequence) + request[12:]


def messages(datagram: bytes) -> Iterator[tuple[int, int, int, bytes]]:
    """(type, flags, sequence, whole message) of each message in a datagram."""
    at = 0
    while at + 16 <= len(datagram):
        length, kind, flags, sequence, _ = _HEADER.unpack_from(datagram, at)
        if length < 16:
            return
        yield kind, flags, sequence, datagram[at : at + length]
        at += (length + 3) & ~3


def attributes(message: bytes, offset: int) -> dict[int, bytes]:
    """Attribute number → value; of a repeated one the last."""
    return dict(attribute_list(message, offset))


def attribute_list(message: bytes, offset: int) -> Iterator[tuple[int, bytes]]:
    while offset + 4 <= len(message):
        length, kind = _ATTRIBUTE.unpack_from(message, offset)
        if length < 4:
            return
        yield kind & 0x3FFF, message[offset + 4 : offset + length]
        offset += (length + 3) & ~3


def _verdict(message: bytes, flags: int, replies: tuple[bytes, ...] = ()) -> Answer:
    (code,) = struct.unpack_from("=i", message, 16)
    text = ""
    if flags & _FLAG_ACK_TLVS:
        # After the errno comes the header of the request (its payload is cut off by the option set above).
        text = attributes(message, 36).get(_ERROR_TEXT, b"").rstrip(b"\0").decode(errors="replace")
    return Answer(code=-code, text=text, replies=replies)


@dataclass(frozen=True)
class LinkInfo:
    """What the switch reads of an interface. ``peer`` is the index of a veth's other end, in whatever namespace."""

    index: int
    flags: int
    name: str
    altnames: tuple[str, ...]
    mac: str
    mtu: int
    peer: int
    master: int
    group: int
    kind: str

    @property
    def up(self) -> bool:
        return bool(self.flags & 0x1)

    @property
    def carrier(self) -> bool:
        return bool(self.flags & 0x10000)


def read_link(message: bytes) -> LinkInfo:
    index, flags = struct.unpack_from("=iI", message, 20)
    found = attributes(message, 32)
    info = attributes(found.get(18, b""), 0)
    return LinkInfo(
        index=index,
        flags=flags,
        name=_text(found.get(3, b"")),
        altnames=tuple(_text(value) for kind, value in attribute_list(found.get(52, b""), 0) if kind == 53),
        mac=found.get(1, b"").hex(":"),
        mtu=_number(found.get(4)),
        peer=_number(found.get(5)),
        master=_number(found.get(10)),
        group=_number(found.get(27)),
        kind=_text(info.get(1, b"")),
    )


def read_address(message: bytes) -> tuple[int, str, int]:
    """(interface index, IPv4 address, prefix length)."""
    prefix, index = message[17], struct.unpack_from("=I", message, 20)[0]
    found = attributes(message, 24)
    return index, socket.inet_ntoa(found.get(2) or found[1]), prefix


def read_route(message: bytes) -> tuple[str, str, int]:
    """(destination as CIDR, gateway or "", outgoing interface) of an IPv4 route in the main table, else ("", "", 0)."""
    if message[20] != 254:
        return "", "", 0
    found = attributes(message, 28)
    destination = socket.inet_ntoa(found.get(1, b"\0\0\0\0"))
    gateway = socket.inet_ntoa(found[5]) if 5 in found else ""
    return f"{destination}/{message[17]}", gateway, _number(found.get(4))


def _text(value: bytes) -> str:
    return value.rstrip(b"\0").decode(errors="replace")


def _number(value: bytes | None) -> int:
    return int.from_bytes(value[:4], "little" if struct.pack("=H", 1)[0] else "big") if value else 0
