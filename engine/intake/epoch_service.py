"""Lists and raises epochs, and dismisses reset alarms, for operators."""

from collections.abc import Collection
from datetime import UTC, datetime

import msgspec

from pagefold.engine.audit.audit_log import AuditLog
from pagefold.engine.configuration.config import Config
from pagefold.engine.errors import InvalidEpochRequest, Rejected
from pagefold.engine.events import DomainEvent
from pagefold.engine.folding.source_resets import RESET_THRESHOLD
from pagefold.engine.intake.epoch_registry import EpochRegistry, KnownEpochs, Note, read_note, source_of
from pagefold.engine.intake.event_validator import EventValidator
from pagefold.engine.intake.operators import check_operator, check_reason
from pagefold.engine.runtime.clock import now
from pagefold.engine.stores.log_records import SEPARATOR
from pagefold.engine.stores.store import Store
from pagefold.projections.epochs import MAX_EPOCH, epoch_of
from pagefold.projections.streams import NotAStreamError, encode_part, parse_stream_id

MAX_LISTED_NOTES = 1_000
"""How many notes are listed, newest first."""

_SCAN_EVENTS, _SCAN_BYTES = 10_000, 16 * 1024 * 1024


class EpochNote(Note, frozen=True, rename="camel", omit_defaults=False, kw_only=True):
    """A note and its position in the log."""

    position: int


class EpochService:
    """Lists and raises epochs, and dismisses reset alarms. Every decision is an event in the log."""

    def __init__(self, store: Store, config: Config, validator: EventValidator, epochs: EpochRegistry) -> None:
        self._store = store
        self._audit = AuditLog(store.audit)
        self._config = config
        self._validator = validator
        self._epochs = epochs

    async def list(self) -> list[EpochNote]:
        """Lists the notes, newest first, at most `MAX_LISTED_NOTES`."""
        await self._epochs.refresh()
        events = await self._epochs.notes(max(0, self._epochs.known.generation - MAX_LISTED_NOTES))
        notes = [(event.notification_id, note) for event in reversed(events) if (note := read_note(event)) is not None]
        return [EpochNote(**msgspec.structs.asdict(note), position=position) for position, note in notes]

    async def raise_epoch(self, scope: str, *, reason: str, operator: str, epoch: int | None = None) -> Note:
        """Raises the epoch of a source, or of a stream `sku/channel/domain/source`, to the next one or to `epoch`.

        On return, every event appended without an epoch enters this one or a higher one. Raising answers a reset alarm
        of the source, in the stream's domain or in all of the source's. Raises `InvalidEpochRequest`, and `Rejected`
        without a reason or an operator.
        """
        check_reason(reason)
        check_operator(operator)
        scope = self._scope(scope)
        async with self._audit.action("epochs raise", scope, by=operator, reason=reason) as action:
            note = await self._raised(scope, reason, operator, epoch)
            action.details["epoch"] = note.epoch
        return note

    async def _raised(self, scope: str, reason: str, operator: str, epoch: int | None) -> Note:
        while True:
            known = await self._epochs.refresh()
            current = await self._highest(known, scope)
            requested = current + 1 if epoch is None else epoch
            if not current < requested <= MAX_EPOCH:
                raise InvalidEpochRequest("epoch", f"{requested}: {_describe_epoch(scope, current)}")
            note = Note("raised", scope, now(), requested, operator=operator, reason=reason)
            if await self._epochs.note(note):
                await self._clear_alarms(source_of(scope), self._domains_of(scope))
                return note

    async def next_epoch(self, source: str) -> int:
        """The epoch above those of all the source's streams. Raises `InvalidEpochRequest` if there is none."""
        current = await self._highest(await self._epochs.refresh(), encode_part(source))
        if current == MAX_EPOCH:
            raise InvalidEpochRequest("epoch", _describe_epoch(source, current))
        return current + 1

    async def ensure_epoch(self, source: str, epoch: int, run_id: str) -> None:
        """Raises a source to at least this epoch, for a rebuild with a new epoch."""
        scope = encode_part(source)
        while (await self._epochs.refresh()).raised.get(scope, 0) < epoch:
            reason = "every row of a snapshot is in a new epoch"
            await self._epochs.note(Note("raised", scope, now(), epoch, run_id=run_id, reason=reason))
        await self._clear_alarms(scope, self._domains_of(source))

    async def dismiss(self, source: str, *, reason: str, operator: str, domain: str | None = None) -> Note:
        """Dismisses a source's reset alarm, in one domain or in all.

        Raises `InvalidEpochRequest` when there is no alarm, and `Rejected` without a reason or an operator.
        """
        check_reason(reason)
        check_operator(operator)
        async with self._audit.action("epochs dismiss", source, by=operator, reason=reason):
            return await self._dismissed(source, reason, operator, domain)

    async def _dismissed(self, source: str, reason: str, operator: str, domain: str | None) -> Note:
        streaks = await self._store.coordination.streaks()
        alarming = [each.domain for each in streaks if each.source == source and each.stale >= RESET_THRESHOLD]
        domains = [name for name in alarming if domain in (None, name)]
        if not domains:
            where = "" if domain is None else f" in {domain}"
            raise InvalidEpochRequest(
                "source", f"{source!r} does not look reset{where}; `pagefold status` shows which do"
            )
        note = Note("dismissed", source, now(), domain=domain, operator=operator, reason=reason)
        while not await self._epochs.note(note):
            pass
        await self._clear_alarms(source, domains)
        return note

    def _scope(self, given: str) -> str:
        """The scope as it is noted. Raises `InvalidEpochRequest`."""
        if "/" not in given:
            if given not in self._config.sources:
                raise InvalidEpochRequest(
                    "scope", f"unknown source {given!r}; the sources are {', '.join(self._config.sources)}"
                )
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
            return self._validator.stream_of(event)
        except NotAStreamError:
            raise InvalidEpochRequest("scope", f"{given!r} is neither a source nor sku/channel/domain/source") from None
        except Rejected as rejection:
            raise InvalidEpochRequest("scope", f"{given!r}: {rejection}") from None

    def _domains_of(self, scope: str) -> Collection[str]:
        if "/" in scope:
            return [parse_stream_id(scope).domain]
        return self._config.sources[scope].domains

    async def _highest(self, known: KnownEpochs, scope: str) -> int:
        """The highest epoch of a stream, or of any stream of a source."""
        if "/" in scope:
            newest = await self._store.log.newest_versions([scope])
            return known.current(scope, newest.get(scope, 0))
        raised = [epoch for name, epoch in known.raised.items() if source_of(name) == scope]
        own = await self._highest_own(scope) if scope in known.own else 0
        return max([own, *raised])

    async def _highest_own(self, source: str) -> int:
        """The highest epoch of any event of a source."""
        tails = [f"/{domain}/{source}" for domain in self._config.sources[source].domains]
        end: str | None = ""
        found = 0
        while end is not None:
            step = await self._store.log.head_contents(
                tails, after=end, below="", limit=_SCAN_EVENTS, max_bytes=_SCAN_BYTES, since=0
            )
            versions = (entry.split(SEPARATOR, 2)[1] for entry in step.contents)
            found = max(found, *(epoch_of(int(version)) for version in versions if version.isdigit()), 0)
            end = step.end
        return found

    async def _clear_alarms(self, source: str, domains: Collection[str]) -> None:
        """Clears the alarm: the source must look reset again to raise it."""
        stale = {(each.domain, each.source) for each in await self._store.coordination.streaks() if each.stale}
        for domain in sorted(domains):
            if (domain, source) in stale:
                async with self._store.coordination.fold_transaction(domain) as folding:
                    await folding.save_streaks({source: 0})


def _describe_epoch(scope: str, current: int) -> str:
    """Says in which epoch a scope is, and what can be done."""
    if current < MAX_EPOCH:
        return f"{scope} is in epoch {current}; the highest is {MAX_EPOCH}"
    remedy = "give the source a new name in the configuration; its epochs start at 0"
    return f"{scope} is in epoch {current}, the last one; {remedy}"
