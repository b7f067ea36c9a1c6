"""Decimal numbers as other systems write them, read exactly."""

import re
from decimal import (
    ROUND_CEILING,
    ROUND_DOWN,
    ROUND_FLOOR,
    ROUND_HALF_DOWN,
    ROUND_HALF_EVEN,
    ROUND_HALF_UP,
    Context,
    Decimal,
    Inexact,
    InvalidOperation,
    Overflow,
    Underflow,
)
from functools import lru_cache
from typing import Literal, TypeAlias

from pagefold.projections.transforms.errors import InvalidValue

MAX_DIGITS = 40
"""How many digits a number may have before and after its point."""

Rounding: TypeAlias = Literal["half_up", "half_even", "half_down", "up", "down"]

CALCULATION = Context(prec=120, traps=[Inexact, InvalidOperation, Overflow, Underflow])
"""Wide enough for a product of two numbers. Raises `ArithmeticError` rather than lose a digit."""

_ROUNDED = Context(prec=200, traps=[InvalidOperation])

_ROUNDINGS = {
    "half_up": ROUND_HALF_UP,
    "half_even": ROUND_HALF_EVEN,
    "half_down": ROUND_HALF_DOWN,
    "up": ROUND_CEILING,
    "down": ROUND_FLOOR,
}

_plain = re.compile(r"[+-]?(?:[0-9]{1,40}(?:\.[0-9]{0,40})?|\.[0-9]{1,40})", re.ASCII).fullmatch


def _not_a_number(value: object, why: str = "") -> InvalidValue:
    return InvalidValue("not_a_number", value, f"is not a number{why}")


def read_decimal(value: object) -> Decimal:
    """The exact value of a number, or of text with a point and no separators. Raises `InvalidValue`.

    `.99`, `019.90`, `5.` and `+3` are numbers; `1e5` as text, `1_000`, `NaN`, digits of other scripts, true and false
    are not.
    """
    kind = type(value)
    if kind is str:
        return _read_text(value)  # type: ignore[arg-type]  # it is text
    if kind is int or kind is float or kind is Decimal:
        number = Decimal(repr(value)) if kind is float else Decimal(value)  # type: ignore[arg-type]  # one of these
        if not number.is_finite():
            raise _not_a_number(value)
        if number == 0:
            return Decimal(0)
        if -MAX_DIGITS <= number.adjusted() <= MAX_DIGITS:
            return number
        raise InvalidValue("out_of_range", value, f"has more than {MAX_DIGITS} digits before or after the point")
    raise _not_a_number(value)


@lru_cache(maxsize=4096)
def _read_short(text: str) -> Decimal:
    if _plain(text) is None:
        raise _not_a_number(text, "" if "," not in text else "; `decimal` and `group` say how its separators are meant")
    return Decimal(text)


def _read_text(text: str) -> Decimal:
    if len(text) > 2 * MAX_DIGITS + 2:
        text = text.strip()
        if len(text) > 2 * MAX_DIGITS + 2:
            raise _not_a_number(text)
    return _read_short(text.strip())


def separated_reader(decimal: str, group: str) -> "re.Pattern[str]":
    """The pattern of numbers with these separators: groups of three digits, or none at all."""
    point, comma = re.escape(decimal), f"(?:{'|'.join(map(re.escape, _spaces(group)))})"
    whole = r"[0-9]{1,40}" if not group else rf"[0-9]{{1,3}}(?:{comma}[0-9]{{3}}){{1,12}}|[0-9]{{1,40}}"
    return re.compile(rf"([+-]?)({whole})?(?:{point}([0-9]{{0,40}}))?", re.ASCII)


def _spaces(group: str) -> list[str]:
    """A space as a separator is any that does not break a line: plain, no-break, thin."""
    return [" ", "\N{NO-BREAK SPACE}", "\N{NARROW NO-BREAK SPACE}", "\N{THIN SPACE}"] if group == " " else [group]


def read_separated(pattern: "re.Pattern[str]", text: str) -> Decimal:
    """The number that a text is by a pattern of `separated_reader`. Raises `InvalidValue`."""
    found = pattern.fullmatch(text.strip())
    if found is None or not (found[2] or found[3]):
        raise _not_a_number(text, " with these separators")
    whole = "".join(filter(str.isdigit, found[2] or "0"))
    return Decimal(f"{found[1]}{whole}.{found[3] or '0'}")


def rounded(number: Decimal, places: int, rounding: Rounding) -> Decimal:
    """The number with exactly so many decimals. `up` and `down` are towards plus and minus infinity."""
    return number.quantize(Decimal(f"1E-{places}"), _ROUNDINGS[rounding], _ROUNDED)


def plain_text(number: Decimal) -> str:
    """The number without exponent, and without zeros at the end of its fraction."""
    if number == 0:
        return "0"
    text = format(number, "f")
    return text.rstrip("0").rstrip(".") if "." in text else text


def truncated(number: Decimal) -> Decimal:
    """The number without its fraction."""
    return number.quantize(Decimal(1), ROUND_DOWN, _ROUNDED)
