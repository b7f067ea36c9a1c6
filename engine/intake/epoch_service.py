"""Epochs for operators: which were raised, by whom and why; raising others; dismissing sources that look reset."""

from collections.abc import Collection
from datetime import UTC, datetime

import msgspec

from pagefold.engine.configuration.config import Config
from pagefold.engine.errors import EpochRefused, Rejected
from pagefold.engine.events import DomainEvent
from pagefold.engine.folding.source_resets import RESET_THRESHOLD
from pagefold.engine.intake.epoch_registry import Epochs, Known, Note, read_note, source_of
from pagefold.engine.intake.event_validator import EventValidator
from pagefold.engine.intake.operators import check_operator, check_reason
from pagefold.engine.runtime.clock import now
from pagefold.engine.stores.store import SEPARATOR, Store
from pagefold.projections.epochs import MAX_EPOCH, epoch_of
from pagefold.projections.streams import NotAStreamError, encode_part, parse_stream_id

LISTED = 1_000
"""How many notes are listed, the newest."""

_WALKED, _WALKED_BYTES = 10_000, 16 * 1024 * 1024


class EpochNote(Note, frozen=True, rename="camel", omit_defaults=False, kw_only=True):
    """A note as it stands in the log, at a position."""

    position: int


class EpochService:
    """Lists and raises epochs, and dismisses sources that look reset. Everything is an event in the log."""

    def __init__(self, store: Store, config: Config, door: EventValidator, epochs: Epochs) -> None:
        self._store = store
        self._config = config
        self._door = door
        self._epochs = epochs

    async def list(self) -> list[EpochNote]:
        """What was raised and dismissed, the newest first, `LISTED` at most."""
        await self._epochs.refresh()
        events = await self._epochs.notes(max(0, self._epochs.known.generation - LISTED))
        notes = [(event.notification_id, note) for event in reversed(events) if (note := read_note(event)) is not None]
        return [EpochNote(**msgspec.structs.asdict(note), position=position) for position, note in notes]

    async def raise_epoch(self, scope: str, *, reason: str, operator: str, epoch: int | None = None) -> Note:
        """Raises the epoch of a source, or of a stream `sku/channel/domain/source`: to the next one, or to `epoch`.

        When it returns, every event that is appended without an epoch enters this one or a higher one. Where the source
        looked reset, in the stream's domain or in any of its own, that is answered. Raises `EpochRefused`, and
        `Rejected` without a reason or an operator.
        """
        check_reason(reason)
        check_operator(operator)
        scope = self._scope(scope)
        while True:
            known = await self._epochs.refresh()
            current = await self._highest(known, scope)
            wanted = current + 1 if epoch is None else epoch
            if not current < wanted <= MAX_EPOCH:
                raise EpochRefused("epoch", f"{wanted}: {_standing(scope, current)}")
            note = Note("raised", scope, now(), wanted, operator=operator, reason=reason)
            if await self._epochs.note(note):
                await self._answer(source_of(scope), self._domains_of(scope))
                return note

    async def next_epoch(self, source: str) -> int:
        """The one that is above all of a source's streams. Raises `EpochRefused` when there is none."""
        current = await self._highest(await self._epochs.refresh(), encode_part(source))
        if current == MAX_EPOCH:
            raise EpochRefused("epoch", _standing(source, current))
        return current + 1

    async def ensure_epoch(self, source: str, epoch: int, run_id: str) -> None:
        """Raises a source to an epoch, unless it is there: a rebuild does, whose snapshot was declared the truth."""
        scope = encode_part(source)
        while (await self._epochs.refresh()).raised.get(scope, 0) < epoch:
            reason = "every row of a snapshot is in a new epoch"
            await self._epochs.note(Note("raised", scope, now(), epoch, run_id=run_id, reason=reason))
        await self._answer(scope, self._domains_of(source))

    async def dismiss(self, source: str, *, reason: str, operator: str, domain: str | None = None) -> Note:
        """A source that looks reset was looked into, in a domain or in all, and is not.

        Raises `EpochRefused` when it does not look so, and `Rejected` without a reason or an operator.
        """
        check_reason(reason)
        check_operator(operator)
        streaks = await self._store.coordination.streaks()
        alarming = [each.domain for each in streaks if each.source == source and each.stale >= RESET_THRESHOLD]
        domains = [name for name in alarming if domain in (None, name)]
        if not domains:
            where = "" if domain is None else f" in {domain}"
            raise EpochRefused("source", f"{source!r} does not look reset{where}; `pagefold status` shows which do")
        note = Note("dismissed", source, now(), domain=domain, operator=operator, reason=reason)
        while not await self._epochs.note(note):
            pass
        await self._answer(source, domains)
        return note

    def _scope(self, given: str) -> str:
        """The scope as it is noted. Raises `EpochRefused`."""
        if "/" not in given:
            if given not in self._config.sources:
                raise EpochRefused("scope", f"{given!r} is no source; there are {', '.join(self._config.sources)}")
            return encode_part(given)
        try:
            stream = parse_stream_id(given)
            event = DomainEvent(
                type=stream.domain,
                sku=stream.sku,
                channel=stream.channel,
                source=stream.source,
                source_version=0,
                occurred_at=datetime.now(UTC),
                payload=None,
            )
            return self._door.stream_of(event)
        except NotAStreamError:
            raise EpochRefused("scope", f"{given!r} is neither a source nor sku/channel/domain/source") from None
        except Rejected as refused:
            raise EpochRefused("scope", f"{given!r}: {refused}") from None

    def _domains_of(self, scope: str) -> Collection[str]:
        if "/" in scope:
            return [parse_stream_id(scope).domain]
        return self._config.sources[scope].domains

    async def _highest(self, known: Known, scope: str) -> int:
        """The highest epoch of a stream, or of any of a source's."""
        if "/" in scope:
            newest = await self._store.log.newest_versions([scope])
            return known.current(scope, newest.get(scope, 0))
        raised = [epoch for name, epoch in known.raised.items() if source_of(name) == scope]
        own = await self._highest_own(scope) if scope in known.own else 0
        return max([own, *raised])

    async def _highest_own(self, source: str) -> int:
        """The highest epoch that any event of a source has."""
        tails = [f"/{domain}/{source}" for domain in self._config.sources[source].domains]
        end: str | None = ""
        found = 0
        while end is not None:
            step = await self._store.log.head_contents(
                tails, after=end, below="", limit=_WALKED, max_bytes=_WALKED_BYTES, since=0
            )
            versions = (entry.split(SEPARATOR, 2)[1] for entry in step.contents)
            found = max(found, *(epoch_of(int(version)) for version in versions if version.isdigit()), 0)
            end = step.end
        return found

    async def _answer(self, source: str, domains: Collection[str]) -> None:
        """Somebody has answered: the source does not look reset any more, until it does anew."""
        stale = {(each.domain, each.source) for each in await self._store.coordination.streaks() if each.stale}
        for domain in sorted(domains):
            if (domain, source) in stale:
                async with self._store.coordination.fold_transaction(domain) as folding:
                    await folding.save_streaks({source: 0})


def _standing(scope: str, current: int) -> str:
    """In which epoch a scope is, and what can be done."""
    if current < MAX_EPOCH:
        return f"{scope} is in epoch {current}; the last one is {MAX_EPOCH}"
    remedy = "let the source go on under another name in the configuration, whose epochs begin at 0"
    return f"{scope} is in epoch {current}, the last one, and no other can follow; {remedy}"
