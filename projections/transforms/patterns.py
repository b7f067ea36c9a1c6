"""Regular expressions in linear time (RE2): no pattern and no text can make them hang, as Python's `re` does.

The only module that imports `re2`.
"""

from collections.abc import Callable
from functools import lru_cache
from typing import Protocol

import re2  # type: ignore[import-untyped]  # it has no types

from pagefold.projections.transforms.errors import InvalidMapping, InvalidValue
from pagefold.projections.transforms.results import remembered

MAX_PATTERN_CHARACTERS = 1_000
MAX_PATTERN_BYTES = 1 << 20
"""How much memory a compiled pattern may take."""


class Match(Protocol):
    """A match of a pattern."""

    def group(self, group: int | str = 0) -> str | None:
        """The text of a group; None if it took no part."""


class Pattern(Protocol):
    """A compiled pattern."""

    groups: int
    groupindex: dict[str, int]

    def search(self, text: str) -> Match | None:
        """The first match anywhere."""

    def fullmatch(self, text: str) -> Match | None:
        """The match of the whole text."""

    def sub(self, replacement: str, text: str, count: int = 0) -> str:
        r"""The text with matches replaced; `\1` and `\g<name>` are groups."""


@lru_cache(maxsize=1_024)
def _compiled(pattern: str) -> Pattern:
    options = re2.Options()
    options.log_errors = False
    options.max_mem = MAX_PATTERN_BYTES
    compiled: Pattern = re2.compile(pattern, options)
    return compiled


def compile_pattern(pattern: str, key: str) -> Pattern:
    """Compiles a pattern. Raises `InvalidMapping` if RE2 cannot, which has no look-around and no back-references."""
    if len(pattern) > MAX_PATTERN_CHARACTERS:
        raise InvalidMapping(key, f"has {len(pattern)} characters; a pattern may have {MAX_PATTERN_CHARACTERS}")
    try:
        return _compiled(pattern)
    except re2.error as error:
        problem = error.args[0]
        shown = problem.decode("utf-8", "replace") if isinstance(problem, bytes) else problem
        raise InvalidMapping(key, f"is not a pattern of RE2: {shown}") from None
    except UnicodeEncodeError:
        raise InvalidMapping(key, "has half a surrogate pair, which is no character") from None


def remembered_match(function: Callable[[str], object]) -> Callable[[str], object]:
    """The function of text, with its last results kept. Raises `InvalidValue` for text that cannot be encoded."""
    known = remembered(function)  # type: ignore[arg-type]  # it is given text only

    def apply(text: str) -> object:
        try:
            return known(text)
        except UnicodeEncodeError:
            raise InvalidValue("no_match", text, "has half a surrogate pair, which is no character") from None

    return apply
