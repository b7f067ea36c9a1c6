"""The text of a value: digits as they were written, without exponents; true and false; moments in UTC."""

from decimal import Decimal

from pagefold.projections.transforms.errors import InvalidValue
from pagefold.projections.transforms.value_types import to_json


def text_of(value: object) -> str:
    """The text of a value. Raises `InvalidValue` for lists, objects, and what has no form in JSON."""
    match value:
        case str():
            return value
        case bool():
            return "true" if value else "false"
        case int() | float() | Decimal():
            return number_text(value)
        case list() | dict():
            raise InvalidValue("wrong_type", value, "has no text of its own; name a member, or `join` it")
        case _:
            return str(to_json(value))


def number_text(value: float | Decimal) -> str:
    """The digits of a number, without exponent. Raises `InvalidValue` for infinity and its kin."""
    if type(value) is int:
        if value.bit_length() > MAX_TEXT_DIGITS * 3:
            raise InvalidValue("out_of_range", value, f"has more than {MAX_TEXT_DIGITS} digits")
        return str(value)
    number = Decimal(str(value))
    if not number.is_finite() or abs(number.adjusted()) > MAX_TEXT_DIGITS:
        raise InvalidValue("out_of_range", value, f"is not a number of at most {MAX_TEXT_DIGITS} digits")
    return format(number, "f")


MAX_TEXT_DIGITS = 400
"""How many digits a number may have as text; a double has up to 309."""
