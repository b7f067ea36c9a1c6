"""Which of what a source sends counts: by the value at a place, as the configuration says."""

from collections.abc import Iterable, Mapping, Sequence


def is_one_of(value: object, values: Sequence[object]) -> bool:
    """Whether a value is exactly one of these: 1 is not true, and a text is no number."""
    return any(value == each and type(value) is type(each) for each in values)


def missed_header(
    headers: Iterable[tuple[bytes, bytes]], wanted: Mapping[str, Sequence[object]], *, partial: bool = False
) -> str | None:
    """The first header that has none of the values by which a request counts; None when it counts.

    `partial` tells that not all of its headers were kept: one that is not there says nothing then.
    """
    given = {name.lower(): value.strip(b" \t").decode("latin-1") for name, value in headers} if wanted else {}
    for name, values in wanted.items():
        value = given.get(name.encode())
        if value is None and partial:
            continue
        if value not in values:
            return name
    return None
