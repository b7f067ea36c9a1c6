"""Checks what operators give with a decision: their name and the reason."""

from pagefold.engine.errors import Rejected
from pagefold.engine.intake.text_limits import MAX_IDENTIFIER_LENGTH, check_text

MAX_REASON_LENGTH = 1_000
"""Characters of a reason."""


def check_reason(reason: str) -> None:
    """Raises `Rejected` for a reason that is not storable text, or blank."""
    _check("reason", reason, MAX_REASON_LENGTH)


def check_operator(operator: str) -> None:
    """Raises `Rejected` for a name that is not storable text, or blank."""
    _check("operator", operator, MAX_IDENTIFIER_LENGTH)


def _check(path: str, text: str, longest: int) -> None:
    check_text(path, text, longest)
    if text.isspace():
        raise Rejected(path, "must not be blank")
