"""What a run keeps of what it has seen: texts, values and lists, shortened so that they can be recorded."""

from pagefold.domains.domain import JSON

MOST_EXAMPLES = 20
"""Samples that a run keeps, refusals that it keeps, and fields that a sample shows."""

LONGEST_TEXT = 200
"""Characters of a value, a path or a reason in one."""

LONGEST_REASON = 2_000
"""Characters of why a run failed, or started over."""


def clean(text: str) -> str:
    """The text without lone surrogates, which cannot be recorded, and which the name of a file may have."""
    return text.encode(errors="backslashreplace").decode()


def shorten(text: str, longest: int = LONGEST_TEXT) -> str:
    """The same, and not longer than that."""
    return clean(text if len(text) <= longest else text[: longest - 1] + "…")


def shortened(value: JSON) -> JSON:
    """An example with its texts shortened, and its lists and objects as well."""
    if isinstance(value, str):
        return shorten(value)
    if isinstance(value, dict):
        return {shorten(name): shortened(each) for name, each in list(value.items())[:MOST_EXAMPLES]}
    return [shortened(each) for each in value[:MOST_EXAMPLES]] if isinstance(value, list) else value
