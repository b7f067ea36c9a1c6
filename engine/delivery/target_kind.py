"""The contract of a kind of target: what it is given, what it answers, and what follows from the answer.

A kind knows one protocol. It does not know retries, rates, receipts or the store: the deliverer does all of that, the
same for every kind, by the answers. Two kinds of fault are distinguished, because they end differently: `Refused` is
the fault of one document, and a person has to look at it in the end; `Unavailable` is the fault of the target, which
says nothing about the document, however often it happens.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import NamedTuple, Self, TypeAlias

import msgspec


class PageKey(NamedTuple):
    """Which page."""

    sku: str
    channel: str


class DeclaredRequest(msgspec.Struct, frozen=True):
    """A request that takes back what a target has taken, as the configuration declares it. `body` may be empty."""

    method: str
    path: str
    body: str = ""


class Item(NamedTuple):
    """The newest state of a page, for a target.

    `document` is what it gets, None if it must no longer hold the page: a withdrawal. `tag` is the document's entity
    tag, empty for a withdrawal. `position` is the position of the log up to which it is known to be folded: it never
    falls from one delivery of a page to the next, so that a target can refuse an older one. `key` is the idempotency
    key: the same for every attempt to deliver this document to this target. `attempt` counts from 1. `request` is sent
    in place of the document, by a kind that the configuration allows it for.
    """

    page: PageKey
    document: bytes | None
    tag: str
    position: int
    key: str
    attempt: int = 1
    request: DeclaredRequest | None = None


class Limits(NamedTuple):
    """What a target said about its limits with an answer; None where it said nothing.

    `remaining` requests are left in the window, which ends in `reset` seconds. For `retry_after` seconds, nothing may
    be sent. `throttled`: the answer was that too much was sent.
    """

    remaining: int | None = None
    reset: float | None = None
    retry_after: float | None = None
    throttled: bool = False


NO_LIMITS = Limits()


class Taken(NamedTuple):
    """The target has applied the document: this is what a receipt says. `text` is the answer in a few words."""

    text: str


class Refused(NamedTuple):
    """The target does not take this document, for a reason that lies in it. Others may be taken.

    `alone` is False if the answer was to a batch as a whole: any of its documents may be the reason. `unknown_address`:
    the target knows nothing at the page's address, which may be the fault of the configuration.
    """

    text: str
    alone: bool = True
    unknown_address: bool = False


class Unavailable(NamedTuple):
    """The target did not answer, or for no reason that lies in the document.

    `received`: it may have applied the document; False where nothing was sent, or the answer says that it has not.
    """

    text: str
    received: bool = True


Answer: TypeAlias = Taken | Refused | Unavailable


class Answers(NamedTuple):
    """One answer an item, in the same order, and what the target said about its limits."""

    items: Sequence[Answer]
    limits: Limits = NO_LIMITS


class TargetKind(ABC):
    """A connection to one target, for the length of an `async with`. Several deliveries may be under way at once."""

    max_batch: int = 1
    """Documents that one delivery may have. The deliverer sends no more, and no two of one page."""

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Closes what is open. What was not delivered by then is given up; files are complete."""
        return

    @abstractmethod
    async def deliver(self, items: Sequence[Item]) -> Answers:
        """Delivers some pages, and says of each whether the target has applied it.

        Takes no longer than the configured timeout. Raises nothing for a fault of a document or of the target: that is
        an answer. `Taken` means applied: a kind whose target works later waits for the result.
        """

    async def read(self, pages: Sequence[PageKey]) -> Mapping[PageKey, str] | None:  # noqa: ARG002  # of the contract
        """The tags of what the target holds, of these pages; a page that it does not hold is left out.

        None if such a target cannot be read. Raises `pagefold.TargetUnreadable`.
        """
        return None
