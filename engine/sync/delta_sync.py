"""Reads what a source changed since the last time, and appends it."""

import secrets
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from typing import cast

import msgspec

from pagefold.domains.domain import JSON
from pagefold.domains.values import format_timestamp
from pagefold.engine.configuration.config import Config
from pagefold.engine.configuration.delta_config import DeltaConfig
from pagefold.engine.configuration.snapshot_config import DEFAULT_ORPHANS, SnapshotConfig
from pagefold.engine.dead_letters.request_letters import dead_letter_of_request
from pagefold.engine.dead_letters.webhook_retrier import DELTA, RULE
from pagefold.engine.errors import Rejected, SourceFailed, SyncInProgress
from pagefold.engine.events import DomainEvent, ReferencedEvent
from pagefold.engine.intake.contracts.delivery_facts import TAKEN
from pagefold.engine.intake.event_parser import parse_event
from pagefold.engine.intake.field_watch import FieldWatch
from pagefold.engine.rebuild.referenced_rows import ReferencedRows
from pagefold.engine.runtime.clock import moment, now
from pagefold.engine.runtime.origin import current_origin
from pagefold.engine.shop import Shop
from pagefold.engine.snapshots import open_snapshot
from pagefold.engine.snapshots.contract_rows import ContractRows
from pagefold.engine.snapshots.request_limiter import RequestLimiter
from pagefold.engine.snapshots.row import RefusedStatement, Row
from pagefold.engine.snapshots.snapshot import UNPROVEN, Batch, Snapshot
from pagefold.engine.stores.event_state import EncodedEvent
from pagefold.engine.stores.sync_notes import SyncNote, SyncNotes
from pagefold.engine.sync.notification_run import NotificationRun
from pagefold.engine.sync.removal_brake import Excess, HeldDecision, RemovalBrake
from pagefold.engine.sync.sync_report import SyncReport

FIRST_PERIOD = timedelta(days=1)
"""Since how long before its beginning the first run of a source asks, unless the configuration says more."""

STEP_EVENTS = 5_000
"""Events that are appended in one transaction."""


MIN_TELLING_RECORDS = 100
"""Records after which a path that none of them has stops a run: a few changes prove nothing about what records have."""


class DeltaSync:
    """Asks the sources of a shop for changes. Raises what reading raises, `StoreError`, and `SyncInProgress`."""

    def __init__(self, shop: Shop, clock: Callable[[], datetime] = moment) -> None:
        self._shop = shop
        self._clock = clock

    async def run(self, source: str, decision: HeldDecision | None = None) -> SyncReport:
        """Appends what a source changed since its last complete run, and notes how far it is.

        What is read twice is a duplicate, so a run that was interrupted at any row is repeated from its last note. Too
        many removals are not appended, without a `decision`: see `RemovalBrake`. A decision is in the audit.
        """
        delta = self._shop.config.sources[source].delta
        if delta is None:
            raise self._shop.config.error(f"sources.{source}.delta", "is required: the source has no delta")
        by_itself = decision is None and current_origin().via == "schedule"
        name = "sync" if decision is None else f"sync {decision.option}"
        async with (
            self._shop.audit.action(name, source, unless_empty=by_itself) as action,
            self._shop.store.coordination.claim(f"sync-{source}") as claimed,
        ):
            if not claimed:
                raise SyncInProgress(source)
            run = await self._begun(source, delta, decision)
            try:
                report = await run.execute()
                if decision is not None and report.held:
                    action.refuse(report.held)
                return report
            finally:
                if run.report.has_changed_something or not by_itself:
                    action.details |= run.report.details

    async def _begun(self, source: str, delta: DeltaConfig, decision: HeldDecision | None) -> "NotificationRun | _Run":
        notes = SyncNotes(self._shop.store, source)
        note = _begun(source, delta, await notes.newest(), self._clock())
        if delta.fetch is not None:
            return NotificationRun(self._shop, delta, notes, note, self._clock)
        brake = None if decision == HeldDecision() else _brake(self._shop, source, decision)
        return _Run(self._shop, delta, notes, note, self._clock, brake)


def _begun(source: str, delta: DeltaConfig, newest: SyncNote | None, at: datetime) -> SyncNote:
    """The note of a run that begins, or of one that was interrupted."""
    if newest is not None and not newest.complete:
        return newest if newest.cursor is not None else _begun_again(newest, at)
    since = delta.start_moment or at - FIRST_PERIOD
    if newest is not None:
        since = _not_ahead(datetime.fromisoformat(newest.following), at)
    return SyncNote(
        run=f"{source}-{secrets.token_hex(4)}",
        source=source,
        since=format_timestamp(since),
        following=format_timestamp(since),
        recorded_at=now(),
        begun_at=now(),
        synced_at="" if newest is None else newest.synced,
    )


def _begun_again(note: SyncNote, at: datetime) -> SyncNote:
    """The note of a run whose pages are read again, from the first on."""
    since = format_timestamp(_not_ahead(datetime.fromisoformat(note.since), at))
    following = min(note.following, since)
    fields = {"since": since, "following": following, "records": 0, "statements": 0, "refused": 0}
    return msgspec.structs.replace(note, begun_at=now(), **fields)


def _not_ahead(since: datetime, at: datetime) -> datetime:
    """Since when to ask. A time that lies ahead came from a clock that was wrong, as without it the first run's."""
    return since if since <= at else at - FIRST_PERIOD


def _brake(shop: Shop, source: str, decision: HeldDecision | None) -> RemovalBrake:
    """The brake of a source, by the limit of its delta, else of its snapshot."""
    settings = shop.config.sources[source]
    own = [each for each in (settings.delta, settings.snapshot) if each is not None]
    limited = [each.orphan_limit for each in own if each.max_orphans != [*DEFAULT_ORPHANS]]
    limit = limited[0] if limited else SnapshotConfig().orphan_limit
    return RemovalBrake(shop.store.log, source, settings.domains, limit, decision)


class _Run:
    """One run of one source."""

    def __init__(
        self,
        shop: Shop,
        delta: DeltaConfig,
        notes: SyncNotes,
        note: SyncNote,
        clock: Callable[[], datetime],
        brake: RemovalBrake | None,
    ) -> None:
        self._shop = shop
        self._brake = brake
        self._delta = delta
        self._clock = clock
        self._source = note.source
        self._notes = notes
        self._note = note
        self._refused: dict[bytes, str] = {}
        self._is_lost, self._is_checked = note.lost, False
        self.report = SyncReport(note.source, note.since, resumed=note.records > 0)

    async def execute(self) -> SyncReport:
        """Reads everything, period by period, and appends it, batch by batch."""
        while True:
            since = datetime.fromisoformat(self._note.since)
            await self._read(self._shop.config.asking_since(self._source, since))
            if not await self._released():
                return self.report
            until = self._delta.end_of_period(since)
            if until is None or until >= self._clock():
                break
            await self._append([], msgspec.structs.replace(self._note, since=format_timestamp(until), cursor=None))
        await self._append([], self._note.completed())
        return self.report

    async def _released(self) -> bool:
        """Appends the removals that were kept back, or leaves them out, or notes why neither."""
        if self._brake is None or not self._brake.keeps:
            return True
        excess = await self._brake.excess()
        decision = None if excess is None else self._brake.take_decision()
        if excess is not None and decision is None:
            await self._hold(self._brake, excess)
            return False
        if decision is not None and decision.leaves_out:
            self.report.left_out += self._brake.removals
            async for events in self._brake.without_removals():
                await self._append_counted(events)
        else:
            for events in self._brake.release():
                await self._append_counted(events)
        self._brake.clear()
        return True

    async def _hold(self, brake: RemovalBrake, excess: Excess) -> None:
        self.report.held, self.report.removals = str(excess), brake.removals
        held = {"held": str(excess), "removals": brake.removals, "samples": brake.samples}
        await self._append([], msgspec.structs.replace(self._note, cursor=None, **held))

    async def _append_counted(self, events: list[EncodedEvent]) -> None:
        statements = self._note.statements + len(events)
        await self._append(events, msgspec.structs.replace(self._note, statements=statements))

    async def _read(self, config: Config) -> None:
        """Reads what a configuration has as the snapshot of the source, and appends it."""
        traffic = RequestLimiter(self._shop.counters)
        async with open_snapshot(config, self._source, traffic=traffic) as snapshot, self._watched(snapshot.records):
            resolver = ReferencedRows(
                self._shop.store, self._shop.config.references, self._source, snapshot, keep=True, rule=DELTA
            )
            async for batch in snapshot.batches(_cursor(self._note) if snapshot.resumable else None):
                if batch.cursor is None and not batch.rows:
                    continue  # records that are joined are still being collected
                self._check_paths(snapshot.records)
                await self._take(batch, await resolver.resolve(batch.rows), snapshot)
            end = snapshot.end
        if end is not None and not end.complete and end.reason not in UNPROVEN:
            raise SourceFailed(snapshot.name, f"the changes are incomplete: {end.reason}")

    @asynccontextmanager
    async def _watched(self, records: ContractRows | None) -> AsyncIterator[None]:
        """Counts the fields of what a contract reads, and has each record's text kept with it."""
        watch = FieldWatch(self._shop.store.fields)
        if records is not None:
            records.keeps_texts = True
            await watch.begin_snapshot(self._source, records.contract)
        try:
            yield
        finally:
            await watch.close()

    def _check_paths(self, records: ContractRows | None) -> None:
        """Raises `SourceFailed` if no record has a path that the contract reads, once there are enough to tell."""
        if records is not None and not self._is_checked and records.reading.records >= MIN_TELLING_RECORDS:
            records.check_paths()
            self._is_checked = True

    async def _take(self, batch: Batch, rows: Sequence[Row], snapshot: Snapshot) -> None:
        """Appends the statements of a batch, with a note of where reading continues after it.

        `rows` have SKUs in place of references. What cannot be taken is kept before the note moves past it.
        """
        found = [_event_in(row) for row in rows]
        valid = iter(await self._shop.encode([each for each in found if isinstance(each, DomainEvent)]))
        events: list[EncodedEvent] = []
        moments: list[datetime] = []
        for before, row, event in zip(batch.rows, rows, found, strict=True):
            encoded = event if isinstance(event, Rejected) else next(valid)
            if isinstance(encoded, Rejected):
                waits = isinstance(before.event, ReferencedEvent) and isinstance(row.event, Rejected)
                self._refuse(row.number, _with_sku(encoded, event), before.line, is_kept=waits)
            elif isinstance(event, DomainEvent):
                events.append(encoded)
                moments.append(event.occurred_at)
        await self._keep_refused(snapshot.records)
        if self._brake is not None:
            events = await self._brake.pass_on(events)
        is_resumable = snapshot.resumable and not (self._brake is not None and self._brake.keeps)
        numbers = {row.number for row in rows}
        self.report.records += len(numbers)
        note = msgspec.structs.replace(
            self._note,
            following=self._following(moments),
            cursor=batch.cursor if is_resumable else None,
            records=self._note.records + len(numbers),
            statements=self._note.statements + len(events),
            refused=self.report.refused,
            lost=self._is_lost,
        )
        for start in range(0, max(len(events), 1), STEP_EVENTS):
            is_last = start + STEP_EVENTS >= len(events)
            await self._append(events[start : start + STEP_EVENTS], note if is_last else self._note)

    def _following(self, moments: Sequence[datetime]) -> str:
        """Since when the next run asks: the newest change that was seen, by the clock of its source, and some overlap.

        A time in the future counts as now, and without any change it stays what it was. So neither a clock here that is
        wrong, nor one record with a wrong time, makes a later run miss a change. It also stays if something was refused
        that could not be kept: the source is asked for it again.
        """
        newest = max(moments, default=None)
        if newest is None or self._is_lost:
            return self._note.following
        since = min(newest, self._clock()) - timedelta(seconds=self._delta.overlap_seconds)
        return max(self._note.following, format_timestamp(since))

    def _refuse(self, number: int, rejection: Rejected, text: bytes, *, is_kept: bool) -> None:
        """Counts what cannot be taken. Its text is kept, unless it waits for a reference and is kept already."""
        self.report.refuse(f"row {number}: {rejection}")
        if text and not is_kept:
            self._refused.setdefault(text, str(rejection))
        elif not is_kept:
            self._is_lost = True

    async def _keep_refused(self, records: ContractRows | None) -> None:
        """Keeps the records that could not be taken, as dead letters."""
        taken = {RULE: DELTA} if records is None else {RULE: DELTA, TAKEN: records.taken_text}
        kept = [
            dead_letter_of_request(self._source, text, reason, via="snapshot", headers=taken)
            for text, reason in self._refused.items()
        ]
        if kept:
            await self._shop.store.dead_letters.add(kept)
        self._refused.clear()

    async def _append(self, events: list[EncodedEvent], note: SyncNote) -> None:
        """Appends events and the note in one transaction. Raises `SyncInProgress` if another process noted more."""
        note = msgspec.structs.replace(note, recorded_at=now())
        results, noted = await self._shop.append_noted(events, self._notes.event(note))
        for result in results:
            setattr(self.report, result.outcome, getattr(self.report, result.outcome) + 1)
        if not noted:
            raise SyncInProgress(self._source)
        self._notes.number += 1
        self._note = note


def _event_in(row: Row) -> DomainEvent | Rejected:
    """The event of a row, or why there is none."""
    if isinstance(row.event, RefusedStatement):
        return row.event.rejected
    if isinstance(row.event, DomainEvent | Rejected):
        return row.event
    try:
        return parse_event(row.line)
    except Rejected as rejection:
        return rejection.with_traceback(None)


def _with_sku(rejection: Rejected, event: DomainEvent | Rejected) -> Rejected:
    """Why something cannot be taken, with its SKU, if that is known."""
    sku = f"; SKU {event.sku}" if isinstance(event, DomainEvent) else ""
    return Rejected(rejection.path, rejection.reason + sku)


def _cursor(note: SyncNote) -> JSON:
    return cast("JSON", note.cursor)
