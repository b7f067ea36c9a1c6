"""What operators say when they decide: who they are, and why, for whoever asks later."""

from pagefold.engine.errors import Rejected
from pagefold.engine.intake.text_limits import LONGEST_IDENTIFIER, check_text

LONGEST_REASON = 1_000
"""Characters of a reason."""


def check_reason(reason: str) -> None:
    """Raises `Rejected` for what nobody can read: as the door does, and for blanks alone."""
    _check("reason", reason, LONGEST_REASON)


def check_operator(operator: str) -> None:
    """Likewise."""
    _check("operator", operator, LONGEST_IDENTIFIER)


def _check(path: str, text: str, longest: int) -> None:
    check_text(path, text, longest)
    if text.isspace():
        raise Rejected(path, "must not be blank: somebody will want to know")
