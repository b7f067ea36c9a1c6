"""Deliveries that were given up, as dead letters of kind `delivery`, and the contract for them. Both stores keep it.

There is no copy: a dead letter is a row of the deliveries whose target has refused it to the last try. It has a number
from the first time on, and is a dead letter no more once its page changes, or a person lets it be sent again.
"""

from abc import ABC, abstractmethod
from collections.abc import Collection, Sequence
from typing import Any, NamedTuple, TypeAlias

import msgspec

from pagefold.engine.stores.dead_letter_causes import cause_key
from pagefold.engine.stores.dead_letter_records import (
    FIRST_KEY,
    LAST_KEY,
    MAX_CAUSES,
    MAX_LISTED,
    OPEN,
    DeadLetter,
    DeadLetterCause,
    DeadLetterFilter,
    DeadLetterHeader,
    DeadLetterKey,
    Kind,
    ResolutionKind,
)
from pagefold.engine.stores.delivery_records import DeliveryState, Settlement, answer_of, micros_of, text_of
from pagefold.projections.streams import encode_part

DELIVERY: Kind = "delivery"

STEP_MICROSECONDS = 600_000_000
"""Ten minutes, by which a history counts."""

MAX_LETTER = 2**62

Selecting: TypeAlias = tuple[DeliveryState, str | None, str | None]
"""A state, a target or any, a cause or any."""


class Decided(NamedTuple):
    """What a person decided about a dead letter: when, as fixed-width UTC text, who and why."""

    at: str
    by: str | None
    reason: str | None = None


def stored_decision(decision: Decided) -> str:
    """The text that is stored."""
    return msgspec.json.encode(decision).decode()


def letter_name(target: str, sku: str, channel: str) -> str:
    """In place of a stream: the page, and the target in the place of the source."""
    return f"{encode_part(sku)}/{encode_part(channel)}//{encode_part(target)}"


def letter_cause(target: str, settlement: Settlement) -> str | None:
    """The key of the cause of a delivery that is given up now."""
    if settlement.outcome != "dead":
        return None
    name = letter_name(target, settlement.sku, settlement.channel)
    return cause_key(DELIVERY, "", name, answer_of(settlement.answer))


def selecting(selection: DeadLetterFilter) -> Selecting | None:
    """What a filter selects of deliveries; None for nothing.

    A source is a target only together with the kind: a decision about the events of a source is none about a target of
    the same name.
    """
    if selection.kind not in (None, DELIVERY) or selection.domain is not None:
        return None
    if selection.source is not None and selection.kind is None:
        return None
    return "discarded" if selection.resolved else "dead", selection.source, selection.cause


def listing(statement: str, chosen: Selecting, after: DeadLetterKey, limit: int) -> tuple[str, list[object]]:
    """A statement that lists, and its bindings: those of kinds before this one are smaller at the same moment."""
    state, target, cause = chosen
    number = after.number if after.kind == DELIVERY else MAX_LETTER if after.kind > DELIVERY else -1
    bindings: list[object] = [state, micros_of(after.recorded_at), number, limit]
    if cause is not None:
        return f"{statement}_of_cause", [*bindings, cause, target]
    if target is not None:
        return f"{statement}_of_target", [*bindings, target]
    return statement, bindings


def letter_header(row: Sequence[Any]) -> DeadLetterHeader:
    """A row of a list."""
    return DeadLetterHeader(**_fields(row[:10]))


def complete_letter(row: Sequence[Any]) -> DeadLetter:
    """A row with what is known of the delivery as headers; its content is a document in place of the page's, if any.

    That is one that a person has edited, or that a group has placed: empty for a withdrawal, after a zero byte a
    request in its place.
    """
    known, (tag, attempts, document) = row[:10], row[10:]
    facts = {
        "target": known[1],
        "tries": f"{attempts:,}",
        "wanted": f"tag {tag}" if tag else "a withdrawal",
        "pages up to": f"position {known[9]:,}",
        "state": known[4],
    }
    state = b"" if document is None else bytes(document).removeprefix(b"\0") or b"null"
    return DeadLetter(**_fields(known), state=state, headers=msgspec.json.encode(facts))


def _fields(known: Sequence[Any]) -> dict[str, Any]:
    number, target, sku, channel, state, answer, died_at, decision, cause, position = known
    decided = Decided("", None) if decision is None else msgspec.json.decode(decision, type=Decided)
    resolution: ResolutionKind | None = {"dead": None, "discarded": "discarded"}.get(state, "queued")
    if resolution is None:
        decided = Decided("", None)
    return {
        "kind": DELIVERY,
        "number": number,
        "domain": "",
        "originator_id": letter_name(target, sku, channel),
        "originator_version": position,
        "revision": 0,
        "error": answer[:MAX_LISTED],
        "recorded_at": text_of(died_at),
        "resolution": resolution,
        "resolved_at": decided.at or None,
        "resolved_by": decided.by,
        "reason": decided.reason,
        "position": None,
        "via": "",
        "purged_at": None,
        "purged_by": None,
        "cause": cause or "",
    }


def letter_of_cause(row: Sequence[Any]) -> DeadLetterCause:
    """A cause, from its columns."""
    key, letters, first, last, number, target, sku, channel, answer = row
    name = letter_name(target, sku, channel)
    found = (key, letters, text_of(first), text_of(last), DELIVERY, number, "")
    return DeadLetterCause(*found, name, answer[:MAX_LISTED])


def history_of(rows: Collection[Sequence[int]]) -> list[tuple[str, int]]:
    """The steps of a history as the beginnings of their moments."""
    return [(text_of(step * STEP_MICROSECONDS)[:15], number) for step, number in rows]


class DeliveryLetters(ABC):
    """The deliveries that were given up, as `DeadLetters` has others: the same order, filters, causes and limits."""

    @abstractmethod
    async def newest(
        self, selection: DeadLetterFilter = OPEN, *, after: DeadLetterKey = LAST_KEY, limit: int = 100
    ) -> list[DeadLetterHeader]:
        """The next ones after a key, newest first; of resolved ones, those that were discarded."""

    @abstractmethod
    async def oldest(
        self, selection: DeadLetterFilter = OPEN, *, after: DeadLetterKey = FIRST_KEY, limit: int = 100
    ) -> list[DeadLetterHeader]:
        """The next ones after a key, oldest first."""

    @abstractmethod
    async def get(self, number: int) -> DeadLetter | None:
        """One of them, whatever became of it: `queued` if it waits again, or was delivered since."""

    @abstractmethod
    async def count(self, selection: DeadLetterFilter = OPEN) -> int:
        """Counts them: without a cause, no rows are read."""

    @abstractmethod
    async def causes(self, limit: int = MAX_CAUSES) -> list[DeadLetterCause]:
        """The causes that have open ones, by key; of each, a bounded number is counted."""

    @abstractmethod
    async def cause_history(self, key: str, since: str) -> list[tuple[str, int]]:
        """How many of a cause were given up since a moment, by ten minutes, as `DeadLetters.cause_history`."""

    @abstractmethod
    async def retry(self, numbers: Collection[int], decision: Decided) -> set[int]:
        """Makes open ones due now, with their tries started over, durably; returns which were open."""

    @abstractmethod
    async def discard(self, numbers: Collection[int], decision: Decided) -> set[int]:
        """Discards open ones until their pages change, durably; returns which were open."""

    @abstractmethod
    async def edit(self, number: int, document: bytes, decision: Decided) -> bool:
        """Has a document sent once in place of the page's, unless the page changes before, durably.

        False if it is not open, or is a withdrawal.
        """
