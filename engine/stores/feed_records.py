"""What followers of the pages read beside the pages: how far they are folded, and what changed without an event.

A page changes when an event of its SKU is folded; followers find those in the log. It also changes without one: by an
event of another SKU, such as its parent, by a repair, by another configuration. Fold transactions note the SKUs of
such *indirect changes*, by domain, in the order in which they are committed. Old ones are forgotten.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from secrets import token_hex
from typing import NamedTuple

MAX_NOTED_SKUS = 1_000_000
"""SKUs of the newest indirect changes that are kept of each domain."""


class NotedPlace(NamedTuple):
    """A place among the indirect changes of a domain: the number of SKUs up to there, and the mark of the note there.

    Another mark there means that the pages were replaced by others.
    """

    number: int
    mark: str


class IndirectChange(NamedTuple):
    """The note of one write: the SKUs that it changed. The number of the last one, counted from 1, is `number`."""

    number: int
    mark: str
    skus: Sequence[str]


class FoldedState(NamedTuple):
    """The position up to which every domain is folded, and the newest indirect change of each that has one."""

    position: int
    noted: Mapping[str, NotedPlace]


class LogWindow(NamedTuple):
    """A window of the log: the distinct streams of some domains in it, and the position where it ends."""

    streams: Sequence[str]
    end: int


class LogEnd(NamedTuple):
    """The identity of the log, where it ends, and the mark there; and the mark at another position, None if none."""

    log_id: str
    end: int
    mark: bytes | None
    mark_at: bytes | None


def new_mark() -> str:
    """The mark of a new note."""
    return token_hex(6)


class FeedRecords(ABC):
    """Reads for followers of the pages. What they name was committed before."""

    @abstractmethod
    async def state(self, domains: Sequence[str]) -> FoldedState:
        """How far the pages are folded. Position 0 if any of the domains was never folded. Raises `PagesUnfolded`."""

    @abstractmethod
    async def noted(self, domain: str, number: int, limit: int) -> list[IndirectChange]:
        """The next indirect changes of a domain, in order, from the one that has this number on."""

    @abstractmethod
    async def window(self, domains: Sequence[str], after: int, upto: int, limit: int) -> LogWindow:
        """The streams of these domains in the next `limit` events of the log with after < position <= upto.

        Their order is undefined. The window ends at `upto` if it has fewer events.
        """

    @abstractmethod
    async def log_end(self, position: int) -> LogEnd:
        """Where the log ends, and what is at a position, in one read."""
