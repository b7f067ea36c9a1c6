"""Errors in responses with a good status."""

from collections.abc import Iterator, Sequence

import msgspec

from pagefold.domains.domain import DECODE_ERRORS
from pagefold.engine.snapshots.json_paths import value_at

MAX_CHARACTERS = 300
"""Characters of errors that are shown."""

_TEXTS = ("message", "error", "code", "name")
"""The members of an error that have its text: the first that it has is shown."""


def errors_in(body: bytes, paths: Sequence[str]) -> str | None:
    """The text of the errors at the paths of a response; None if there are none, or if the response is not JSON."""
    try:
        values = [value_at(body, path) for path in paths]
    except DECODE_ERRORS:
        return None
    found = [value for value in values if value not in (None, False, "", [], {})]
    if not found:
        return None
    text = "; ".join(_texts(found)) or msgspec.json.encode(found[0]).decode()
    return "".join(each if each.isprintable() else " " for each in text)[:MAX_CHARACTERS]


def _texts(found: object) -> Iterator[str]:
    """The texts of an error, or of each in a list."""
    if isinstance(found, str):
        yield found
    elif isinstance(found, list):
        for each in found:
            yield from _texts(each)
    elif isinstance(found, dict):
        for name in _TEXTS:
            if isinstance(text := found.get(name), str) and text:
                yield text
                break
        yield from _texts(found.get("data"))
