"""Chains transforms into one function of a record. Blank values pass by every step."""

from collections.abc import Callable, Sequence

from msgspec import UNSET

from pagefold.projections.transforms.errors import InvalidValue
from pagefold.projections.transforms.paths import Reader
from pagefold.projections.transforms.transform import Built, WithRecord
from pagefold.projections.transforms.value_types import is_blank

StepFunction = Callable[[object, object], object]
"""Makes a value of a value and the record."""


def single(read: Reader, built: Built, name: str, *, per_item: bool) -> Reader:
    """One step, the usual case, with as few calls as can be."""
    if isinstance(built, WithRecord):
        return chained(read, [step(built, name, per_item=per_item, localized=False)])
    function = built

    def run(record: object) -> object:
        value = read(record)
        if value is None or value is UNSET or value == "" or (type(value) is str and value.isspace()):
            return UNSET
        try:
            if per_item and type(value) is list:
                return _each_item(function, value)
            return function(value)
        except InvalidValue as error:
            raise error.named(name) from None

    return run


def _each_item(function: Callable[[object], object], items: list[object]) -> list[object]:
    made = [function(item) for item in items if not is_blank(item)]
    return [item for item in made if item is not UNSET]


def step(built: Built, name: str, *, per_item: bool, localized: bool) -> StepFunction:
    """A step of several. `per_item` applies it to the items of a list, `localized` to each text of a text by locale."""
    function = built.function if isinstance(built, WithRecord) else _without_record(built)

    def applied(value: object, record: object) -> object:
        try:
            if per_item and type(value) is list:
                return _each_item(lambda item: function(item, record), value)
            if localized and type(value) is dict:
                return _each_text(lambda text: function(text, record), value)
            return function(value, record)
        except InvalidValue as error:
            raise error.named(name) from None

    return applied


def _without_record(function: Callable[[object], object]) -> StepFunction:
    return lambda value, _record: function(value)


def _each_text(function: Callable[[object], object], texts: dict[str, object]) -> object:
    made = {
        tag: _each_item(function, text) if type(text) is list else function(text)
        for tag, text in texts.items()
        if not is_blank(text)
    }
    return {tag: text for tag, text in made.items() if not is_blank(text)} or UNSET


def chained(read: Reader, steps: Sequence[StepFunction]) -> Reader:
    """Several steps in their order. The first blank value ends them."""
    functions = tuple(steps)

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
