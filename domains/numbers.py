"""JSON numbers with a fraction or an exponent, accepted only if a double represents them.

Nearly all JSON readers use doubles. A number that changes on the way would not be what the source sent.
"""

import math
from decimal import Decimal

MAX_EXACT_CHARACTERS = 16
"""A point and fifteen digits, which a double always keeps."""


MAX_SHOWN_CHARACTERS = 40


class InexactNumberError(ValueError):
    """A double cannot represent the number."""

    def __init__(self, text: str, value: float) -> None:
        shown = text if len(text) <= MAX_SHOWN_CHARACTERS else f"{text[:MAX_SHOWN_CHARACTERS]}…"
        kept = f"{value!r} as a double" if math.isfinite(value) else "beyond what a double holds"
        super().__init__(f"the number {shown} is {kept}; write it as a string")


def exact_number(text: str) -> float:
    """The double for a JSON number. Raises `InexactNumberError` if it has another value, or none.

    A number is accepted if the double, or its shortest decimal form, equals what was written: `0.1`, `1e23` and
    `0.5000` are; `1E-999`, which becomes 0, and `1.000000000000000005`, which becomes 1, are not. Many digits and large
    exponents cost no more than reading them.
    """
    value = float(text)
    if len(text) <= MAX_EXACT_CHARACTERS and "e" not in text and "E" not in text:
        return value
    if _is_same(text, value):
        return value
    raise InexactNumberError(text, value)


def _is_same(text: str, value: float) -> bool:
    if value == 0.0:  # an exponent may be of any size here: do not give it to `Decimal`
        digits = text.lower().partition("e")[0]
        return not digits.strip("-0.")
    if not math.isfinite(value):
        return False
    written = Decimal(text)
    return written == Decimal(repr(value)) or written == Decimal(value)
