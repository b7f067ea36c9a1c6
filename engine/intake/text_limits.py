"""Checks texts that people and senders give: of bounded length, and storable in every store."""

from pagefold.engine.errors import Rejected

MAX_IDENTIFIER_LENGTH = 200
"""Characters of `id` and `correlationId`."""


def check_text(path: str, text: str, max_length: int) -> None:
    """Raises `Rejected` for anything but a text of 1 to `max_length` characters that every store can hold."""
    if type(text) is not str or not 0 < len(text) <= max_length:
        raise Rejected(path, f"must be a string of 1 to {max_length} characters")
    if "\0" in text:
        raise Rejected(path, "must not contain U+0000")
    try:
        text.encode()
    except UnicodeEncodeError:
        raise Rejected(path, "must not contain a lone surrogate") from None
