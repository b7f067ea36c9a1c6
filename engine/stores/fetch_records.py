"""The contract of a store for wanted fetches. Both stores keep it: see `pagefold.engine.stores.store`."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import NamedTuple


class NewFetch(NamedTuple):
    """That a record is to be fetched, because of a notification.

    The same `source`, `rule` and `key` are one fetch, however often it is wanted. `rule` is the table that asks for it,
    such as `webhook.fetch[0]`, `address` what people are shown, `notification` the text of the delivery that has it
    alone, and `headers` a JSON object with what is kept of the delivery's. A person has `confirmed` whatever follows
    from its absence. `due` is when it may begin, as fixed-width UTC text.
    """

    source: str
    rule: str
    key: str
    address: str
    notification: bytes
    headers: bytes
    confirmed: bool
    due: str


class WantedFetch(NamedTuple):
    """A fetch that is wanted `since` a time, and was `tried` so often. `asked` counts its notifications.

    `error` is why the last attempt failed. Times are fixed-width UTC text.
    """

    source: str
    rule: str
    key: str
    address: str
    notification: bytes
    headers: bytes
    confirmed: bool
    asked: int
    since: str
    due: str
    tries: int
    error: str | None


class FetchCount(NamedTuple):
    """The wanted fetches of a source: how many, how many of them failed before, and since when the oldest is wanted."""

    source: str
    wanted: int
    failing: int
    oldest: str


class Fetches(ABC):
    """The records that are to be fetched."""

    @abstractmethod
    async def want(self, fetches: Sequence[NewFetch], at: str) -> None:
        """Keeps fetches, durably and all together. One that is wanted already stays due when it is.

        It gets the newest notification.
        """

    @abstractmethod
    async def due(self, source: str, at: str, beyond: str, limit: int) -> Sequence[WantedFetch]:
        """The next fetches of a source that are due at a time, the one that has been due longest first.

        One that is due only after `beyond` is due: its clock was wrong.
        """

    @abstractmethod
    async def done(self, wanted: WantedFetch, due: str) -> None:
        """Removes a fetch. If it was wanted again since it was read, it stays, as a new one that is due at a time."""

    @abstractmethod
    async def failed(self, wanted: WantedFetch, error: str, tries: int, due: str) -> None:
        """Notes that a fetch failed, how often it was tried by now, and when it is due again."""

    @abstractmethod
    async def oldest(self, limit: int, source: str | None = None) -> Sequence[WantedFetch]:
        """Wanted fetches of one source or all, those that are wanted longest first."""

    @abstractmethod
    async def counts(self) -> Sequence[FetchCount]:
        """How many are wanted, by source."""
