"""RecordIO, the framing of every Mesos event stream: length in decimal, a newline, then exactly that many bytes."""

from __future__ import annotations

LONGEST_LENGTH = 12
LARGEST_RECORD = 64 * 1024 * 1024


class FramingError(ValueError):
    """The bytes are not RecordIO; the stream cannot be resynchronized."""


def encode(record: bytes) -> bytes:
    return b"%d\n%b" % (len(record), record)


class Decoder:
    """Turns chunks, cut anywhere, back into records. ``limit`` bounds one record, in bytes."""

    def __init__(self, limit: int = LARGEST_RECORD) -> None:
        self._limit = limit
        self._pending = bytearray()
        self._length: int | None = None

    @property
    def idle(self) -> bool:
        """Whether the stream may end here without cutting a record."""
        return not self._pending and self._length is None

    def feed(self, chunk: bytes) -> list[bytes]:
        """The records that ``chunk`` completes, in order. Raises FramingError."""
        pending = self._pending
        pending += chunk
        records: list[bytes] = []
        start = 0
        while True:
            if self._length is None:
                end = pending.find(b"\n", start)
                if end < 0:
                    if len(pending) - start > LONGEST_LENGTH:
                        raise FramingError("a record's length is missing")
                    break
                self._length = self._parse_length(bytes(pending[start:end]))
                start = end + 1
            if len(pending) - start < self._length:
                break
            records.append(bytes(pending[start : start + self._length]))
            start += self._length
            self._length = None
        del pending[:start]
        return records

    def _parse_length(self, digits: bytes) -> int:
        if not digits.isdigit() or len(digits) > LONGEST_LENGTH:
            raise FramingError(f"not a record's length: {digits[:LONGEST_LENGTH]!r}")
        length = int(digits)
        if length > self._limit:
            raise FramingError(f"a record of {length} bytes is longer than the limit of {self._limit}")
        return length
