from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from k8slab.mesos.recordio import LONGEST_LENGTH, Decoder, FramingError, encode


@given(st.lists(st.binary(max_size=300), max_size=20), st.data())
def test_any_chunking_gives_the_records_back(records: list[bytes], data: st.DataObject) -> None:
    stream = b"".join(map(encode, records))
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=30)))
    decoder = Decoder()
    decoded = []
    for low, high in zip([0, *cuts], [*cuts, len(stream)], strict=True):
        decoded += decoder.feed(stream[low:high])
    assert decoded == records
    assert decoder.idle


@pytest.mark.parametrize("stream", [b"x\n", b"-1\n", b"\n", b"1 \n", b"9" * 40, b"9" * 12 + b"\n"])
def test_what_is_no_length(stream: bytes) -> None:
    with pytest.raises(FramingError):
        Decoder().feed(stream)


def test_a_record_longer_than_the_limit_is_refused_before_it_arrives() -> None:
    with pytest.raises(FramingError, match="longer than the limit"):
        Decoder(limit=10).feed(b"11\n")


def test_a_cut_record_is_not_idle() -> None:
    decoder = Decoder()
    assert decoder.feed(b"5\nabc") == []
    assert not decoder.idle


@given(st.binary(max_size=200), st.integers(1, 7))
def test_whatever_arrives_is_records_or_refused_and_held_within_bounds(stream: bytes, step: int) -> None:
    limit = 50
    decoder = Decoder(limit=limit)
    decoded = 0
    try:
        for start in range(0, len(stream), step):
            decoded += sum(map(len, decoder.feed(stream[start : start + step])))
            assert len(decoder._pending) <= limit + LONGEST_LENGTH + step
    except FramingError:
        return
    assert decoded <= len(stream)


@given(st.integers(min_value=0), st.integers(1, 5))
def test_any_announced_length_is_taken_within_the_limit_only(length: int, step: int) -> None:
    decoder = Decoder(limit=1000)
    head = b"%d\n" % length
    chunks = [head[start : start + step] for start in range(0, len(head), step)]
    if 0 < length <= 1000:
        assert [decoder.feed(chunk) for chunk in chunks] == [[]] * len(chunks)
        assert decoder.feed(b"x" * length) == [b"x" * length]
    elif length > 1000:
        with pytest.raises(FramingError):
            for chunk in chunks:
                decoder.feed(chunk)


@given(st.binary(max_size=3), st.text("0123456789", max_size=3))
def test_digits_of_other_scripts_and_signs_are_no_length(junk: bytes, digits: str) -> None:
    if junk.isdigit() or b"\n" in junk or not junk:
        return
    with pytest.raises(FramingError):
        Decoder().feed(digits.encode() + junk + b"\n")
