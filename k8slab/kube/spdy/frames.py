"""Frames of SPDY/3.1 and their header blocks, as bytes and back."""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Mapping
from enum import IntEnum, IntFlag
from typing import Final

from k8slab.kube.spdy.dictionary import DICTIONARY

VERSION: Final = 3
HEAD: Final = 8
LARGEST_DATA: Final = 0xFFFFFF
STREAM_ID: Final = 0x7FFFFFFF

Headers = Mapping[str, str]


class Type(IntEnum):
    SYN_STREAM = 1
    SYN_REPLY = 2
    RST_STREAM = 3
    SETTINGS = 4
    PING = 6
    GOAWAY = 7
    HEADERS = 8
    WINDOW_UPDATE = 9


class Flag(IntFlag):
    FIN = 1
    UNIDIRECTIONAL = 2


class Reset(IntEnum):
    """Why one stream was ended."""

    PROTOCOL_ERROR = 1
    INVALID_STREAM = 2
    REFUSED_STREAM = 3
    UNSUPPORTED_VERSION = 4
    CANCEL = 5
    INTERNAL_ERROR = 6
    FLOW_CONTROL_ERROR = 7
    STREAM_IN_USE = 8
    STREAM_ALREADY_CLOSED = 9


class GoAway(IntEnum):
    """Why the whole connection was ended."""

    OK = 0
    PROTOCOL_ERROR = 1
    INTERNAL_ERROR = 2


class Malformed(Exception):
    """What came is no SPDY: the connection cannot go on, since both ends share one state of compression."""


def control(kind: int, flags: int, body: bytes) -> bytes:
    return b"%s%s" % ((0x8000 | VERSION).to_bytes(2) + kind.to_bytes(2) + bytes((flags,)) + len(body).to_bytes(3), body)


def data(stream: int, content: bytes | memoryview, *, fin: bool) -> bytes:
    """Raises ValueError for more than a frame can hold."""
    if len(content) > LARGEST_DATA:
        raise ValueError(f"{len(content)} bytes do not fit into one frame")
    return b"%s%s" % (stream.to_bytes(4) + bytes((int(fin),)) + len(content).to_bytes(3), content)


def words(*values: int) -> bytes:
    return b"".join(value.to_bytes(4) for value in values)


class HeaderWriter:
    """One connection's header blocks on their way out."""

    def __init__(self) -> None:
        self._deflate = zlib.compressobj(zdict=DICTIONARY)

    def block(self, headers: Headers | Iterable[tuple[str, str]]) -> bytes:
        pairs = list(headers.items() if isinstance(headers, Mapping) else headers)
        plain = [len(pairs).to_bytes(4)]
        for name, value in pairs:
            for text in (name.lower().encode(), value.encode()):
                plain += (len(text).to_bytes(4), text)
        return self._deflate.compress(b"".join(plain)) + self._deflate.flush(zlib.Z_SYNC_FLUSH)


class HeaderReader:
    """One connection's header blocks on their way in, each of at most ``limit`` bytes when unpacked."""

    def __init__(self, limit: int) -> None:
        self._inflate = zlib.decompressobj(zdict=DICTIONARY)
        self._limit = limit

    def block(self, packed: bytes) -> dict[str, str]:
        """Raises Malformed."""
        try:
            plain = self._inflate.decompress(packed, self._limit + 1)
        except zlib.error as error:
            raise Malformed(f"header block: {error}") from None
        if len(plain) > self._limit or self._inflate.unconsumed_tail:
            raise Malformed(f"header block of more than {self._limit} bytes")
        if self._inflate.eof:
            raise Malformed("the compression of headers ended")
        return _headers(plain)


def _headers(plain: bytes) -> dict[str, str]:
    position = 4
    count = int.from_bytes(plain[:4])

    def text() -> str:
        nonlocal position
        if position + 4 > len(plain):
            raise Malformed("header block ends too early")
        end = position + 4 + int.from_bytes(plain[position : position + 4])
        if end > len(plain):
            raise Malformed("header block ends too early")
        value = plain[position + 4 : end]
        position = end
        return value.decode(errors="replace")

    if len(plain) < 4 or count * 8 > len(plain):
        raise Malformed("header block ends too early")
    headers: dict[str, str] = {}
    for _ in range(count):
        name, value = text().lower(), text()
        if not name or name in headers:
            raise Malformed("a header without a name or twice the same")
        headers[name] = value
    if position != len(plain):
        raise Malformed("header block goes on after its end")
    return headers
