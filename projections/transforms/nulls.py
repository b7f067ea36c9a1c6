"""Values by which a source says that there is nothing, besides null and blank text: Odoo's `false`, or `N/A`."""

from collections.abc import Collection
from decimal import Decimal

from pagefold.projections.transforms.paths import Reader

_NUMBERS = frozenset({int, float, Decimal})


class Nulls:
    """A set of texts, numbers and booleans, each compared as its own type: 0 is not false."""

    def __init__(self, values: Collection[object] = ()) -> None:
        self._booleans = frozenset(value for value in values if type(value) is bool)
        self._numbers = frozenset(value for value in values if type(value) in _NUMBERS)
        self._texts = frozenset(value.strip() for value in values if isinstance(value, str))

    def __bool__(self) -> bool:
        """Whether it has any."""
        return bool(self._booleans or self._numbers or self._texts)

    def __contains__(self, value: object) -> bool:
        """Whether a value of a record is one of these. Lists and objects are none."""
        kind = type(value)
        if kind is str:
            return bool(self._texts) and value.strip() in self._texts  # type: ignore[attr-defined]  # it is text
        if kind is bool:
            return value in self._booleans
        return kind in _NUMBERS and value in self._numbers

    def reader(self, read: Reader) -> Reader:
        """Reads null in place of one of these."""

        def read_or_null(record: object) -> object:
            value = read(record)
            return None if value in self else value

        return read_or_null if self else read
