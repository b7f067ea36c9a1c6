"""Dead letters for operators: events and requests that could not be appended or folded, and how to resolve them."""

from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from datetime import datetime
from hashlib import blake2b
from types import MappingProxyType
from typing import Literal, NamedTuple, TypeAlias

import msgspec

from pagefold.domains import DOMAINS
from pagefold.domains.values import MAX_INTEGER, format_timestamp
from pagefold.engine.applied.applied_configuration import AppliedConfiguration
from pagefold.engine.dead_letters.corrector import Corrector, Payload, correction_event, event_in
from pagefold.engine.dead_letters.dead_letter_views import DeadLetterDetail, detail_of
from pagefold.engine.errors import DeadLetterResolved, Rejected, UnknownCursor, UnknownDeadLetter
from pagefold.engine.events import AppendResult, DomainEvent
from pagefold.engine.folding.folder import Folder
from pagefold.engine.folding.mixed_pages import mark_mixed
from pagefold.engine.intake.epoch_registry import EpochRegistry
from pagefold.engine.intake.event_validator import EventValidator
from pagefold.engine.intake.formats.request_parts import Awaited
from pagefold.engine.intake.operators import check_operator, check_reason
from pagefold.engine.runtime.clock import now
from pagefold.engine.stores.dead_letter_records import (
    FIRST_KEY,
    KINDS,
    LAST_KEY,
    OPEN,
    REQUEST_PREFIX,
    DeadLetter,
    DeadLetterFilter,
    DeadLetterHeader,
    DeadLetterKey,
    Kind,
    NewDeadLetter,
    Resolution,
    ResolutionKind,
    Via,
)
from pagefold.engine.stores.store import Store
from pagefold.projections.streams import encode_part

RetryResult: TypeAlias = Literal["resolved", "still dead", "gone"]
"""The result of retrying a dead letter. `gone`: it was resolved before."""

Append: TypeAlias = Callable[[Sequence[DomainEvent]], Awaitable[list[AppendResult]]]
Deliver: TypeAlias = Callable[[DeadLetter, str | None], Awaitable[ResolutionKind | None]]
"""Retries a request, for an operator or for itself. Returns how that resolves its dead letter; None if it does not."""

MAX_NUMBER_DIGITS = 18
"""Digits of a number that every database takes as an integer."""

MAX_LISTED = 500
"""Dead letters in a list."""

MAX_RETRIED = 100
"""Dead letters that one call of `retry_some` retries."""

MAX_FULL = 100
"""Dead letters that are returned with their content at once. Each may have a megabyte."""

STEP = 20
"""Dead letters that are listed at a time while many are retried; one of them is in memory."""

CURSOR_SEPARATOR = "_"
"""Separates the key reached and the last key in the cursor of `retry_some`."""


def resolved_error(dead_letter: DeadLetterHeader) -> DeadLetterResolved:
    """The error for a dead letter that is no longer open."""
    return DeadLetterResolved(dead_letter.id, dead_letter.resolution, dead_letter.resolved_by, dead_letter.resolved_at)


class DeadLetterList(NamedTuple):
    """One chunk of dead letters, newest first, and the cursor of the next, None at the end."""

    dead_letters: list[DeadLetterHeader]
    next: str | None


class RetryBatch(NamedTuple):
    """The results of one chunk, by id, oldest first, and the cursor of the next, None at the end."""

    results: list[tuple[str, RetryResult]]
    next: str | None


class DeadLetterService:
    """Lists, retries, corrects and discards dead letters. None is ever deleted."""

    def __init__(
        self,
        store: Store,
        applied: AppliedConfiguration,
        validator: EventValidator,
        append: Append,
        epochs: EpochRegistry,
    ) -> None:
        self._store = store
        self._dead_letters = store.dead_letters
        self._append = append
        self._corrector = Corrector(store.log, validator, epochs)
        self._applied = applied
        self._deliver: Deliver | None = None

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
        place = LAST_KEY if after is None else _place(after)
        found = await self._dead_letters.newest(wanted, after=place, limit=limit + 1)
        dead_letters = found[:limit]
        return DeadLetterList(dead_letters, _cursor(dead_letters[-1].key) if len(found) > limit else None)

    async def count(self, wanted: DeadLetterFilter = OPEN) -> int:
        """The number of matching dead letters."""
        return await self._dead_letters.count(wanted)

    async def get(self, identifier: str) -> DeadLetter:
        """The dead letter with an id such as `projection-12`, open or resolved. Raises `UnknownDeadLetter`."""
        kind, number = _parse(identifier)
        dead_letter = await self._dead_letters.get(kind, number)
        if dead_letter is None:
            raise UnknownDeadLetter(identifier)
        return dead_letter

    async def describe(self, dead_letter: DeadLetter) -> DeadLetterDetail:
        """The dead letter with its content and, for a conflict, the difference from the stored event."""
        return await detail_of(dead_letter, self._store.log)

    # --- trying again -----------------------------------------------------------------------------

    def deliver_with(self, deliver: Deliver) -> None:
        """Sets how requests are retried."""
        self._deliver = deliver

    async def retry(self, dead_letter: DeadLetterHeader, *, by: str | None = None) -> RetryResult:
        """Folds the dead letter's stream again, or appends its event again, and resolves it if that succeeds.

        `by` is the operator.
        """
        current = await self._dead_letters.get(dead_letter.kind, dead_letter.number)
        if current is None or current.resolution is not None:
            return "gone"
        if current.kind == "projection":
            return await self._fold_again(current, by)
        if current.purged_at is not None:
            return "still dead"  # nothing is left to append
        if current.is_request:
            return await self._deliver_again(current, by)
        return await self._append_again(current, by)

    async def retry_all(
        self, wanted: DeadLetterFilter = OPEN, *, by: str | None = None
    ) -> AsyncGenerator[tuple[str, RetryResult], None]:
        """Retries every open dead letter once, oldest first, and yields each result.

        Dead letters added or reopened after the start are not included.
        """
        after: str | None = None
        while True:
            dead_letters, after = await self._next_open(wanted, after, STEP)
            for dead_letter in dead_letters:
                yield dead_letter.id, await self.retry(dead_letter, by=by)
            if after is None:
                return

    async def retry_some(
        self, wanted: DeadLetterFilter = OPEN, *, after: str | None = None, limit: int = STEP, by: str | None = None
    ) -> RetryBatch:
        """Retries one chunk as `retry_all` does: `limit` dead letters, at most `MAX_RETRIED`. Raises `UnknownCursor`.

        Calling it until there is no cursor retries every dead letter that was open at the first call, once.
        """
        dead_letters, following = await self._next_open(wanted, after, max(1, min(limit, MAX_RETRIED)))
        return RetryBatch(
            [(dead_letter.id, await self.retry(dead_letter, by=by)) for dead_letter in dead_letters], following
        )

    async def _next_open(
        self, wanted: DeadLetterFilter, after: str | None, limit: int
    ) -> tuple[list[DeadLetterHeader], str | None]:
        """The next dead letters after a cursor, which also holds the end, and the cursor of those after them."""
        wanted = wanted._replace(resolved=False)
        if after is None:
            place, newest = FIRST_KEY, await self._dead_letters.newest(wanted, limit=1)
            end = newest[0].key if newest else FIRST_KEY
        else:
            place, end = _span(after)
        dead_letters = await self._dead_letters.oldest(wanted, after=place, limit=limit) if place < end else []
        is_last = len(dead_letters) < limit or dead_letters[-1].key >= end
        following = None if is_last else _cursor(dead_letters[-1].key) + CURSOR_SEPARATOR + _cursor(end)
        return [dead_letter for dead_letter in dead_letters if dead_letter.key <= end], following

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
        if result.outcome not in ("appended", "duplicate"):
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
        self, dead_letter: DeadLetter, payload: Payload, operator: str, *, version: int | None = None
    ) -> AppendResult:
        """Replaces the dead letter's payload by an operator's event, and resolves it.

        The event is the next revision of the dead letter's version, or of another `version` of its stream, and names
        the operator and the dead letter, which itself is unchanged. A payload of None or `null` withdraws. For a
        request, the payload is the whole event, as JSON, from the request's source.

        `appended` or `duplicate` (the content is stored already) resolve the dead letter. `rejected`, `conflict`, and
        `duplicate` with a reason (the content is what could not be folded) leave it open. Raises `DeadLetterResolved`,
        or `Rejected` for an operator without a name.
        """
        check_operator(operator)
        await self._check_open(dead_letter)
        try:
            event = correction_event(dead_letter, payload, version)
        except Rejected as refused:
            return AppendResult("rejected", path=refused.path, reason=refused.reason)
        result = await self._corrector.append(dead_letter, event, operator)
        if result.outcome in ("appended", "duplicate") and result.reason is None:
            await self._resolve(dead_letter, Resolution("corrected", now(), operator, position=result.position))
        return result

    async def discard(self, dead_letter: DeadLetterHeader, reason: str, operator: str) -> None:
        """Discards the dead letter for this reason. It stays discarded when the same event fails again.

        Raises `DeadLetterResolved`, and `Rejected` without a reason or an operator's name.
        """
        check_operator(operator)
        check_reason(reason)
        await self._check_open(dead_letter)
        if not await self._resolve(dead_letter, Resolution("discarded", now(), operator, reason)):
            raise resolved_error(await self.get(dead_letter.id))

    async def discard_all(
        self, wanted: DeadLetterFilter, reason: str, operator: str
    ) -> AsyncGenerator[tuple[str, Literal["discarded", "gone"]], None]:
        """Discards every open dead letter that matches, oldest first, and yields each result.

        Dead letters added or reopened after the start are not included. Raises `Rejected` as `discard` does.
        """
        after: str | None = None
        while True:
            dead_letters, after = await self._next_open(wanted, after, STEP)
            for dead_letter in dead_letters:
                try:
                    await self.discard(dead_letter, reason, operator)
                except DeadLetterResolved:
                    yield dead_letter.id, "gone"
                else:
                    yield dead_letter.id, "discarded"
            if after is None:
                return

    async def _check_open(self, dead_letter: DeadLetterHeader) -> None:
        current = await self.get(dead_letter.id)
        if current.resolution is not None:
            raise resolved_error(current)

    async def _resolve(self, dead_letter: DeadLetterHeader, resolution: Resolution) -> bool:
        return await self._dead_letters.resolve(dead_letter.kind, dead_letter.number, resolution)


def dead_letter_of_request(  # noqa: PLR0913  # a request has that many parts
    source: str,
    body: bytes,
    error: str,
    *,
    via: Via = "webhook",
    identifier: str = "",
    headers: Mapping[str, str] = MappingProxyType({}),
    place: tuple[str, int] | None = None,
    awaited: Awaited | None = None,
    recorded_at: str | None = None,
) -> NewDeadLetter:
    """The dead letter for a request, or a part of one, that could not be turned into events.

    Its text is kept unchanged.

    Route, the sender's `identifier` and body identify it: the same request sent again is the same dead letter. `place`
    is the stream and version that it is about, if known; `awaited` is what it waits for, if it waits; `recorded_at` is
    when it came in, now unless it is given.
    """
    stream, version = place or (REQUEST_PREFIX + encode_part(source), 0)
    head = f"{via}\0{identifier}\0".encode(errors="surrogatepass")
    dead_letter = NewDeadLetter(
        kind="ingest",
        domain="",
        originator_id=stream,
        originator_version=version,
        revision=0,
        digest=blake2b(head + body, digest_size=16).digest(),
        error=error.replace("\0", "\\0").encode(errors="backslashreplace").decode(),
        state=body,
        recorded_at=recorded_at or now(),
        headers=msgspec.json.encode(dict(headers)),
        via=via,
    )
    return dead_letter if awaited is None else _waiting(dead_letter, awaited)


def _waiting(dead_letter: NewDeadLetter, awaited: Awaited) -> NewDeadLetter:
    """The same as one that waits. It is another one, also if this body had a fault before."""
    version = awaited.version if 0 <= awaited.version <= MAX_INTEGER else 0
    return dead_letter._replace(
        kind="waiting",
        domain=awaited.domain,
        originator_version=version,
        digest=blake2b(dead_letter.digest, digest_size=16).digest(),
        reference=awaited.reference,
    )


def _parse(identifier: str) -> tuple[Kind, int]:
    name, _, number = identifier.partition("-")
    for kind in KINDS:
        if name == kind and number.isascii() and number.isdigit() and len(number) <= MAX_NUMBER_DIGITS:
            return kind, int(number)
    raise UnknownDeadLetter(identifier)


def _cursor(place: DeadLetterKey) -> str:
    return f"{place.recorded_at}.{place.kind}-{place.number}"


def _place(cursor: str) -> DeadLetterKey:
    moment, _, identifier = cursor.rpartition(".")
    try:
        recorded_at = format_timestamp(datetime.fromisoformat(moment))
        place = DeadLetterKey(recorded_at, *_parse(identifier))
    except (ValueError, OverflowError, UnknownDeadLetter):
        raise UnknownCursor(cursor) from None
    if _cursor(place) != cursor:
        raise UnknownCursor(cursor)
    return place


def _span(cursor: str) -> tuple[DeadLetterKey, DeadLetterKey]:
    reached, between, end = cursor.partition(CURSOR_SEPARATOR)
    if not between:
        raise UnknownCursor(cursor)
    return _place(reached), _place(end)
