"""Configured filters: whether a value or a header is among the allowed ones."""

from collections.abc import Iterable, Mapping, Sequence


def is_one_of(value: object, values: Sequence[object]) -> bool:
    """Whether a value equals one of these exactly: 1 is not true, and text is not a number."""
    return any(value == each and type(value) is type(each) for each in values)


def unmatched_header(
    headers: Iterable[tuple[bytes, bytes]], allowed: Mapping[str, Sequence[object]], *, partial: bool = False
) -> str | None:
    """The first header without an allowed value; None if all match.

    With `partial`, a header that is absent may not have been stored, and is skipped.
    """
    given = {name.lower(): value.strip(b" \t").decode("latin-1") for name, value in headers} if allowed else {}
    for name, values in allowed.items():
        value = given.get(name.encode())
        if value is None and partial:
            continue
        if value not in values:
            return name
    return None
