"""Shortens the texts, values and lists that a run records."""

from pagefold.domains.domain import JSON

MAX_EXAMPLES = 20
"""Samples and refusals that a run keeps, and items of a list or object in a sample."""

MAX_TEXT_LENGTH = 200
"""Characters of a value, a path or a reason in a sample."""

MAX_REASON_LENGTH = 2_000
"""Characters of the reason why a run failed or started over."""


def clean(text: str) -> str:
    """The text without lone surrogates, which cannot be recorded but may occur in file names."""
    return text.encode(errors="backslashreplace").decode()


def shorten(text: str, longest: int = MAX_TEXT_LENGTH) -> str:
    """The text without lone surrogates, cut to a maximum length."""
    return clean(text if len(text) <= longest else text[: longest - 1] + "…")


def shorten_json(value: JSON) -> JSON:
    """A sample with its texts, lists and objects shorten_json."""
    if isinstance(value, str):
        return shorten(value)
    if isinstance(value, dict):
        return {shorten(name): shorten_json(each) for name, each in list(value.items())[:MAX_EXAMPLES]}
    return [shorten_json(each) for each in value[:MAX_EXAMPLES]] if isinstance(value, list) else value
