"""What a fold gives: of a transaction, of heads, and of one SKU with what it is folded from."""

from collections.abc import Mapping
from typing import NamedTuple, TypeAlias

from pagefold.engine.stores.dead_letter_records import NewDeadLetter
from pagefold.engine.stores.log_records import StoredEvent
from pagefold.engine.stores.reference_records import References
from pagefold.projections import DecodedEvent, KeptPages, SharedSections
from pagefold.projections.inheritance import Parents
from pagefold.projections.known_skus import SkuAnswers

Heads: TypeAlias = dict[str, StoredEvent]
"""The heads of streams, by stream."""


class FoldResult(NamedTuple):
    """What one transaction folded.

    `heads` are all that it read, `bad` those that could not be folded, `settled` those that need no further fold;
    `changed` is the number of SKUs whose sections changed. Large heads come without their payload.
    """

    heads: list[StoredEvent]
    bad: list[StoredEvent]
    settled: list[StoredEvent]
    changed: int


class FoldedSections(NamedTuple):
    """The sections that heads give, by SKU, the heads that could not be folded, and the dead letters that say why.

    `references` are those that the heads state, and their links to parents. `older` are the SKUs that needed versions
    before the heads, each with the newest position of these. `parents` are those of the SKUs, None if nothing is
    inherited. `answers` are those about other SKUs, by SKU (encoded as in the log), if channels ask.
    """

    sections: list[SharedSections]
    bad: list[StoredEvent]
    dead_letters: list[NewDeadLetter]
    references: References
    older: dict[str, int]
    parents: Parents | None = None
    answers: Mapping[str, SkuAnswers] = {}


class ValidSections(NamedTuple):
    """The sections of SKUs that fold without errors, by SKU, and the references that their heads state."""

    sections: list[SharedSections]
    references: References


class ValidEvents(NamedTuple):
    """The sections of one SKU, or what they need, and what they are folded from.

    That is the newest event of each stream that can be folded.

    `events` are those events, `decoded` the same decoded, by stream; where none can be folded, the oldest event, and an
    empty withdrawal. `laid` are the decoded ones laid over those of the `parents`. `failed` are the heads that cannot
    be folded, and why; those that have no parents for a reason are among them, and count. `answers` are those about
    other SKUs, None if no channel asks.
    """

    sections: SharedSections | KeptPages
    events: Heads
    decoded: dict[str, DecodedEvent]
    laid: Mapping[str, DecodedEvent]
    failed: list[tuple[StoredEvent, str]]
    parents: Parents | None
    answers: SkuAnswers | None
