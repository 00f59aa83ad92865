"""One end of a SPDY/3.1 connection as a state machine: bytes in, events out; calls in, bytes out. No I/O.

Data frames are told in the pieces in which they come, so that nothing but a control frame is ever held here, and those
are bounded. What is wrong with one stream resets that stream; what is wrong with the framing ends the connection.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from k8slab.kube.spdy.frames import (
    HEAD,
    STREAM_ID,
    VERSION,
    Flag,
    GoAway,
    HeaderReader,
    Headers,
    HeaderWriter,
    Malformed,
    Reset,
    Type,
    control,
    data,
    words,
)

WINDOW: Final = 64 * 1024
LARGEST_WINDOW: Final = 0x7FFFFFFF
LARGEST_CONTROL: Final = 32 * 1024
LARGEST_HEADERS: Final = 64 * 1024
MOST_STREAMS: Final = 1024
LARGEST_PIECE: Final = 64 * 1024

_INITIAL_WINDOW_SIZE: Final = 7
_WHOLE: Final = 0


@dataclass(frozen=True)
class Opened:
    stream: int
    headers: Headers
    fin: bool


@dataclass(frozen=True)
class Replied:
    stream: int
    headers: Headers
    fin: bool


@dataclass(frozen=True)
class Received:
    """A piece of data; ``fin``: the last one, perhaps empty."""

    stream: int
    content: bytes
    fin: bool


@dataclass(frozen=True)
class WasReset:
    stream: int
    status: int


@dataclass(frozen=True)
class Widened:
    """More may be sent now, on one stream or (0) on all."""

    stream: int


@dataclass(frozen=True)
class Pong:
    number: int


@dataclass(frozen=True)
class WentAway:
    status: int


@dataclass(frozen=True)
class Failed:
    """The connection is over: what is still to be sent ends with a GOAWAY of ``status``."""

    status: GoAway
    why: str


Event = Opened | Replied | Received | WasReset | Widened | Pong | WentAway | Failed


@dataclass
class _Stream:
    window: int
    received: int = 0
    consumed: int = 0
    here_done: bool = False
    there_done: bool = False


@dataclass
class _DataFrame:
    stream: int
    left: int
    fin: bool


@dataclass
class Connection:
    """``server`` opens even streams, a client odd ones. The peer can open no more once there are ``most_streams``.

    The peer's windows are respected from its first WINDOW_UPDATE or SETTINGS on: the library behind kubectl sends
    neither, and its transfers would stop for ever after 64 KiB.
    """

    server: bool
    most_streams: int = MOST_STREAMS
    over: bool = False
    _in: bytearray = field(default_factory=bytearray)
    _out: list[bytes] = field(default_factory=list)
    _streams: dict[int, _Stream] = field(default_factory=dict)
    _reader: HeaderReader = field(default_factory=lambda: HeaderReader(LARGEST_HEADERS))
    _writer: HeaderWriter = field(default_factory=HeaderWriter)
    _whole: _Stream = field(default_factory=lambda: _Stream(WINDOW))
    _initial_window: int = WINDOW
    _peer_windows: bool = False
    _last_of_peer: int = 0
    _next_own: int = 0
    _data: _DataFrame | None = None

    def __post_init__(self) -> None:
        self._next_own = 2 if self.server else 1

    def take(self) -> bytes:
        """What is to be sent."""
        out = b"".join(self._out)
        self._out.clear()
        return out

    def receive(self, content: bytes) -> list[Event]:
        """What the peer's bytes mean; nothing any more once the connection is over."""
        if self.over:
            return []
        self._in += content
        events: list[Event] = []
        try:
            while not self.over and self._step(events):
                pass
        except Malformed as malformed:
            self.end(GoAway.PROTOCOL_ERROR)
            events.append(Failed(GoAway.PROTOCOL_ERROR, str(malformed)))
        return events

    def open(self, headers: Headers, *, fin: bool = False) -> int:
        """The new stream's number."""
        stream, self._next_own = self._next_own, self._next_own + 2
        self._streams[stream] = _Stream(self._initial_window, here_done=fin)
        body = words(stream, 0) + b"\0\0" + self._writer.block(headers)
        self._out.append(control(Type.SYN_STREAM, int(fin), body))
        return stream

    def reply(self, stream: int, headers: Headers) -> None:
        if stream in self._streams:
            self._out.append(control(Type.SYN_REPLY, 0, words(stream) + self._writer.block(headers)))

    def sendable(self, stream: int) -> int:
        """How many bytes the peer takes on this stream now; 0 for one that is closed on this side."""
        state = self._streams.get(stream)
        if state is None or state.here_done:
            return 0
        if not self._peer_windows:
            return LARGEST_PIECE
        return max(0, min(state.window, self._whole.window, LARGEST_PIECE))

    def is_open(self, stream: int) -> bool:
        """Whether anything can still be sent on it."""
        state = self._streams.get(stream)
        return state is not None and not state.here_done

    def send(self, stream: int, content: bytes | memoryview, *, fin: bool = False) -> None:
        """At most ``sendable`` bytes; nothing happens on a stream that is closed on this side."""
        state = self._streams.get(stream)
        if state is None or state.here_done:
            return
        state.window -= len(content)
        self._whole.window -= len(content)
        self._out.append(data(stream, content, fin=fin))
        if fin:
            state.here_done = True
            self._forget_if_done(stream, state)

    def reset(self, stream: int, status: Reset) -> None:
        """End both directions of a stream that is still open."""
        if self._streams.pop(stream, None) is not None:
            self._refuse(stream, status)

    def consumed(self, stream: int, count: int) -> None:
        """The peer may send so many bytes more."""
        self._consumed(_WHOLE, self._whole, count)
        state = self._streams.get(stream)
        if state is not None and not state.there_done:
            self._consumed(stream, state, count)

    def ping(self, number: int) -> None:
        self._out.append(control(Type.PING, 0, words(number)))

    def end(self, status: GoAway = GoAway.OK) -> None:
        """Say that the connection is over; what comes after is not looked at."""
        if not self.over:
            self.over = True
            self._in.clear()
            self._streams.clear()
            self._out.append(control(Type.GOAWAY, 0, words(self._last_of_peer, status)))

    def _consumed(self, number: int, state: _Stream, count: int) -> None:
        state.consumed += count
        if state.consumed >= WINDOW // 2:
            self._out.append(control(Type.WINDOW_UPDATE, 0, words(number, state.consumed)))
            state.consumed = 0

    def _step(self, events: list[Event]) -> bool:
        """Whether a frame, or a piece of one, was there."""
        if self._data is not None:
            return self._piece(self._data, events)
        if len(self._in) < HEAD:
            return False
        length = int.from_bytes(self._in[5:8])
        if not self._in[0] & 0x80:
            stream = int.from_bytes(self._in[:4])
            if stream == 0:
                raise Malformed("data for stream 0")
            self._data = _DataFrame(stream, length, bool(self._in[4] & Flag.FIN))
            del self._in[:HEAD]
            if not length:
                return self._piece(self._data, events)
            return True
        if int.from_bytes(self._in[:2]) != 0x8000 | VERSION:
            raise Malformed("not SPDY/3")
        if length > LARGEST_CONTROL:
            raise Malformed(f"a control frame of {length} bytes")
        if len(self._in) < HEAD + length:
            return False
        kind, flags = int.from_bytes(self._in[2:4]), self._in[4]
        body = bytes(self._in[HEAD : HEAD + length])
        del self._in[: HEAD + length]
        self._control(kind, flags, body, events)
        return True

    def _piece(self, frame: _DataFrame, events: list[Event]) -> bool:
        if frame.left and not self._in:
            return False
        content = bytes(self._in[: frame.left])
        del self._in[: len(content)]
        frame.left -= len(content)
        if not frame.left:
            self._data = None
        fin = frame.fin and not frame.left
        state = self._streams.get(frame.stream)
        if state is None or state.there_done:
            # Nobody will consume it, but it counts against the whole connection's window.
            self._consumed(_WHOLE, self._whole, len(content))
            if state is not None:
                self.reset(frame.stream, Reset.STREAM_ALREADY_CLOSED)
                events.append(WasReset(frame.stream, Reset.STREAM_ALREADY_CLOSED))
            elif self._data is None and not self._was_open(frame.stream):
                self._refuse(frame.stream, Reset.INVALID_STREAM)
            return True
        if content or fin:
            state.there_done = fin
            events.append(Received(frame.stream, content, fin))
            if fin:
                self._forget_if_done(frame.stream, state)
        return True

    def _was_open(self, stream: int) -> bool:
        """Such a stream may still get what was under way when it was closed: no news to its sender."""
        return stream < self._next_own if stream % 2 != int(self.server) else stream <= self._last_of_peer

    def _control(self, kind: int, flags: int, body: bytes, events: list[Event]) -> None:
        match kind:
            case Type.SYN_STREAM:
                self._syn_stream(flags, body, events)
            case Type.SYN_REPLY | Type.HEADERS:
                number = _number(body, 0)
                headers = self._reader.block(body[4:])
                state = self._streams.get(number)
                if state is None or state.there_done:
                    return
                fin = bool(flags & Flag.FIN)
                state.there_done = fin
                if kind == Type.SYN_REPLY:
                    events.append(Replied(number, headers, fin))
                elif fin:
                    events.append(Received(number, b"", fin=True))
                if fin:
                    self._forget_if_done(number, state)
            case Type.RST_STREAM:
                number, status = _number(body, 0), _number(body, 4)
                if self._streams.pop(number, None) is not None:
                    events.append(WasReset(number, status))
            case Type.SETTINGS:
                self._settings(body, events)
            case Type.PING:
                number = _number(body, 0)
                if number % 2 == int(self.server):
                    self._out.append(control(Type.PING, 0, words(number)))
                else:
                    events.append(Pong(number))
            case Type.GOAWAY:
                events.append(WentAway(_number(body, 4) if len(body) >= 8 else GoAway.OK))
            case Type.WINDOW_UPDATE:
                self._window_update(_number(body, 0) & STREAM_ID, _number(body, 4), events)
            case _:
                # The draft: frames of a type that is not known are ignored.
                return

    def _syn_stream(self, flags: int, body: bytes, events: list[Event]) -> None:
        stream = _number(body, 0) & STREAM_ID
        if len(body) < 10:
            raise Malformed("a SYN_STREAM that ends too early")
        headers = self._reader.block(body[10:])
        if stream == 0 or stream % 2 != int(self.server) or stream <= self._last_of_peer:
            raise Malformed(f"stream {stream} opened after {self._last_of_peer}")
        self._last_of_peer = stream
        if len(self._streams) >= self.most_streams:
            self._refuse(stream, Reset.REFUSED_STREAM)
            return
        fin = bool(flags & Flag.FIN)
        state = _Stream(self._initial_window, there_done=fin, here_done=bool(flags & Flag.UNIDIRECTIONAL))
        self._streams[stream] = state
        events.append(Opened(stream, headers, fin))
        self._forget_if_done(stream, state)

    def _settings(self, body: bytes, events: list[Event]) -> None:
        count = _number(body, 0)
        if len(body) != 4 + 8 * count:
            raise Malformed("SETTINGS of another length than said")
        for start in range(4, len(body), 8):
            if _number(body, start) & 0xFFFFFF != _INITIAL_WINDOW_SIZE:
                continue
            size = _number(body, start + 4)
            if size > LARGEST_WINDOW:
                raise Malformed(f"a window of {size} bytes")
            for state in self._streams.values():
                state.window += size - self._initial_window
            self._initial_window, self._peer_windows = size, True
            events.append(Widened(_WHOLE))

    def _window_update(self, stream: int, delta: int, events: list[Event]) -> None:
        self._peer_windows = True
        state = self._whole if stream == _WHOLE else self._streams.get(stream)
        if state is None:
            return
        if delta == 0 or state.window + delta > LARGEST_WINDOW:
            if stream == _WHOLE:
                raise Malformed(f"a window widened by {delta} bytes")
            self.reset(stream, Reset.FLOW_CONTROL_ERROR)
            events.append(WasReset(stream, Reset.FLOW_CONTROL_ERROR))
            return
        state.window += delta
        events.append(Widened(stream))

    def _refuse(self, stream: int, status: Reset) -> None:
        self._out.append(control(Type.RST_STREAM, 0, words(stream, status)))

    def _forget_if_done(self, stream: int, state: _Stream) -> None:
        if state.here_done and state.there_done:
            self._streams.pop(stream, None)


def _number(body: bytes, start: int) -> int:
    if len(body) < start + 4:
        raise Malformed("a control frame that ends too early")
    return int.from_bytes(body[start : start + 4])
