from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from k8slab.mesos.recordio import Decoder, FramingError, encode


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
