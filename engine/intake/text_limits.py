"""Texts that people and senders give: of bounded length, and such that every store can keep them."""

from pagefold.engine.errors import Rejected

LONGEST_IDENTIFIER = 200
"""Characters of `id` and `correlationId`."""


def check_text(path: str, text: str, longest: int) -> None:
    """Raises `Rejected` for what is no text of 1 to `longest` characters, or none that every store can keep."""
    if type(text) is not str or not 0 < len(text) <= longest:
        raise Rejected(path, f"must be a string of 1 to {longest} characters")
    if "\0" in text:
        raise Rejected(path, "must not contain U+0000")
    try:
        text.encode()
    except UnicodeEncodeError:
        raise Rejected(path, "must not contain a lone surrogate") from None
