"""What is not installed with `pagefold` alone: the command line, the server and rebuilds are extras."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal, TypeAlias

from pagefold.engine.errors import ExtraMissing

Extra: TypeAlias = Literal["cli", "rebuild", "server", "eventsourcing"]


@contextmanager
def needs_extra(extra: Extra, user: str) -> Iterator[None]:
    """Imports in the block need the packages of an extra. Raises `ExtraMissing` where one is not installed."""
    try:
        yield
    except ModuleNotFoundError as error:
        if (error.name or "pagefold").partition(".")[0] == "pagefold":
            raise
        raise ExtraMissing(user, extra, error.name or "") from error
