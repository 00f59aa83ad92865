"""Kubernetes quantities: "250m", "64Mi", "1.5", "2e3"."""

from __future__ import annotations

import math
from decimal import Decimal
from typing import Final

_SUFFIXES: Final = {
    "n": Decimal("1e-9"),
    "u": Decimal("1e-6"),
    "m": Decimal("1e-3"),
    "": Decimal(1),
    "k": Decimal(10) ** 3,
    "M": Decimal(10) ** 6,
    "G": Decimal(10) ** 9,
    "T": Decimal(10) ** 12,
    "P": Decimal(10) ** 15,
    "E": Decimal(10) ** 18,
    "Ki": Decimal(2) ** 10,
    "Mi": Decimal(2) ** 20,
    "Gi": Decimal(2) ** 30,
    "Ti": Decimal(2) ** 40,
    "Pi": Decimal(2) ** 50,
    "Ei": Decimal(2) ** 60,
}


# As in the original, which counts in 64 bits: what is more is taken for this.
LARGEST: Final = Decimal(2**63 - 1)
# With so many digits before the point even a billionth ("n") of it is more than LARGEST.
_DIGITS: Final = 30


def parse(quantity: str | int | float) -> Decimal:
    """The exact value, at most LARGEST either way. Raises ValueError for what is no quantity."""
    text = str(quantity).strip()
    number = text.rstrip("EKMGTPikmun")
    # "1e3" and "1E3" are exponents and end in a digit, so that only a true suffix is cut off here.
    suffix = text[len(number) :]
    try:
        value = Decimal(number)
        if not value.is_finite():
            raise ValueError(f"{quantity!r} is not a quantity")
        return bounded(value, _SUFFIXES[suffix])
    except (ArithmeticError, KeyError) as error:
        raise ValueError(f"{quantity!r} is not a quantity") from error


def bounded(value: Decimal, factor: Decimal) -> Decimal:
    """``value`` × ``factor``, at most LARGEST either way."""
    # Looked at before it is multiplied, which fails for what is beyond all reason.
    if value.adjusted() > _DIGITS:
        return LARGEST.copy_sign(value) if value else Decimal(0)
    return max(-LARGEST, min(LARGEST, value * factor))


def cores(quantity: str | int | float) -> float:
    """CPU cores."""
    return float(parse(quantity))


def whole(quantity: str | int | float) -> int:
    """Bytes, or any count, rounded up."""
    return math.ceil(parse(quantity))
