"""Quantities added up and written as the original writes them."""

from __future__ import annotations

from decimal import Decimal
from typing import Final

BINARY: Final = tuple(
    (Decimal(2) ** (10 * power), f"{letter}i") for power, letter in reversed([*enumerate("KMGTPE", 1)])
)
DECIMAL: Final = tuple((Decimal(10) ** (3 * power), letter) for power, letter in reversed([*enumerate("kMGTPE", 1)]))


def written(amount: Decimal, like: str = "") -> str:
    """The amount with the largest suffix that leaves it whole; binary ones when ``like`` is written so."""
    if amount == 0:
        return "0"
    if amount != amount.to_integral_value():
        milli = amount * 1000
        return f"{int(milli)}m" if milli == milli.to_integral_value() else f"{int(amount * 10**9)}n"
    for factor, suffix in BINARY if like.endswith("i") else DECIMAL:
        if amount % factor == 0:
            return f"{int(amount / factor)}{suffix}"
    return str(int(amount))
