"""What operators decide about deliveries that were given up: sent again, with another document, or not at all."""

from collections.abc import Awaitable, Callable, Collection, Sequence
from typing import TypeAlias

import msgspec

from pagefold.domains.domain import DECODE_ERRORS, JSON
from pagefold.engine.errors import Rejected
from pagefold.engine.intake.event_parser import MAX_EVENT_BYTES
from pagefold.engine.runtime.clock import now
from pagefold.engine.stores.dead_letter_records import DeadLetter, DeadLetterHeader
from pagefold.engine.stores.delivery_letters import Decided, DeliveryLetters
from pagefold.projections.streams import parse_stream_id

DocumentOf: TypeAlias = Callable[[str, str, str], Awaitable[bytes | None]]
"""The document that a target would be sent of a page, by target, SKU and channel; None for a withdrawal."""


class DeliveryDecisions:
    """Decides about dead letters of kind `delivery`. Those that are no longer open are left alone."""

    def __init__(self, letters: DeliveryLetters) -> None:
        self._letters = letters
        self._document_of: DocumentOf | None = None

    def documents_from(self, document_of: DocumentOf) -> None:
        """Sets where the documents of pages come from."""
        self._document_of = document_of

    async def queue(
        self, dead_letters: Collection[DeadLetterHeader], by: str | None, reason: str | None = None
    ) -> set[str]:
        """Lets them be sent again, as their pages are then; returns the ids of those that were open."""
        return await self._ids(self._letters.retry, dead_letters, Decided(now(), by, reason))

    async def discard(self, dead_letters: Collection[DeadLetterHeader], by: str, reason: str) -> set[str]:
        """Discards them until their pages change; returns the ids of those that were open."""
        return await self._ids(self._letters.discard, dead_letters, Decided(now(), by, reason))

    async def edit(self, dead_letter: DeadLetterHeader, document: bytes, by: str, reason: str | None) -> bool:
        """Has a document sent once in place of the page's. False if it is not open. Raises `Rejected`."""
        check_document(document)
        return await self._letters.edit(dead_letter.number, document, Decided(now(), by, reason))

    async def content_of(self, dead_letter: DeadLetter) -> bytes:
        """The document that a retry sends: a person's, or that of the page; `null` for a withdrawal."""
        if dead_letter.state:
            return dead_letter.state.removeprefix(b"\0")  # of a request that a saga declares
        sku, channel, _, target = parse_stream_id(dead_letter.originator_id)
        document = None if self._document_of is None else await self._document_of(target, sku, channel)
        return b"null" if document is None else document

    async def _ids(
        self,
        decide: Callable[[Collection[int], Decided], Awaitable[set[int]]],
        dead_letters: Collection[DeadLetterHeader],
        decision: Decided,
    ) -> set[str]:
        if not dead_letters:
            return set()
        done = await decide([each.number for each in dead_letters], decision)
        return {each.id for each in dead_letters if each.number in done}


def deliveries_in(dead_letters: Sequence[DeadLetterHeader]) -> list[DeadLetterHeader]:
    """Those of kind `delivery`."""
    return [each for each in dead_letters if each.is_delivery]


def check_document(document: bytes) -> None:
    """Raises `Rejected` unless it is a JSON object that is not too large."""
    if len(document) > MAX_EVENT_BYTES:
        raise Rejected("", f"has {len(document)} bytes; at most {MAX_EVENT_BYTES} are allowed")
    try:
        found: JSON = msgspec.json.decode(document)
    except DECODE_ERRORS as error:
        raise Rejected("", f"is not JSON: {error}") from None
    if not isinstance(found, dict):
        raise Rejected("", "is not a JSON object; a target gets a document, such as the one that `show` prints")
