"""Decisions about many dead letters: those that a filter selects and that were open when it began, oldest first."""

from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, Sequence
from typing import Literal, NamedTuple, TypeAlias

from pagefold.engine.audit.audit_log import AuditAction, AuditLog
from pagefold.engine.dead_letters.dead_letter_cursors import span_cursor, span_of
from pagefold.engine.dead_letters.delivery_decisions import DeliveryDecisions, deliveries_in
from pagefold.engine.dead_letters.merged_letters import MergedLetters
from pagefold.engine.errors import CountChanged
from pagefold.engine.intake.operators import check_operator, check_reason
from pagefold.engine.runtime.clock import now
from pagefold.engine.stores.dead_letter_records import (
    FIRST_KEY,
    OPEN,
    DeadLetterFilter,
    DeadLetterHeader,
    DeadLetterKey,
    Resolution,
)
from pagefold.engine.stores.store import Store

RetryResult: TypeAlias = Literal["resolved", "still dead", "queued", "gone"]
"""The result of retrying a dead letter. `queued`: a worker sends the delivery again. `gone`: it was resolved before."""

DiscardResult: TypeAlias = Literal["discarded", "gone"]

MAX_RETRIED = 100
"""Dead letters that one call of `retry_some` retries."""

MAX_DISCARDED = 500
"""Dead letters that one call of `discard_some` discards, and one transaction."""

STEP = 20
"""Dead letters that are listed at a time while many are retried; one of them is in memory."""


class RetryBatch(NamedTuple):
    """The results of one chunk, by id, oldest first, and the cursor of the next, None at the end."""

    results: list[tuple[str, RetryResult]]
    next: str | None


class DiscardBatch(NamedTuple):
    """The results of one chunk, by id, oldest first, and the cursor of the next, None at the end."""

    results: list[tuple[str, DiscardResult]]
    next: str | None


class BulkDecisions(ABC):
    """Retries and discards the open dead letters that a filter selects.

    Those added or reopened after the start are not included. With `expect`, nothing is done unless the filter selects
    exactly this number at the start: raises `CountChanged`.
    """

    def __init__(self, store: Store) -> None:
        self._kept = store.dead_letters
        self._dead_letters = MergedLetters(store)
        self._deliveries = DeliveryDecisions(store.delivery_letters)
        self._audit = AuditLog(store.audit)

    @abstractmethod
    async def _retry(self, dead_letter: DeadLetterHeader, by: str | None) -> RetryResult:
        """Retries one dead letter; `by` is the operator."""

    async def retry_all(
        self,
        wanted: DeadLetterFilter = OPEN,
        *,
        by: str | None = None,
        reason: str | None = None,
        expect: int | None = None,
    ) -> AsyncGenerator[tuple[str, RetryResult], None]:
        """Retries every dead letter once and yields each result. `by` is the operator, `reason` for the record."""
        after: str | None = None
        async with self._audit.action("dead-letters retry", _target(wanted), by=by, reason=reason) as action:
            while True:
                dead_letters, after = await self._next_open(wanted, after, STEP, expect)
                async for name, result in self._retried(dead_letters, by, reason, action):
                    yield name, result
                if after is None:
                    return

    async def retry_some(
        self,
        wanted: DeadLetterFilter = OPEN,
        *,
        after: str | None = None,
        limit: int = STEP,
        by: str | None = None,
        expect: int | None = None,
    ) -> RetryBatch:
        """Retries one chunk as `retry_all` does: `limit` dead letters, at most `MAX_RETRIED`. Raises `UnknownCursor`.

        Calling it until there is no cursor retries every dead letter that was open at the first call, once. `expect`
        counts at the first.
        """
        limit = max(1, min(limit, MAX_RETRIED))
        async with self._audit.action("dead-letters retry", _target(wanted), by=by) as action:
            dead_letters, following = await self._next_open(wanted, after, limit, expect)
            results = [each async for each in self._retried(dead_letters, by, None, action)]
        return RetryBatch(results, following)

    async def _retried(
        self, dead_letters: Sequence[DeadLetterHeader], by: str | None, reason: str | None, action: AuditAction
    ) -> AsyncGenerator[tuple[str, RetryResult], None]:
        """Retries some, deliveries in one transaction, and yields each result in their order."""
        deliveries = deliveries_in(dead_letters)
        queued = await self._deliveries.queue(deliveries, by, reason)
        results: dict[str, RetryResult] = {each.id: "queued" if each.id in queued else "gone" for each in deliveries}
        for result in results.values():
            action.count(result)
        for dead_letter in dead_letters:
            if dead_letter.id not in results:
                results[dead_letter.id] = await self._retry(dead_letter, by)
                action.count(results[dead_letter.id])
            yield dead_letter.id, results[dead_letter.id]

    async def discard_all(
        self, wanted: DeadLetterFilter, reason: str, operator: str, *, expect: int | None = None
    ) -> AsyncGenerator[tuple[str, DiscardResult], None]:
        """Discards every dead letter, and yields each result. Raises `Rejected` as `discard` does."""
        check_operator(operator)
        check_reason(reason)
        after: str | None = None
        async with self._audit.action("dead-letters discard", _target(wanted), by=operator, reason=reason) as action:
            while True:
                dead_letters, after = await self._next_open(wanted, after, MAX_DISCARDED, expect)
                for result in await self._discarded(dead_letters, reason, operator):
                    action.count(result[1])
                    yield result
                if after is None:
                    return

    async def discard_some(  # as many as a decision has
        self,
        wanted: DeadLetterFilter,
        reason: str,
        operator: str,
        *,
        after: str | None = None,
        limit: int = MAX_DISCARDED,
        expect: int | None = None,
    ) -> DiscardBatch:
        """Discards one chunk, durably, at most `MAX_DISCARDED`, as `retry_some` retries one. Raises `Rejected`."""
        check_operator(operator)
        check_reason(reason)
        limit = max(1, min(limit, MAX_DISCARDED))
        async with self._audit.action("dead-letters discard", _target(wanted), by=operator, reason=reason) as action:
            dead_letters, following = await self._next_open(wanted, after, limit, expect)
            results = await self._discarded(dead_letters, reason, operator)
            for _, result in results:
                action.count(result)
        return DiscardBatch(results, following)

    async def _discarded(
        self, dead_letters: Sequence[DeadLetterHeader], reason: str, operator: str
    ) -> list[tuple[str, DiscardResult]]:
        """Discards those that are open."""
        kept = [each for each in dead_letters if not each.is_delivery]
        resolved = await self._kept.resolve_open(kept, Resolution("discarded", now(), operator, reason))
        resolved |= await self._deliveries.discard(deliveries_in(dead_letters), operator, reason)
        return [(each.id, "discarded" if each.id in resolved else "gone") for each in dead_letters]

    async def _next_open(
        self, wanted: DeadLetterFilter, after: str | None, limit: int, expect: int | None
    ) -> tuple[Sequence[DeadLetterHeader], str | None]:
        """The next dead letters after a cursor, which also holds the end, and the cursor of those after them."""
        wanted = wanted._replace(resolved=False)
        place, end = await self._begin(wanted, expect) if after is None else span_of(after)
        dead_letters = await self._dead_letters.oldest(wanted, after=place, limit=limit) if place < end else []
        is_last = len(dead_letters) < limit or dead_letters[-1].key >= end
        following = None if is_last else span_cursor(dead_letters[-1].key, end)
        return [dead_letter for dead_letter in dead_letters if dead_letter.key <= end], following

    async def _begin(self, wanted: DeadLetterFilter, expect: int | None) -> tuple[DeadLetterKey, DeadLetterKey]:
        """The keys before the first and of the last. They are counted after the last is known: more may be counted."""
        newest = await self._dead_letters.newest(wanted, limit=1)
        if expect is not None and (found := await self._dead_letters.count(wanted)) != expect:
            raise CountChanged(expect, found)
        return FIRST_KEY, newest[0].key if newest else FIRST_KEY


def _target(wanted: DeadLetterFilter) -> str:
    """The filter, as options of the command: `--cause 3b8c928c6277`."""
    given = {"kind": wanted.kind, "domain": wanted.domain, "source": wanted.source, "cause": wanted.cause}
    return " ".join(f"--{name} {value}" for name, value in given.items() if value is not None) or "--all"
