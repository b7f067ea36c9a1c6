"""JSON inside a text, as a column of CSV or of a database may hold it. Numbers keep their digits."""

from decimal import Decimal, InvalidOperation

import msgspec

from pagefold.projections.transforms.errors import InvalidValue


def _number(text: str) -> Decimal:
    """The exact number; not a number if its exponent is beyond every limit, which whatever uses it refuses."""
    try:
        return Decimal(text)
    except InvalidOperation:
        return Decimal("NaN")


decode_exactly = msgspec.json.Decoder(float_hook=_number).decode
"""Decodes JSON whose numbers with a fraction or an exponent keep every digit. Raises msgspec's errors."""


def parse_json(text: str) -> object:
    """The value that a text has as JSON. Raises `InvalidValue`."""
    try:
        return decode_exactly(text)
    except (msgspec.MsgspecError, RecursionError, UnicodeEncodeError) as error:
        problem = "is nested too deep" if isinstance(error, RecursionError) else f"is not JSON: {error!s:.80}"
        raise InvalidValue("not_json_text", text, problem) from None


def parsed_structure(value: object) -> object:
    """The array or object that a text has as JSON; any other value as it is."""
    if type(value) is not str or value.lstrip()[:1] not in {"[", "{"}:
        return value
    try:
        return parse_json(value)
    except InvalidValue:
        return value
