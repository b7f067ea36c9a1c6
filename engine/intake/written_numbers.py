"""JSON documents whose numbers go on as they are written, where a double cannot tell them from others.

So what another system sends can be read as a whole, and the door refuses such a number by its place in the payload, if
it comes to stand in one.
"""

import msgspec

from pagefold.domains.numbers import InexactNumberError, exact_number


class WrittenNumber:
    """A number that a double does not keep, as it is written."""

    __slots__ = ("text",)

    def __init__(self, text: str) -> None:
        self.text = text


def _number(text: str) -> float | WrittenNumber:
    try:
        return exact_number(text)
    except InexactNumberError:
        return WrittenNumber(text)


def _written(value: object) -> msgspec.Raw:
    if isinstance(value, WrittenNumber):
        return msgspec.Raw(value.text.encode())
    raise NotImplementedError  # as msgspec asks of such a function


decode_written = msgspec.json.Decoder(float_hook=_number).decode
"""The value of a JSON document, with a `WrittenNumber` wherever there is one. Raises as msgspec does."""

encode_written = msgspec.json.Encoder(enc_hook=_written).encode
"""Its inverse."""
