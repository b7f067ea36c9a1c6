"""What becomes of a blank value, and of a value that was made: default, policy, rules, place of an error."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Literal, NamedTuple, TypeAlias

from msgspec import UNSET

from pagefold.projections.transforms.errors import InvalidValue
from pagefold.projections.transforms.paths import Reader, column_of
from pagefold.projections.transforms.pipeline import Step, composed, each_item, named_reader
from pagefold.projections.transforms.transform import ValueFunction
from pagefold.projections.transforms.value_types import ValueType, is_blank, to_json

BlankPolicy: TypeAlias = Literal["skip", "withdraw", "refuse", "null"]
"""What a blank value does: leaves the target out, withdraws the statement, is an error, or is null."""

BLANK_POLICIES: tuple[BlankPolicy, ...] = ("skip", "withdraw", "refuse", "null")


class Outcome(Enum):
    """What a mapping may give in place of a value."""

    WITHDRAW = "withdraw"


WRITTEN_REFUSALS = {
    "blank": "a value is required, and there is none",
    "not_json": "the value has no form in JSON, as what a database driver gives may not have",
    "inexact": "the number is not exact as a double; `decimal` or `text` writes it as text",
    "no_offset": "a moment of a database has no offset",
    "out_of_range": "a moment of a database is outside the years 1 to 9999",
}
"""How any mapping may refuse what it would write."""

WITHDRAW = Outcome.WITHDRAW
"""The record withdraws the whole statement."""


@dataclass(frozen=True, slots=True)
class Mapping:
    """A compiled mapping.

    `read` gives the value for a record, as JSON; UNSET to leave the target out, or WITHDRAW. It raises `InvalidValue`
    with the mapping's place. `paths` are those that it reads in the record, each with all that is below it; `patterns`
    are paths whose last name has a placeholder. Both are those outside of items; `reads` and `read_patterns` are the
    same as the mapping has them, those inside its item too. `needed` are sets of `reads`, of each of which some record
    should have one: not where the mapping has a default, or leaves a blank value out.

    `own` is the same as `read` for the item alone, without what is around it; None if there is no item, or if the
    mapping reads more. `shortcut` is a faster way to the same result, if there is one.
    """

    key: str
    read: Reader
    output: ValueType
    paths: frozenset[str]
    patterns: frozenset[str]
    reads: frozenset[str]
    read_patterns: frozenset[str]
    needed: frozenset[frozenset[str]]
    own: Reader | None = None
    shortcut: "Shortcut | None" = None


class Shortcut(NamedTuple):
    """What a mapping makes of a text in `column` that is not blank: the text, or what `function` makes of it.

    Of a result that is neither text nor a number, `finish` gives the value; so it does of a blank text. It raises
    `InvalidValue` with the mapping's place. Where `function` does, the mapping's `read` has to be asked.
    """

    column: str
    function: ValueFunction | None
    finish: Callable[[object], object]


def _on_blank(policy: BlankPolicy, default: object) -> Callable[[], object]:
    """What a mapping gives for a blank value. A default comes before the policy."""
    if default is not UNSET:
        return lambda: to_json(default)  # a copy each time: nobody may change the contract's own
    if policy == "refuse":
        return _refuse
    result = {"skip": UNSET, "withdraw": WITHDRAW, "null": None}[policy]
    return lambda: result


def _refuse() -> object:
    raise InvalidValue("blank", None, "is blank, and a value is required")


class Ending(NamedTuple):
    """What a mapping says besides its steps: the policy for blanks, the form in JSON, the rules; and its place."""

    key: str
    path: str
    policy: BlankPolicy
    default: object
    check: Callable[[object], None] | None
    convert: Callable[[object], object] | None


def finished(read: Reader, steps: Sequence[Step], ending: Ending, source: str = "") -> Reader:
    """The reader of a mapping. `source` is the transform that `read` is, if it is one."""
    column = column_of(read)
    if column is not None and not steps:
        return _column(column, None, ending)
    if column is not None and len(steps) == 1 and steps[0].simple is not None:
        return _column(column, steps[0], ending)
    if source and steps:
        return _finished(composed(named_reader(read, source), steps), ending, "")
    return _finished(composed(read, steps), ending, source)


def shortcut(read: Reader, steps: Sequence[Step], ending: Ending) -> Shortcut | None:
    """The shortcut of a mapping that reads one name and has one step at most; None of others."""
    column = column_of(read)
    if column is None or ending.check is not None or len(steps) > 1:
        return None
    if not steps:
        return Shortcut(column, None, _finisher(ending))
    function = steps[0].simple
    return None if function is None else Shortcut(column, function, _finisher(ending))


def _finisher(ending: Ending) -> Callable[[object], object]:
    on_blank = _on_blank(ending.policy, ending.default)

    def finish(value: object) -> object:
        try:
            if is_blank(value):
                return on_blank()
            return value if ending.convert is None or type(value) is str else ending.convert(value)
        except InvalidValue as error:
            raise error.located(ending.key, ending.path) from None

    return finish


def _finished(run: Reader, ending: Ending, source: str) -> Reader:
    key, path, policy, default, check, convert = ending
    on_blank = _on_blank(policy, default)

    def read(record: object) -> object:
        try:
            value = run(record)
        except InvalidValue as error:
            raise error.named(source).located(key, path) from None
        try:
            if (not value or value.isspace()) if type(value) is str else (value is None or value is UNSET):
                return on_blank()
            if convert is not None and type(value) is not str:
                value = convert(value)
            if check is not None:
                check(value)
        except InvalidValue as error:
            raise error.located(key, path) from None
        return value

    return read


def _column(column: str, step: Step | None, ending: Ending) -> Reader:
    """The same for most mappings, which read one name and have one step at most, in a single call: a third faster."""
    key, path, policy, default, check, convert = ending
    on_blank = _on_blank(policy, default)
    name, function, per_item = ("", None, False) if step is None else (step.name, step.simple, step.per_item)

    def read(record: object) -> object:
        value = record.get(column, UNSET) if type(record) is dict else UNSET
        try:
            if (not value or value.isspace()) if type(value) is str else (value is None or value is UNSET):
                return on_blank()
            if function is not None:
                try:
                    value = each_item(function, value) if per_item and type(value) is list else function(value)
                except InvalidValue as error:
                    raise error.named(name) from None
                if (not value or value.isspace()) if type(value) is str else (value is None or value is UNSET):
                    return on_blank()
            if convert is not None and type(value) is not str:
                value = convert(value)
            if check is not None:
                check(value)
        except InvalidValue as error:
            raise error.located(key, path) from None
        return value

    return read
