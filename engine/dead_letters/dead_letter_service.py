"""Dead letters for operators: events and requests that could not be appended or folded, and how to resolve them."""

import time
from collections.abc import Awaitable, Callable
from typing import NamedTuple, TypeAlias

import anyio
import msgspec

from pagefold.domains import DOMAINS
from pagefold.engine.applied.applied_configuration import AppliedConfiguration
from pagefold.engine.dead_letters.bulk_decisions import BulkDecisions, RetryResult
from pagefold.engine.dead_letters.corrector import Corrector, Payload, correction_event, event_in
from pagefold.engine.dead_letters.dead_letter_cursors import cursor_of, parse_id, place_of
from pagefold.engine.dead_letters.dead_letter_views import DeadLetterDetail, detail_of
from pagefold.engine.dead_letters.delivery_decisions import DocumentOf
from pagefold.engine.errors import DeadLetterResolved, Rejected, UnknownDeadLetter
from pagefold.engine.events import AppendResult
from pagefold.engine.folding.folder import Folder
from pagefold.engine.folding.mixed_pages import mark_mixed
from pagefold.engine.intake.epoch_registry import EpochRegistry
from pagefold.engine.intake.event_validator import EventValidator
from pagefold.engine.intake.operators import check_operator, check_reason
from pagefold.engine.intake.whole_groups import Append
from pagefold.engine.runtime.clock import days_ago, now
from pagefold.engine.stores.dead_letter_records import (
    LAST_KEY,
    OPEN,
    DeadLetter,
    DeadLetterCause,
    DeadLetterFilter,
    DeadLetterHeader,
    Kind,
    Resolution,
    ResolutionKind,
)
from pagefold.engine.stores.store import Store

Deliver: TypeAlias = Callable[[DeadLetter, str | None], Awaitable[ResolutionKind | None]]
"""Retries a request, for an operator or for itself. Returns how that resolves its dead letter; None if it does not."""

MAX_LISTED = 500
"""Dead letters in a list."""

MAX_FULL = 100
"""Dead letters that are returned with their content at once. Each may have a megabyte."""

FRESH_SECONDS = 2.0
"""How long recent causes are shown again."""


def resolved_error(dead_letter: DeadLetterHeader) -> DeadLetterResolved:
    """The error for a dead letter that is no longer open."""
    return DeadLetterResolved(dead_letter.id, dead_letter.resolution, dead_letter.resolved_by, dead_letter.resolved_at)


class DeadLetterList(NamedTuple):
    """One chunk of dead letters, newest first, and the cursor of the next, None at the end."""

    dead_letters: list[DeadLetterHeader]
    next: str | None


class DeadLetterService(BulkDecisions):
    """Lists, retries, corrects and discards dead letters, one or many. None is ever deleted."""

    def __init__(
        self,
        store: Store,
        applied: AppliedConfiguration,
        validator: EventValidator,
        append: Append,
        epochs: EpochRegistry,
    ) -> None:
        super().__init__(store)
        self._store = store
        self._append = append
        self._corrector = Corrector(store.log, validator, epochs)
        self._applied = applied
        self._deliver: Deliver | None = None
        self._recent_causes: list[DeadLetterCause] = []
        self._causes_until = 0.0
        self._causes_lock = anyio.Lock()

    # --- looking ----------------------------------------------------------------------------------

    async def newest(
        self, *, kind: Kind | None = None, domain: str | None = None, limit: int = 100
    ) -> list[DeadLetter]:
        """The newest open dead letters with their content, newest first, at most `MAX_FULL`."""
        listed = await self._dead_letters.newest(DeadLetterFilter(kind, domain), limit=min(limit, MAX_FULL))
        dead_letters = [await self.get(dead_letter.id) for dead_letter in listed]
        return [dead_letter for dead_letter in dead_letters if dead_letter.resolution is None]

    async def page(
        self, wanted: DeadLetterFilter = OPEN, *, after: str | None = None, limit: int = 100
    ) -> DeadLetterList:
        """The dead letters after a cursor, newest first, at most `MAX_LISTED`. Raises `UnknownCursor`.

        Dead letters added or reopened meanwhile are in the first chunk.
        """
        limit = max(1, min(limit, MAX_LISTED))
        place = LAST_KEY if after is None else place_of(after)
        found = await self._dead_letters.newest(wanted, after=place, limit=limit + 1)
        dead_letters = found[:limit]
        return DeadLetterList(dead_letters, cursor_of(dead_letters[-1].key) if len(found) > limit else None)

    async def count(self, wanted: DeadLetterFilter = OPEN) -> int:
        """The number of matching dead letters."""
        return await self._dead_letters.count(wanted)

    async def causes(self) -> list[DeadLetterCause]:
        """The causes that have open dead letters, at most `MAX_CAUSES`: those with the most dead letters first.

        Dead letters that an older program added get their causes first.
        """
        found = await self._dead_letters.causes()
        if found and not found[0].key:
            while await self._kept.assign_causes():
                pass
            found = await self._dead_letters.causes()
        return sorted(found, key=lambda cause: (-cause.letters, cause.key))

    async def recent_causes(self) -> list[DeadLetterCause]:
        """As `causes`, up to `FRESH_SECONDS` old. Concurrent callers share one reading."""
        async with self._causes_lock:
            begun = time.monotonic()
            if begun >= self._causes_until:
                self._recent_causes = await self.causes()
                self._causes_until = begun + FRESH_SECONDS
            return self._recent_causes

    async def cause_history(self, key: str, hours: float = 24.0) -> list[tuple[str, int]]:
        """How many of a cause's open dead letters were added or reopened in the last hours, see `DeadLetters`."""
        return await self._dead_letters.cause_history(key, days_ago(hours / 24))

    async def get(self, identifier: str) -> DeadLetter:
        """The dead letter with an id such as `projection-12`, open or resolved. Raises `UnknownDeadLetter`."""
        kind, number = parse_id(identifier)
        dead_letter = await self._dead_letters.get(kind, number)
        if dead_letter is None:
            raise UnknownDeadLetter(identifier)
        return dead_letter

    async def describe(self, dead_letter: DeadLetter) -> DeadLetterDetail:
        """The dead letter with its content and, for a conflict, the difference from the stored event.

        Of a delivery, its content is the document that a retry sends.
        """
        if dead_letter.is_delivery:
            content = await self._deliveries.content_of(dead_letter)
            dead_letter = msgspec.structs.replace(dead_letter, state=content)
        return await detail_of(dead_letter, self._store.log)

    # --- trying again -----------------------------------------------------------------------------

    def deliver_with(self, deliver: Deliver) -> None:
        """Sets how requests are retried."""
        self._deliver = deliver

    def documents_from(self, document_of: DocumentOf) -> None:
        """Sets where the documents of deliveries come from."""
        self._deliveries.documents_from(document_of)

    async def retry(self, dead_letter: DeadLetterHeader, *, by: str | None = None) -> RetryResult:
        """Folds the dead letter's stream again, or appends its event again, and resolves it if that succeeds.

        A delivery is `queued`: a worker sends the page as it is then. `by` is the operator, None if it is retried
        automatically.
        """
        if by is None:
            return await self._retry(dead_letter, None)
        async with self._audit.action("dead-letters retry", dead_letter.id, by=by) as action:
            result = await self._retry(dead_letter, by)
            action.details["result"] = result
        return result

    async def _retry(self, dead_letter: DeadLetterHeader, by: str | None) -> RetryResult:
        current = await self._dead_letters.get(dead_letter.kind, dead_letter.number)
        if current is None or current.resolution is not None:
            return "gone"
        if current.is_delivery:
            return "queued" if await self._deliveries.queue([current], by) else "gone"
        if current.kind == "projection":
            return await self._fold_again(current, by)
        if current.purged_at is not None:
            return "still dead"  # nothing is left to append
        if current.is_request:
            return await self._deliver_again(current, by)
        return await self._append_again(current, by)

    async def _fold_again(self, dead_letter: DeadLetter, by: str | None) -> RetryResult:
        domain = next((each for each in DOMAINS if each.name == dead_letter.domain), None)
        if domain is None:
            return "still dead"
        await self._applied.refresh()
        config = self._applied.config
        folder = Folder(domain, config.resolved_channels, self._store.log)
        async with self._store.coordination.fold_transaction(domain.name) as folding:
            await mark_mixed(folding, config.fingerprint(domain))
            await folder.fold(folding, [dead_letter.originator_id], by=by)
        current = await self._dead_letters.get(dead_letter.kind, dead_letter.number)
        return "still dead" if current is not None and current.resolution is None else "resolved"

    async def _append_again(self, dead_letter: DeadLetter, by: str | None) -> RetryResult:
        try:
            event = event_in(dead_letter)
        except Rejected:
            return "still dead"
        [result] = await self._append([event])
        if result.outcome not in ("appended", "duplicate", "echo"):
            return "still dead"
        await self._resolve(dead_letter, Resolution("appended", now(), by, position=result.position))
        return "resolved"

    async def _deliver_again(self, dead_letter: DeadLetter, by: str | None) -> RetryResult:
        how = None if self._deliver is None else await self._deliver(dead_letter, by)
        if how is None:
            return "still dead"
        await self._resolve(dead_letter, Resolution(how, now(), by))
        return "resolved"

    # --- deciding ---------------------------------------------------------------------------------

    async def correct(
        self,
        dead_letter: DeadLetter,
        payload: Payload,
        operator: str,
        *,
        version: int | None = None,
        reason: str | None = None,
    ) -> AppendResult:
        """Replaces the dead letter's payload by an operator's event, and resolves it.

        The event is the next revision of the dead letter's version, or of another `version` of its stream, and names
        the operator and the dead letter, which itself is unchanged. A payload of None or `null` withdraws. For a
        request, the payload is the whole event, as JSON, from the request's source. `reason` is for the record.

        `appended` or `duplicate` (the content is stored already) resolve the dead letter. `rejected`, `conflict`, and
        `duplicate` with a reason (the content is what could not be folded) leave it open. Raises `DeadLetterResolved`,
        or `Rejected` for an operator without a name.
        """
        check_operator(operator)
        if reason is not None:
            check_reason(reason)
        async with self._audit.action("dead-letters correct", dead_letter.id, by=operator, reason=reason) as action:
            result = await self._correct(
                dead_letter, payload, Resolution("corrected", now(), operator, reason), version
            )
            action.details["position"] = result.position
            if result.reason is not None:
                action.refuse(f"{result.path}: {result.reason}" if result.path else result.reason)
        return result

    async def _correct(
        self, dead_letter: DeadLetter, payload: Payload, resolution: Resolution, version: int | None
    ) -> AppendResult:
        await self._check_open(dead_letter)
        if dead_letter.is_delivery:
            return AppendResult("rejected", reason="a delivery has no event: edit its document")
        try:
            event = correction_event(dead_letter, payload, version)
        except Rejected as refused:
            return AppendResult("rejected", path=refused.path, reason=refused.reason)
        result = await self._corrector.append(dead_letter, event, resolution.by or "")
        if result.outcome in ("appended", "duplicate") and result.reason is None:
            await self._resolve(dead_letter, resolution._replace(position=result.position))
        return result

    async def edit(
        self, dead_letter: DeadLetterHeader, document: bytes, operator: str, *, reason: str | None = None
    ) -> None:
        """Has a document sent, once, in place of a delivery that was given up, unless its page changes before.

        Raises `DeadLetterResolved`, and `Rejected` for what is no delivery, a withdrawal, or a document that is not a
        JSON object, or for an operator without a name.
        """
        check_operator(operator)
        if reason is not None:
            check_reason(reason)
        async with self._audit.action("dead-letters correct", dead_letter.id, by=operator, reason=reason):
            if not dead_letter.is_delivery:
                raise Rejected("", f"{dead_letter.id} is no delivery: correct its payload")
            await self._check_open(dead_letter)
            if not await self._deliveries.edit(dead_letter, document, operator, reason):
                await self._check_open(dead_letter)
                raise Rejected("", f"{dead_letter.id} is a withdrawal, which has no document")

    async def discard(self, dead_letter: DeadLetterHeader, reason: str, operator: str) -> None:
        """Discards the dead letter for this reason. It stays discarded when the same event fails again.

        Raises `DeadLetterResolved`, and `Rejected` without a reason or an operator's name.
        """
        check_operator(operator)
        check_reason(reason)
        async with self._audit.action("dead-letters discard", dead_letter.id, by=operator, reason=reason):
            await self._check_open(dead_letter)
            if not await self._resolve(dead_letter, Resolution("discarded", now(), operator, reason)):
                raise resolved_error(await self.get(dead_letter.id))

    async def _check_open(self, dead_letter: DeadLetterHeader) -> None:
        current = await self.get(dead_letter.id)
        if current.resolution is not None:
            raise resolved_error(current)

    async def _resolve(self, dead_letter: DeadLetterHeader, resolution: Resolution) -> bool:
        if dead_letter.is_delivery:
            by, reason = resolution.by or "", resolution.reason or ""
            return bool(await self._deliveries.discard([dead_letter], by, reason))
        return await self._kept.resolve(dead_letter.kind, dead_letter.number, resolution)
