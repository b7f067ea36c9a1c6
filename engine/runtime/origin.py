"""Where a decision comes from: who acts, by which way, and with which command."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Literal, NamedTuple, TypeAlias

Via: TypeAlias = Literal["command", "http", "dashboard", "schedule", "program"]
"""The command line, a route of the server, its dashboard, the schedule of a worker, or a program with a `Shop`."""


class Origin(NamedTuple):
    """Who acts, None if unknown; by which way; the command that does the same; and why; None if there is none."""

    via: Via = "program"
    actor: str | None = None
    command: str | None = None
    reason: str | None = None


UNKNOWN = Origin()

_current: ContextVar[Origin] = ContextVar("origin", default=UNKNOWN)


def current_origin() -> Origin:
    """The origin of what runs now."""
    return _current.get()


@contextmanager
def acting(origin: Origin) -> Iterator[None]:
    """What runs inside, and what it starts, has this origin."""
    token = _current.set(origin)
    try:
        yield
    finally:
        _current.reset(token)
