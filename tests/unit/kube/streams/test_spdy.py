"""SPDY/3.1 without I/O: any chunking, any bytes, windows, limits."""

from __future__ import annotations

import itertools
import zlib
from collections.abc import Iterable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from k8slab.kube.spdy import connection as spdy
from k8slab.kube.spdy.connection import Connection, Failed, Opened, Received, WasReset, Widened
from k8slab.kube.spdy.dictionary import DICTIONARY
from k8slab.kube.spdy.frames import (
    GoAway,
    HeaderReader,
    HeaderWriter,
    Malformed,
    Reset,
    Type,
    control,
    data,
    words,
)

NAMES = st.text(st.characters(codec="ascii", categories=("Ll", "Nd")), min_size=1, max_size=12)
HEADERS = st.dictionaries(NAMES, st.text(max_size=40), max_size=6)


def test_the_dictionary_is_the_drafts() -> None:
    # The checksum by which every SPDY/3 header block names its dictionary: 78 bb e3 c6 a7 c2.
    assert (len(DICTIONARY), zlib.adler32(DICTIONARY)) == (1423, 0xE3C6A7C2)
    assert HeaderWriter().block({})[2:6] == bytes.fromhex("e3c6a7c2")


@given(st.lists(HEADERS, min_size=1, max_size=5))
def test_header_blocks_share_one_state(blocks: list[dict[str, str]]) -> None:
    writer, reader = HeaderWriter(), HeaderReader(1 << 16)
    assert [reader.block(writer.block(one)) for one in blocks] == blocks


OPERATION = st.one_of(
    st.tuples(st.just("open"), HEADERS, st.booleans()),
    st.tuples(st.just("send"), st.integers(0, 5), st.binary(max_size=3000), st.booleans()),
    st.tuples(st.just("reset"), st.integers(0, 5)),
    st.tuples(st.just("ping"), st.integers(0, 100)),
)


def perform(client: Connection, operations: Iterable[tuple[object, ...]]) -> bytes:
    opened: list[int] = []
    for operation in operations:
        match operation:
            case ("open", dict(headers), bool(fin)):
                opened.append(client.open(headers, fin=fin))
            case ("send", int(which), bytes(content), bool(fin)) if which < len(opened):
                client.send(opened[which], content, fin=fin)
            case ("reset", int(which)) if which < len(opened):
                client.reset(opened[which], Reset.CANCEL)
            case ("ping", int(number)):
                client.ping(2 * number + 1)
    return client.take()


def cut(content: bytes, places: list[int]) -> list[bytes]:
    edges = sorted({0, len(content), *(place % (len(content) + 1) for place in places)})
    return [content[start:end] for start, end in itertools.pairwise(edges)]


def joined(events: list[spdy.Event]) -> list[spdy.Event]:
    """Pieces of one stream's data that follow each other, as one: how they were cut is nobody's business."""
    result: list[spdy.Event] = []
    for event in events:
        last = result[-1] if result else None
        if isinstance(event, Received) and isinstance(last, Received) and last.stream == event.stream and not last.fin:
            result[-1] = Received(event.stream, last.content + event.content, event.fin)
        else:
            result.append(event)
    return result


@given(st.lists(OPERATION, max_size=30), st.lists(st.integers(0, 1 << 20), max_size=40))
def test_events_do_not_depend_on_how_the_bytes_were_cut(
    operations: list[tuple[object, ...]], places: list[int]
) -> None:
    sent = perform(Connection(server=False), operations)
    whole, pieces = Connection(server=True), Connection(server=True)
    expected = joined(whole.receive(sent))
    found = joined([event for piece in cut(sent, places) for event in pieces.receive(piece)])
    assert found == expected
    assert pieces.take() == whole.take()
    assert not any(isinstance(event, Failed) for event in expected)


@given(st.lists(st.binary(max_size=200), max_size=20))
@settings(max_examples=300)
def test_any_bytes_end_the_connection_properly_or_mean_something(chunks: list[bytes]) -> None:
    held(Connection(server=True), chunks)


@given(
    st.lists(
        st.tuples(st.sampled_from([*Type, 5, 77]), st.integers(0, 255), st.binary(max_size=60)).map(
            lambda parts: control(*parts)
        )
        | st.tuples(st.integers(0, 9), st.binary(max_size=60), st.booleans()).map(
            lambda parts: data(parts[0], parts[1], fin=parts[2])
        ),
        max_size=20,
    )
)
@settings(max_examples=300)
def test_any_frames_end_the_connection_properly_or_mean_something(frames: list[bytes]) -> None:
    held(Connection(server=True), frames)


def held(connection: Connection, chunks: list[bytes]) -> None:
    for chunk in chunks:
        events = connection.receive(chunk)
        assert len(connection._in) <= spdy.LARGEST_CONTROL + 8
        if connection.over:
            assert isinstance(events[-1], Failed)
            assert connection.take().endswith(control(Type.GOAWAY, 0, words(connection._last_of_peer, 1)))
            assert connection.receive(b"more") == []
            return


def test_a_header_bomb_ends_the_connection() -> None:
    bomb = HeaderWriter().block({"a": "x" * 50_000_000})
    assert len(bomb) > spdy.LARGEST_CONTROL
    packed = HeaderWriter().block({"a": "x" * 5_000_000})
    assert len(packed) < spdy.LARGEST_CONTROL
    with pytest.raises(Malformed, match="more than"):
        HeaderReader(spdy.LARGEST_HEADERS).block(packed)
    for block in (bomb, packed):
        server = Connection(server=True)
        (failed,) = server.receive(control(Type.SYN_STREAM, 0, words(1, 0) + b"\0\0" + block))
        assert isinstance(failed, Failed)
        assert server.take() == control(Type.GOAWAY, 0, words(0, GoAway.PROTOCOL_ERROR))


def test_more_streams_than_allowed_are_refused_and_the_others_go_on() -> None:
    client, server = Connection(server=False), Connection(server=True, most_streams=10)
    for _ in range(2_000):
        client.open({"streamtype": "data"})
    events = server.receive(client.take())
    assert [event.stream for event in events if isinstance(event, Opened)] == list(range(1, 21, 2))
    refused = client.receive(server.take())
    assert refused == [WasReset(number, Reset.REFUSED_STREAM) for number in range(21, 4001, 2)]
    client.send(19, b"still here")
    assert server.receive(client.take()) == [Received(19, b"still here", fin=False)]


def test_windows_are_widened_as_data_is_consumed() -> None:
    client, server = Connection(server=False), Connection(server=True)
    stream = client.open({})
    server.receive(client.take())
    client.send(stream, b"x" * 60_000)
    server.receive(client.take())
    server.consumed(stream, 30_000)
    assert server.take() == b""
    server.consumed(stream, 30_000)
    assert client.receive(server.take()) == [Widened(0), Widened(stream)]
    assert client.sendable(stream) == spdy.LARGEST_PIECE


def test_the_windows_of_a_peer_that_has_them_are_respected() -> None:
    client, server = Connection(server=False), Connection(server=True)
    stream = client.open({})
    server.receive(client.take())
    for _ in range(3):
        server.send(stream, b"x" * server.sendable(stream))
    assert server.sendable(stream) == spdy.LARGEST_PIECE, "a peer without windows must not be waited for"
    client.receive(server.take())
    client.consumed(stream, 3 * spdy.WINDOW - 100)
    server.receive(client.take())
    assert server.sendable(stream) == spdy.WINDOW - 100
    server.send(stream, b"x" * (spdy.WINDOW - 100))
    assert server.sendable(stream) == 0
    client.consumed(stream, 40_000)
    assert Widened(stream) in server.receive(client.take())
    assert server.sendable(stream) == 40_000


def test_half_closed_both_ways_and_data_after_the_end() -> None:
    client, server = Connection(server=False), Connection(server=True)
    stream = client.open({})
    client.send(stream, b"last", fin=True)
    assert server.receive(client.take())[1:] == [Received(stream, b"last", fin=True)]
    server.send(stream, b"answer")
    assert client.receive(server.take()) == [Received(stream, b"answer", fin=False)]
    events = server.receive(data(stream, b"too late", fin=False))
    assert events == [WasReset(stream, Reset.STREAM_ALREADY_CLOSED)]
    assert not server.is_open(stream)
    assert server.receive(data(99, b"nobody", fin=False)) == []
    assert server.take().endswith(control(Type.RST_STREAM, 0, words(99, Reset.INVALID_STREAM)))


@pytest.mark.parametrize(
    "frame",
    [
        b"\x80\x02" + control(Type.PING, 0, words(1))[2:],
        data(0, b"x", fin=False),
        control(Type.SYN_STREAM, 0, words(2, 0) + b"\0\0" + HeaderWriter().block({})),
        control(Type.SETTINGS, 0, words(5)),
        control(Type.WINDOW_UPDATE, 0, words(0, 0)),
        control(Type.RST_STREAM, 0, b"\0"),
    ],
)
def test_what_breaks_the_rules_ends_the_connection(frame: bytes) -> None:
    server = Connection(server=True)
    (failed,) = server.receive(frame)
    assert isinstance(failed, Failed)
    assert server.take() == control(Type.GOAWAY, 0, words(0, GoAway.PROTOCOL_ERROR))
