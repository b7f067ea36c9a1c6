"""Whether a value is among those that a filter of a contract accepts."""

from collections.abc import Sequence
from decimal import Decimal

_NUMBERS = frozenset({int, float, Decimal})


def is_one_of(value: object, values: Sequence[object]) -> bool:
    """Whether a value is one of these: 1 is not true, and text is not a number; `7.0` is 7."""
    return any(
        value == each and (type(value) is type(each) or {type(value), type(each)} <= _NUMBERS) for each in values
    )
