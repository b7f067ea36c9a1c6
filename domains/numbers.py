"""Numbers with a fraction or an exponent, as JSON writes them: those that a double keeps.

A reader that has doubles, as nearly all have, must read what was written: a number that becomes another one on the way
is no statement of anything.
"""

import math
from decimal import Decimal

MAX_PLAIN_CHARACTERS = 16
"""A point and fifteen digits, of which a double keeps any."""


MAX_SHOWN_CHARACTERS = 40


class InexactNumberError(ValueError):
    """A double cannot tell the number from another one."""

    def __init__(self, text: str, value: float) -> None:
        shown = text if len(text) <= MAX_SHOWN_CHARACTERS else f"{text[:MAX_SHOWN_CHARACTERS]}…"
        kept = f"{value!r} as a double" if math.isfinite(value) else "beyond what a double holds"
        super().__init__(f"the number {shown} is {kept}; write it as a string")


def exact_number(text: str) -> float:
    """The double that a JSON number is. Raises `InexactNumberError` where it is another number, or none.

    It is the same when the shortest decimal that gives the double has the value that was written, or the double
    itself: `0.1`, `1e23` and `0.5000` are, `1E-999`, which becomes 0, and `1.000000000000000005`, which becomes 1, are
    not. Neither many digits nor large exponents cost more than reading them.
    """
    value = float(text)
    if len(text) <= MAX_PLAIN_CHARACTERS and "e" not in text and "E" not in text:
        return value
    if _is_same(text, value):
        return value
    raise InexactNumberError(text, value)


def _is_same(text: str, value: float) -> bool:
    if value == 0.0:  # an exponent may be of any size here, so that `Decimal` does not come into it
        digits = text.lower().partition("e")[0]
        return not digits.strip("-0.")
    if not math.isfinite(value):
        return False
    written = Decimal(text)
    return written == Decimal(repr(value)) or written == Decimal(value)
