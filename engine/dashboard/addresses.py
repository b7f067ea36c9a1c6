"""Addresses of screens, and commands that do the same as a button."""

import re
import shlex
from urllib.parse import quote, urlencode

ROOT = "/ui"
_next = re.compile(r"/ui(?:[/?][\x21-\x5b\x5d-\x7e]*)?", re.ASCII)
MAX_NEXT_LENGTH = 2_000


def href(*segments: object, **query: object) -> str:
    """The address below `/ui` of path segments, each of which may have any text, and of query parameters.

    A parameter that is None is left out. A colon stays as it is: it separates the name of a decision.
    """
    path = "/".join([ROOT, *(quote(str(each), safe=":") for each in segments)])
    given = {name.rstrip("_"): value for name, value in query.items() if value is not None}
    return f"{path}?{urlencode(given)}" if given else path


def safe_next(text: str) -> str:
    """An address of this dashboard to continue at; the overview if the text is anything else."""
    return text if len(text) <= MAX_NEXT_LENGTH and _next.fullmatch(text) is not None else ROOT


def command(*words: object) -> list[str]:
    """A command of `pagefold`, as words for a shell: each quoted if it needs to be."""
    return ["pagefold", *(shlex.quote(str(word)) for word in words if word is not None)]
