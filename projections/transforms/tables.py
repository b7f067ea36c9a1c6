"""Tables that transforms look values up in: labels by code, parents by code, exchange rates by day.

A table is made once, from rows that the caller has read, and is shared by every mapping that names it.
"""

import unicodedata
from bisect import bisect_right
from collections.abc import Iterable, Mapping
from datetime import date
from decimal import Decimal

from msgspec import UNSET

from pagefold.projections.transforms.decimals import read_decimal
from pagefold.projections.transforms.errors import InvalidMapping, InvalidValue
from pagefold.projections.transforms.value_types import is_blank

MAX_TABLE_ROWS = 2_000_000
MAX_KEY_BITS = 128
MAX_TABLE_CHARACTERS = 200_000_000


def key_text(value: object) -> str | None:
    """The text under which a value is looked up: text without space around it, or an integer; else None."""
    if type(value) is str:
        return value.strip()
    if type(value) is int:
        return str(value) if value.bit_length() <= MAX_KEY_BITS else None
    if type(value) is bool:
        return "true" if value else "false"
    if isinstance(value, Decimal) and value.is_finite() and value == value.to_integral_value():
        return format(value.quantize(Decimal(1)), "f") if value.adjusted() < 40 else None  # noqa: PLR2004  # digits of an id
    return None


def _normalised(text: str, *, ignore_case: bool) -> str:
    text = unicodedata.normalize("NFC", text)
    return unicodedata.normalize("NFC", text.casefold()) if ignore_case else text


class LookupTable:
    """Values by key. Keys are compared in Unicode's composed form, and without case if `ignore_case`.

    With `locales`, a row's value is a tuple of texts in their order, so that a million rows stay small.
    """

    def __init__(
        self,
        name: str,
        rows: Iterable[tuple[object, object]],
        *,
        locales: tuple[str, ...] = (),
        ignore_case: bool = False,
    ) -> None:
        """Takes each row's key and value. Rows with a blank key are left out.

        Raises `InvalidMapping` for two rows with one key and other values, for a key that is neither text nor an
        integer, and beyond 2,000,000 rows or 200,000,000 characters.
        """
        self.name = name
        self.locales = locales
        self.ignore_case = ignore_case
        self._values: dict[str, object] = {}
        self._seen: dict[object, object] = {}
        self._characters = 0
        for key, value in rows:
            if not is_blank(key):
                self._add(key, value)
        self._seen.clear()

    def _add(self, key: object, value: object) -> None:
        text = key_text(key)
        if text is None:
            raise InvalidMapping(f"tables.{self.name}", f"the key {key!r:.60} is neither a text nor an integer")
        text = _normalised(text, ignore_case=self.ignore_case)
        value = self._shared(value)
        if self._values.setdefault(text, value) != value:
            raise InvalidMapping(f"tables.{self.name}", f"two rows have the key {text!r:.60}, with other values")
        self._characters += len(text)
        if len(self._values) > MAX_TABLE_ROWS or self._characters > MAX_TABLE_CHARACTERS:
            most = f"{MAX_TABLE_ROWS:,} rows and {MAX_TABLE_CHARACTERS:,} characters"
            raise InvalidMapping(f"tables.{self.name}", f"is too large; a table may have {most}")

    def _shared(self, value: object) -> object:
        """One object for equal values: labels repeat."""
        if isinstance(value, str | tuple):
            known = self._seen.setdefault(value, value)
            if known is value:
                self._characters += sum(map(len, filter(None, value))) if isinstance(value, tuple) else len(value)
            return known
        return value

    def __len__(self) -> int:
        return len(self._values)

    @property
    def exact(self) -> Mapping[str, object]:
        """The values by keys that are written as they are compared: most are, and need no `find`."""
        return self._values

    def find(self, value: object) -> object:
        """The value under a key; UNSET if there is none."""
        text = key_text(value)
        if text is None:
            return UNSET
        return self._values.get(_normalised(text, ignore_case=self.ignore_case), UNSET)


def text_table(name: str, rows: Mapping[str, object], *, ignore_case: bool = False) -> LookupTable:
    """A table from a mapping, as a contract has it: values of any JSON, or texts by locale if all rows are tables."""
    localized = bool(rows) and all(isinstance(value, dict) for value in rows.values())
    if not localized:
        return LookupTable(name, rows.items(), ignore_case=ignore_case)
    locales = tuple(dict.fromkeys(locale for value in rows.values() if isinstance(value, dict) for locale in value))
    texts = (
        (key, tuple(value.get(locale) for locale in locales)) for key, value in rows.items() if isinstance(value, dict)
    )
    return LookupTable(name, texts, locales=locales, ignore_case=ignore_case)


class RateTable:
    """Exchange rates by pair of currencies and day. A rate counts from its day until the next one's."""

    def __init__(self, name: str, rows: Iterable[tuple[str, str, str, object]]) -> None:
        """Takes rows of base currency, quote currency, day (`2026-01-31`) and rate: what one of the base costs.

        Raises `InvalidMapping` for a day or a rate that is none, and for two rates of one pair and day.
        """
        self.name = name
        self._days: dict[tuple[str, str], list[date]] = {}
        self._rates: dict[tuple[str, str, date], Decimal] = {}
        for base, quote, day, rate in rows:
            self._add(base, quote, day, rate)
        for days in self._days.values():
            days.sort()

    def _add(self, base: str, quote: str, day: str, rate: object) -> None:
        key = f"rates.{self.name}"
        try:
            since = date.fromisoformat(day)
        except (TypeError, ValueError):
            raise InvalidMapping(key, f"{day!r:.40} is not a day; write it as 2026-01-31") from None
        try:
            number = read_decimal(rate)
        except InvalidValue as error:
            raise InvalidMapping(key, f"{base}/{quote} of {day}: {error}") from None
        if number <= 0:
            raise InvalidMapping(key, f"{base}/{quote} of {day}: the rate {number} is not positive")
        if self._rates.setdefault((base, quote, since), number) != number:
            raise InvalidMapping(key, f"{base}/{quote} of {day} has two rates")
        days = self._days.setdefault((base, quote), [])
        if since not in days[-1:]:
            days.append(since)

    @property
    def exact(self) -> Mapping[tuple[str, str, date], Decimal]:
        """The rates by pair of currencies and day."""
        return self._rates

    def find(self, base: str, quote: str, day: date) -> tuple[date, Decimal] | None:
        """The newest rate that is not later than the day, with its own day; None if there is none."""
        days = self._days.get((base, quote), [])
        place = bisect_right(days, day)
        return None if place == 0 else (days[place - 1], self._rates[base, quote, days[place - 1]])
