"""Whose fault an answer over HTTP is: that of the document, or that of the target.

A document's fault does not go away by waiting, and is a dead letter in the end. A target's fault says nothing about the
document: an outage of three minutes must not bury a catalogue, so the target is paused and probed, and nothing is given
up. What is in doubt is the target's fault: that only costs time.
"""

from http import HTTPStatus

from pagefold.engine.delivery.target_kind import Answer, Refused, Taken, Unavailable

MAX_TEXT = 300
"""Characters of an answer that are kept."""

DOCUMENT_FAULTS = frozenset([400, 404, 409, 410, 411, 412, 413, 414, 415, 422, 431, 451])
"""Statuses that say that the target does not take this document. Others that are no success are the target's fault.

So are 401, 403 and 405: a token that has expired, or a wrong method, is refused for every document alike.
"""

GONE = frozenset([404, 410])
"""To a withdrawal, these mean that the target does not hold the page: it is done."""


def answer_of(status: int, text: str, *, withdrawal: bool = False, alone: bool = True) -> Answer:
    """What follows from a response. `alone`: the request had one document."""
    shown = shown_status(status, text)
    if 200 <= status < 300 or (withdrawal and alone and status in GONE):  # noqa: PLR2004  # the class of success
        return Taken(shown)
    if status in DOCUMENT_FAULTS:
        return Refused(shown, alone, unknown_address=status in GONE)
    if 300 <= status < 400:  # noqa: PLR2004  # the class of redirections
        return Unavailable(f"{shown}: redirects are not followed; configure the address that it redirects to")
    return Unavailable(shown, received=status != HTTPStatus.TOO_MANY_REQUESTS)


def shown_status(status: int, text: str = "") -> str:
    """A status for people, with what the body says, shortened to one line."""
    try:
        name = f"{status} {HTTPStatus(status).phrase}"
    except ValueError:
        name = str(status)
    line = " ".join("".join(each if each.isprintable() else " " for each in text[: 4 * MAX_TEXT]).split())
    return f"{name}: {line}"[:MAX_TEXT] if line else name
