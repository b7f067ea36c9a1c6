"""What a sample of records has: of each field, its kinds and forms of values, how often it is filled, examples."""

import re
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from typing import Literal, TypeAlias

from pagefold.domains.locales import canonical_locale
from pagefold.engine.intake.contracts.record_fields import kind_of
from pagefold.projections.transforms.gtins import gtin_problem
from pagefold.projections.transforms.value_types import is_blank

Form: TypeAlias = Literal["integer", "point", "comma", "boolean", "date", "moment", "gtin", "url", "locales"]
"""What all values of a field look like: numbers, with a decimal point or comma, an object of locales, and so on."""

MAX_FIELDS = 1_000
MAX_VALUES = 1_000
"""How many different values of a field are remembered."""

MAX_DEPTH = 5
MAX_ELEMENTS = 5

_integer = re.compile(r"-?(?:0|[1-9]\d{0,14})", re.ASCII).fullmatch
_point = re.compile(r"-?(?:0|[1-9]\d{0,14})?\.\d+", re.ASCII).fullmatch
_comma = re.compile(r"-?(?:\d{1,3}(?:\.\d{3})+|\d{1,15}),\d+", re.ASCII).fullmatch
_url = re.compile(r"(?:https?:)?//\S+", re.ASCII).fullmatch
_day = re.compile(r"\d{4}-\d\d-\d\d", re.ASCII).match
_offset = re.compile(r"(?:Z|[+-]\d\d:?\d\d)$", re.ASCII).search


@dataclass(slots=True)
class FieldProfile:
    """A field: `names` are its path, `forms` has the number of values of each form.

    `members` are the fields of the objects in a list. Of a schema, `values` has its examples.
    """

    names: tuple[str, ...]
    kinds: set[str] = field(default_factory=set)
    forms: Counter[Form] = field(default_factory=Counter)
    filled: int = 0
    values: dict[object, None] = field(default_factory=dict)
    members: "RecordProfile | None" = None

    @property
    def name(self) -> str:
        """Its last name."""
        return self.names[-1]

    @property
    def example(self) -> object:
        """A value of it; None if there is none."""
        return next(iter(self.values), None)

    def has_form(self, form: Form, share: float = 1.0) -> bool:
        """Whether every value has the form, or a share of them."""
        return self.forms[form] >= max(share * self.filled, 1)

    def note(self, value: object) -> None:
        """Adds a value that is not blank."""
        self.filled += 1
        self.kinds.add(kind_of(value))
        self.forms.update(_forms(value))
        if isinstance(value, list):
            self._note_elements(value)
        else:
            self._keep(value)

    def _note_elements(self, elements: list[object]) -> None:
        for element in elements[:MAX_ELEMENTS]:
            if isinstance(element, dict):
                self.members = self.members or RecordProfile(self.names)
                self.members.note(element)
            elif not is_blank(element):
                self._keep(element)

    def _keep(self, value: object) -> None:
        if isinstance(value, str | int | float | Decimal) and len(self.values) < MAX_VALUES:
            self.values[value] = None


@dataclass(slots=True)
class RecordProfile:
    """The fields of some records, by path below `prefix`, in the order in which they were seen.

    `is_schema`: they are those of a schema, whose only record has what is required.
    """

    prefix: tuple[str, ...] = ()
    records: int = 0
    fields: dict[tuple[str, ...], FieldProfile] = field(default_factory=dict)
    is_schema: bool = False

    def note(self, record: object) -> None:
        """Adds a record."""
        self.records += 1
        for names, value in _leaves(record, self.prefix, 0):
            known = self.fields.get(names)
            if known is None and len(self.fields) < MAX_FIELDS:
                known = self.fields[names] = FieldProfile(names)
            if known is not None and not is_blank(value):
                known.note(value)

    def is_unique(self, each: FieldProfile) -> bool:
        """Whether every record has a value of its own, as far as values are remembered."""
        if self.is_schema:
            return self.is_full(each)
        return 0 < each.filled == self.records and len(each.values) >= min(self.records, MAX_VALUES)

    def is_full(self, each: FieldProfile) -> bool:
        """Whether every record has a value."""
        return each.filled == self.records


def profile_of(records: Iterable[object]) -> RecordProfile:
    """The profile of some records."""
    profile = RecordProfile()
    for record in records:
        profile.note(record)
    return profile


def is_text_by_locale(value: object) -> bool:
    """Whether it is an object whose names are all locales, and whose values are texts."""
    if not isinstance(value, dict) or not value:
        return False
    return all(canonical_locale(str(name)) and isinstance(text, str | None) for name, text in value.items())


def _leaves(value: object, prefix: tuple[str, ...], depth: int) -> Iterator[tuple[tuple[str, ...], object]]:
    for name, each in value.items() if isinstance(value, dict) else ():
        if isinstance(each, dict) and each and not is_text_by_locale(each) and depth < MAX_DEPTH:
            yield from _leaves(each, (*prefix, name), depth + 1)
        else:
            yield (*prefix, name), each


def _forms(value: object) -> Iterator[Form]:
    if isinstance(value, bool | list | dict):
        if is_text_by_locale(value):
            yield "locales"
        return
    text = str(value).strip()
    if _integer(text):
        yield "integer"
    if _integer(text) or _point(text):
        yield "point"
    if _integer(text) or _comma(text):
        yield "comma"
    if isinstance(value, str):
        yield from _text_forms(text)


def _text_forms(text: str) -> Iterator[Form]:
    if text.lower() in {"true", "false"}:
        yield "boolean"
    if _day(text) and _is_moment(text):
        yield "date"
        if _offset(text) and len(text) > len("2026-01-01"):
            yield "moment"
    if text.isdecimal() and gtin_problem(text) is None:
        yield "gtin"
    if _url(text):
        yield "url"


def _is_moment(text: str) -> bool:
    try:
        datetime.fromisoformat(text)
    except ValueError:
        return False
    return True
