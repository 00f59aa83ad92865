from __future__ import annotations

import time
from decimal import Decimal

import pytest

from k8slab.kube import quantity
from k8slab.kube.api.meta import parse_quantity

LARGEST = 2**63 - 1


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("100m", Decimal("0.1")),
        ("1.5Gi", Decimal(3 * 2**29)),
        ("2e3", Decimal(2000)),
        ("1e400", Decimal(LARGEST)),
        ("1e999999", Decimal(LARGEST)),
        ("100Ei", Decimal(LARGEST)),
        ("-100Ei", Decimal(-LARGEST)),
        ("-1e400", Decimal(-LARGEST)),
        ("0e400", Decimal(0)),
    ],
)
def test_both_readers_agree_and_count_in_64_bits(text: str, value: Decimal) -> None:
    assert quantity.parse(text) == value
    assert parse_quantity(text) == value


@pytest.mark.parametrize("text", ["", "abc", "NaN", "Infinity", "1e99999999999999999999", "1.2.3"])
def test_what_is_none_is_none_for_both(text: str) -> None:
    assert parse_quantity(text) is None
    with pytest.raises(ValueError, match="not a quantity"):
        quantity.parse(text)


def test_what_is_nearly_a_quantity_takes_no_time() -> None:
    began = time.process_time()
    assert parse_quantity("1" * 50_000 + "x") is None
    assert time.process_time() - began < 1.0
