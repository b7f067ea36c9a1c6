"""What becomes of a blank value, and of a value that was made: default, policy, rules, place of an error."""

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import Literal, TypeAlias

from msgspec import UNSET

from pagefold.projections.transforms.errors import InvalidValue
from pagefold.projections.transforms.paths import Reader
from pagefold.projections.transforms.value_types import ValueType, to_json

BlankPolicy: TypeAlias = Literal["skip", "withdraw", "refuse", "null"]
"""What a blank value does: leaves the target out, withdraws the statement, is an error, or is null."""

BLANK_POLICIES: tuple[BlankPolicy, ...] = ("skip", "withdraw", "refuse", "null")


class Outcome(Enum):
    """What a mapping may give in place of a value."""

    WITHDRAW = "withdraw"


WITHDRAW = Outcome.WITHDRAW
"""The record withdraws the whole statement."""


@dataclass(frozen=True, slots=True)
class Mapping:
    """A compiled mapping.

    `read` gives the value for a record, as JSON; UNSET to leave the target out, or WITHDRAW. It raises `InvalidValue`
    with the mapping's place. `paths` are those that it reads.
    """

    key: str
    read: Reader
    output: ValueType
    paths: frozenset[str]


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


def finished(  # noqa: PLR0913  # what a mapping says besides its steps
    run: Reader,
    key: str,
    path: str,
    *,
    policy: BlankPolicy,
    default: object,
    check: Callable[[object], None] | None,
    convert: Callable[[object], object] | None,
) -> Reader:
    """The reader of a mapping: its steps, the policy for blanks, the form in JSON, the rules; with an error's place."""
    on_blank = _on_blank(policy, default)

    def read(record: object) -> object:
        try:
            value = run(record)
            if value is None or value is UNSET or value == "" or (type(value) is str and value.isspace()):
                return on_blank()
            if convert is not None and type(value) is not str:
                value = convert(value)
            if check is not None:
                check(value)
        except InvalidValue as error:
            raise error.located(key, path) from None
        return value

    return read
