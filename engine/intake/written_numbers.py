"""Decodes JSON while keeping the digits of numbers that a double cannot represent exactly.

A message of another system can thus be read as a whole; the validator rejects such a number only if it ends up in a
payload, and names its place there.
"""

import msgspec

from pagefold.domains.numbers import InexactNumberError, exact_number


class WrittenNumber:
    """A number as written, because a double does not represent it exactly."""

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
    raise NotImplementedError  # msgspec asks for it


decode_written = msgspec.json.Decoder(float_hook=_number).decode
"""Decodes a JSON document, with a `WrittenNumber` for each inexact number. Raises msgspec's errors."""

encode_written = msgspec.json.Encoder(enc_hook=_written).encode
"""The inverse of `decode_written`."""
