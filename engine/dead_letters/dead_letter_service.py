"""What needs a person: events that were kept instead of being folded or appended, and what can be done about them."""

from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from datetime import datetime
from hashlib import blake2b
from types import MappingProxyType
from typing import Literal, NamedTuple, TypeAlias

import msgspec

from pagefold.domains import DOMAINS
from pagefold.domains.values import format_timestamp
from pagefold.engine.configuration.config import Config
from pagefold.engine.dead_letters.corrector import Corrector, Payload, correction_event, event_in
from pagefold.engine.dead_letters.dead_letter_views import DeadLetterDetail, detail_of
from pagefold.engine.errors import DeadLetterResolved, Rejected, UnknownCursor, UnknownDeadLetter
from pagefold.engine.events import AppendResult, DomainEvent
from pagefold.engine.folding.folder import Folder
from pagefold.engine.intake.epoch_registry import EpochRegistry
from pagefold.engine.intake.event_validator import EventValidator
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
"""What became of a letter that was tried again. `gone`: somebody else resolved it before."""

Append: TypeAlias = Callable[[Sequence[DomainEvent]], Awaitable[list[AppendResult]]]
Deliver: TypeAlias = Callable[[DeadLetter], Awaitable[ResolutionKind | None]]
"""Tries a request again, and tells how that resolves its letter; None when it does not."""

LONGEST_NUMBER = 18
"""Digits that every database takes as an integer."""

LARGEST_PAGE = 500
"""Letters of a page."""

MOST_TRIED = 100
"""Letters that one call of `retry_some` tries again."""

MOST_WHOLE = 100
"""Letters that are given whole at once. Each may have a megabyte."""

STEP = 20
"""Letters that are named at a time while many are tried again; one of them is in memory."""

BETWEEN = "_"
"""Stands between the place that was reached and the last one, in the cursor of those who try many again."""


def resolved(letter: DeadLetterHeader) -> DeadLetterResolved:
    """The error for a dead letter that is no longer open."""
    return DeadLetterResolved(letter.id, letter.resolution, letter.resolved_by, letter.resolved_at)


class DeadLetterList(NamedTuple):
    """Some letters, the newest first, and the cursor of the next page, None on the last one."""

    letters: list[DeadLetterHeader]
    next: str | None


class RetryBatch(NamedTuple):
    """What became of some letters, by name, the oldest first; the cursor of the next, None when all were tried."""

    results: list[tuple[str, RetryResult]]
    next: str | None


class DeadLetterService:
    """Lists dead letters, tries them again, and takes an operator's decision about them. None is ever deleted."""

    def __init__(
        self, store: Store, config: Config, validator: EventValidator, append: Append, epochs: EpochRegistry
    ) -> None:
        self._store = store
        self._letters = store.dead_letters
        self._append = append
        self._corrector = Corrector(store.log, validator, epochs)
        self._folders = {domain.name: Folder(domain, config.resolved_channels, store.log) for domain in DOMAINS}
        self._deliver: Deliver | None = None

    # --- looking ----------------------------------------------------------------------------------

    async def newest(
        self, *, kind: Kind | None = None, domain: str | None = None, limit: int = 100
    ) -> list[DeadLetter]:
        """The newest open letters, the newest first, at most `MOST_WHOLE`, whole."""
        listed = await self._letters.newest(DeadLetterFilter(kind, domain), limit=min(limit, MOST_WHOLE))
        letters = [await self.get(letter.id) for letter in listed]
        return [letter for letter in letters if letter.resolution is None]

    async def page(
        self, wanted: DeadLetterFilter = OPEN, *, after: str | None = None, limit: int = 100
    ) -> DeadLetterList:
        """The next letters behind a cursor, the newest first, at most `LARGEST_PAGE`. Raises `UnknownCursor`.

        A letter that comes, or comes back, in the meantime is on the first page.
        """
        limit = max(1, min(limit, LARGEST_PAGE))
        place = LAST_KEY if after is None else _place(after)
        found = await self._letters.newest(wanted, after=place, limit=limit + 1)
        letters = found[:limit]
        return DeadLetterList(letters, _cursor(letters[-1].key) if len(found) > limit else None)

    async def count(self, wanted: DeadLetterFilter = OPEN) -> int:
        """How many there are."""
        return await self._letters.count(wanted)

    async def get(self, identifier: str) -> DeadLetter:
        """A letter by its name, such as `projection-12`, open or resolved. Raises `UnknownDeadLetter`."""
        kind, number = _parse(identifier)
        letter = await self._letters.get(kind, number)
        if letter is None:
            raise UnknownDeadLetter(identifier)
        return letter

    async def describe(self, letter: DeadLetter) -> DeadLetterDetail:
        """A letter whole, as it is shown; of a conflict, also how it differs from what stands."""
        return await detail_of(letter, self._store.log)

    # --- trying again -----------------------------------------------------------------------------

    def deliver_with(self, deliver: Deliver) -> None:
        """From now on, deliveries that could not be made events are tried again with this. It appends what it can."""
        self._deliver = deliver

    async def retry(self, letter: DeadLetterHeader, *, by: str | None = None) -> RetryResult:
        """Folds the letter's stream again, or appends its event again, and resolves the letter when that helps.

        `by` is the operator.
        """
        current = await self._letters.get(letter.kind, letter.number)
        if current is None or current.resolution is not None:
            return "gone"
        if current.purged_at is not None and current.kind == "ingest":
            return "still dead"  # nothing is left that could be said again
        if current.is_request:
            return await self._deliver_again(current, by)
        match current.kind:
            case "projection":
                return await self._fold_again(current, by)
            case "ingest":
                return await self._append_again(current, by)

    async def retry_all(
        self, wanted: DeadLetterFilter = OPEN, *, by: str | None = None
    ) -> AsyncGenerator[tuple[str, RetryResult], None]:
        """Tries all open letters that there are by now, the oldest first, each once, and tells what became of each.

        It ends, whatever comes or comes back meanwhile: that is behind the newest letter of the beginning.
        """
        after: str | None = None
        while True:
            letters, after = await self._next_open(wanted, after, STEP)
            for letter in letters:
                yield letter.id, await self.retry(letter, by=by)
            if after is None:
                return

    async def retry_some(
        self, wanted: DeadLetterFilter = OPEN, *, after: str | None = None, limit: int = STEP, by: str | None = None
    ) -> RetryBatch:
        """Does a part of `retry_all`, behind a cursor: `limit` letters, at most `MOST_TRIED`. Raises `UnknownCursor`.

        Whoever goes on until there is no cursor has tried all that there were when they began, each once.
        """
        letters, following = await self._next_open(wanted, after, max(1, min(limit, MOST_TRIED)))
        return RetryBatch([(letter.id, await self.retry(letter, by=by)) for letter in letters], following)

    async def _next_open(
        self, wanted: DeadLetterFilter, after: str | None, limit: int
    ) -> tuple[list[DeadLetterHeader], str | None]:
        """The next letters behind a cursor, which tells where to end as well, and the cursor of those behind them."""
        wanted = wanted._replace(resolved=False)
        if after is None:
            place, newest = FIRST_KEY, await self._letters.newest(wanted, limit=1)
            end = newest[0].key if newest else FIRST_KEY
        else:
            place, end = _span(after)
        letters = await self._letters.oldest(wanted, after=place, limit=limit) if place < end else []
        is_last = len(letters) < limit or letters[-1].key >= end
        following = None if is_last else _cursor(letters[-1].key) + BETWEEN + _cursor(end)
        return [letter for letter in letters if letter.key <= end], following

    async def _fold_again(self, letter: DeadLetter, by: str | None) -> RetryResult:
        folder = self._folders.get(letter.domain)
        if folder is None:
            return "still dead"
        async with self._store.coordination.fold_transaction(letter.domain) as folding:
            await folder.fold(folding, [letter.originator_id], by=by)
        current = await self._letters.get(letter.kind, letter.number)
        return "still dead" if current is not None and current.resolution is None else "resolved"

    async def _append_again(self, letter: DeadLetter, by: str | None) -> RetryResult:
        try:
            event = event_in(letter)
        except Rejected:
            return "still dead"
        [result] = await self._append([event])
        if result.outcome not in ("appended", "duplicate"):
            return "still dead"
        await self._resolve(letter, Resolution("appended", now(), by, position=result.position))
        return "resolved"

    async def _deliver_again(self, letter: DeadLetter, by: str | None) -> RetryResult:
        how = None if self._deliver is None else await self._deliver(letter)
        if how is None:
            return "still dead"
        await self._resolve(letter, Resolution(how, now(), by))
        return "resolved"

    # --- deciding ---------------------------------------------------------------------------------

    async def correct(
        self, letter: DeadLetter, payload: Payload, operator: str, *, version: int | None = None
    ) -> AppendResult:
        """Puts another payload in the place of the letter's, for ever, as an event of the operator's, and resolves it.

        The event is the next revision of the letter's version, or of another `version` of its stream; it has the
        operator's name and the letter's. The letter keeps what it has. A payload of None, or of `null`, withdraws. Of a
        delivery, the payload is the whole event, as JSON, from the delivery's source.

        `appended` or `duplicate` (what stands says so already): the letter is resolved. `rejected`, `conflict`, and
        `duplicate` with a reason (this is what could not be folded): it stays open. Raises `DeadLetterResolved`, or
        `Rejected` for an operator without a name.
        """
        check_operator(operator)
        await self._check_open(letter)
        try:
            event = correction_event(letter, payload, version)
        except Rejected as refused:
            return AppendResult("rejected", path=refused.path, reason=refused.reason)
        result = await self._corrector.append(letter, event, operator)
        if result.outcome in ("appended", "duplicate") and result.reason is None:
            await self._resolve(letter, Resolution("corrected", now(), operator, position=result.position))
        return result

    async def discard(self, letter: DeadLetterHeader, reason: str, operator: str) -> None:
        """Nothing is to be done about the letter, for this reason. It stays so when the same event fails again.

        Raises `DeadLetterResolved`, `Rejected` without a reason or an operator's name.
        """
        check_operator(operator)
        check_reason(reason)
        await self._check_open(letter)
        if not await self._resolve(letter, Resolution("discarded", now(), operator, reason)):
            raise resolved(await self.get(letter.id))

    async def discard_all(
        self, wanted: DeadLetterFilter, reason: str, operator: str
    ) -> AsyncGenerator[tuple[str, Literal["discarded", "gone"]], None]:
        """Discards every open dead letter that matches, oldest first, and yields each result.

        Dead letters added or reopened after the start are not included. Raises `Rejected` as `discard` does.
        """
        after: str | None = None
        while True:
            letters, after = await self._next_open(wanted, after, STEP)
            for letter in letters:
                try:
                    await self.discard(letter, reason, operator)
                except DeadLetterResolved:
                    yield letter.id, "gone"
                else:
                    yield letter.id, "discarded"
            if after is None:
                return

    async def _check_open(self, letter: DeadLetterHeader) -> None:
        current = await self.get(letter.id)
        if current.resolution is not None:
            raise resolved(current)

    async def _resolve(self, letter: DeadLetterHeader, resolution: Resolution) -> bool:
        return await self._letters.resolve(letter.kind, letter.number, resolution)


def dead_letter_of_request(  # noqa: PLR0913  # a request has that many parts
    source: str,
    body: bytes,
    error: str,
    *,
    via: Via = "webhook",
    identifier: str = "",
    headers: Mapping[str, str] = MappingProxyType({}),
    place: tuple[str, int] | None = None,
) -> NewDeadLetter:
    """The letter for a request's body, or a part of one, of which no event could be made, to be kept as it came.

    The way that it came, its sender's `identifier`, if any, and the body tell one from another: sent again, it is the
    same letter.
    `place` is the stream and the version that it is about, where they are known.
    """
    stream, version = place or (REQUEST_PREFIX + encode_part(source), 0)
    head = f"{via}\0{identifier}\0".encode(errors="surrogatepass")
    digest = blake2b(head + body, digest_size=16).digest()
    return NewDeadLetter(
        kind="ingest",
        domain="",
        originator_id=stream,
        originator_version=version,
        revision=0,
        digest=digest,
        error=error.replace("\0", "\\0").encode(errors="backslashreplace").decode(),
        state=body,
        recorded_at=now(),
        headers=msgspec.json.encode(dict(headers)),
        via=via,
    )


def _parse(identifier: str) -> tuple[Kind, int]:
    name, _, number = identifier.partition("-")
    for kind in KINDS:
        if name == kind and number.isascii() and number.isdigit() and len(number) <= LONGEST_NUMBER:
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
    reached, between, end = cursor.partition(BETWEEN)
    if not between:
        raise UnknownCursor(cursor)
    return _place(reached), _place(end)
