"""The values that a filter or a condition accepts, however a system writes them.

A CSV file has only text, JSON has numbers and booleans, and a database pads what it has: `2`, `"2"`, `2.0` and `"2 "`
are one value. What a contract writes says which it is: `true` is the boolean, `2` the number, `"new"` the text.
"""

from collections.abc import Sequence
from decimal import Decimal

from pagefold.projections.transforms.decimals import read_decimal
from pagefold.projections.transforms.errors import InvalidValue

_BOOLEANS = {"true": True, "1": True, "false": False, "0": False}
_NUMBERS = frozenset({int, float, Decimal})


class AcceptedValues:
    """A set of texts, numbers and booleans."""

    def __init__(self, values: Sequence[object]) -> None:
        self._booleans = frozenset(value for value in values if type(value) is bool)
        self._numbers = frozenset(read_decimal(value) for value in values if type(value) in _NUMBERS)
        self._texts = frozenset(value for value in values if type(value) is str)

    def has(self, value: object) -> bool:
        """Whether a value of a record is one of these. Blank values, lists and objects are none."""
        kind = type(value)
        if kind is str:
            return value in self._texts or self._has_text(value)  # type: ignore[arg-type]  # it is text
        if kind is bool:
            return value in self._booleans or ("true" if value else "false") in self._texts
        number = _number_in(value) if kind in _NUMBERS else None
        return number is not None and self._has_number(number)

    def _has_text(self, value: str) -> bool:
        text = value.strip()
        if text in self._texts and text:
            return True
        if self._booleans and _BOOLEANS.get(text.casefold()) in self._booleans:
            return True
        return bool(self._numbers) and _number_in(text) in self._numbers

    def _has_number(self, value: Decimal) -> bool:
        if value in self._numbers:
            return True
        if self._booleans and value in {0, 1} and bool(value) in self._booleans:
            return True
        return bool(self._texts) and (format(value, "f") in self._texts or _plain(value) in self._texts)


def _number_in(value: object) -> Decimal | None:
    """The number that a value is; None if it is none."""
    try:
        return read_decimal(value)
    except InvalidValue:
        return None


def _plain(value: Decimal) -> str:
    """The text of a number without zeros that mean nothing."""
    text = format(value, "f")
    return text.rstrip("0").rstrip(".") if "." in text else text
