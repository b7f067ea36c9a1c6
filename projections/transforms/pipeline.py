"""Chains transforms into one function of a record. Blank values pass by every step."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

from msgspec import UNSET

from pagefold.projections.transforms.errors import InvalidValue
from pagefold.projections.transforms.paths import Reader
from pagefold.projections.transforms.transform import Built, ValueFunction, WithRecord
from pagefold.projections.transforms.value_types import is_blank

StepFunction = Callable[[object, object], object]
"""Makes a value of a value and the record."""


class Step(NamedTuple):
    """A transform in its place. `localized` applies it to each text of a text by locale."""

    name: str
    built: Built
    per_item: bool
    localized: bool = False

    @property
    def simple(self) -> ValueFunction | None:
        """The function, if it needs nothing but the value."""
        return None if isinstance(self.built, WithRecord) or self.localized else self.built


def composed(read: Reader, steps: Sequence[Step]) -> Reader:
    """The reader of a value that has gone through all steps."""
    if not steps:
        return read
    if len(steps) == 1 and (function := steps[0].simple) is not None:
        return _single(read, function, steps[0])
    return _chained(read, steps)


def _single(read: Reader, function: ValueFunction, step: Step) -> Reader:
    """One step, the usual case, with as few calls as can be."""
    name, per_item = step.name, step.per_item

    def run(record: object) -> object:
        value = read(record)
        if (not value or value.isspace()) if type(value) is str else (value is None or value is UNSET):
            return UNSET
        try:
            return each_item(function, value) if per_item and type(value) is list else function(value)
        except InvalidValue as error:
            raise error.named(name) from None

    return run


def each_item(function: ValueFunction, items: list[object]) -> list[object]:
    """The function, applied to each item that is not blank."""
    made = [function(item) for item in items if not is_blank(item)]
    return [item for item in made if item is not UNSET]


def _applied(step: Step) -> StepFunction:
    """A step of several, as a function of the value and the record."""
    name, built, per_item, localized = step
    if (simple := step.simple) is not None:
        return _applied_alone(simple, name, per_item=per_item)
    function = built.function if isinstance(built, WithRecord) else _without_record(built)

    def applied(value: object, record: object) -> object:
        try:
            if per_item and type(value) is list:
                return each_item(lambda item: function(item, record), value)
            if localized and type(value) is dict:
                return _each_text(lambda text: function(text, record), value)
            return function(value, record)
        except InvalidValue as error:
            raise error.named(name) from None

    return applied


def _applied_alone(function: ValueFunction, name: str, *, per_item: bool) -> StepFunction:
    """The same for a function that needs nothing but the value."""

    def applied(value: object, _record: object) -> object:
        try:
            return each_item(function, value) if per_item and type(value) is list else function(value)
        except InvalidValue as error:
            raise error.named(name) from None

    return applied


def _without_record(function: ValueFunction) -> StepFunction:
    return lambda value, _record: function(value)


def _each_text(function: ValueFunction, texts: dict[str, object]) -> object:
    made = {
        tag: each_item(function, text) if type(text) is list else function(text)
        for tag, text in texts.items()
        if not is_blank(text)
    }
    return {tag: text for tag, text in made.items() if not is_blank(text)} or UNSET


def _chained(read: Reader, steps: Sequence[Step]) -> Reader:
    """Several steps in their order. The first blank value ends them."""
    functions = tuple(map(_applied, steps))

    def run(record: object) -> object:
        value = read(record)
        for function in functions:
            if is_blank(value):
                return UNSET
            value = function(value, record)
        return value

    return run


def named_reader(read: Reader, name: str) -> Reader:
    """A transform that reads the record itself, with its name in its errors."""

    def run(record: object) -> object:
        try:
            return read(record)
        except InvalidValue as error:
            raise error.named(name) from None

    return run
