"""Rebuilds one source: compares its snapshot with the log, chunk by chunk, and appends events that repair differences.

Every step can be repeated: a chunk that was repaired but not recorded is recognised, and counted the same.
"""

from bisect import bisect_right
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Sequence, Sized
from functools import partial
from itertools import compress
from operator import attrgetter, not_
from time import monotonic
from typing import TypeVar, cast

import stamina
from anyio.to_thread import run_sync

from pagefold.domains.domain import JSON
from pagefold.domains.values import format_timestamp, seconds_before
from pagefold.engine.configuration.config import Config
from pagefold.engine.configuration.snapshot_config import OrphanLimit
from pagefold.engine.errors import RETRYABLE, RowsOutOfOrder
from pagefold.engine.intake.epoch_registry import EpochRegistry
from pagefold.engine.intake.field_watch import FieldWatch
from pagefold.engine.rebuild.completeness import judge
from pagefold.engine.rebuild.echo_rows import EchoRows
from pagefold.engine.rebuild.epoch_placement import PLAIN, Placement
from pagefold.engine.rebuild.findings import ComparedChunk, Findings
from pagefold.engine.rebuild.head_scan import HeadScan, Span
from pagefold.engine.rebuild.losses import Loss, Losses, find_suspects
from pagefold.engine.rebuild.older_rows import NO_OLDER_ROWS, record_older_rows
from pagefold.engine.rebuild.pace import Pace
from pagefold.engine.rebuild.recreated_records import OlderRowHandler
from pagefold.engine.rebuild.referenced_rows import ReferencedRows
from pagefold.engine.rebuild.repair_appender import append_placed
from pagefold.engine.rebuild.repair_priority import RepairPriority
from pagefold.engine.rebuild.row_comparer import (
    Comparison,
    PendingRepair,
    RepairContext,
    RowComparer,
    decode_state,
    drift_details,
    row_event_of,
    sample_of,
    split_equal,
    withdrawal_of,
)
from pagefold.engine.rebuild.row_order import (
    MAX_REFUSALS,
    RowChunk,
    Scope,
    SkippedRows,
    StreamAssigner,
    StreamRow,
    sorted_rows,
    stream_of,
    streamed_rows,
)
from pagefold.engine.rebuild.run_aggregate import NOTHING_DRIFTED, Drifted, RebuildRun
from pagefold.engine.rebuild.run_observer import RunObserver
from pagefold.engine.rebuild.run_repository import RunRepository
from pagefold.engine.rebuild.withheld_corrections import Withheld
from pagefold.engine.replay.section_verifier import prefix_range
from pagefold.engine.runtime.clock import now
from pagefold.engine.runtime.logs import Logger
from pagefold.engine.runtime.task_groups import prefetch
from pagefold.engine.snapshots.coverage import NOTHING
from pagefold.engine.snapshots.snapshot import Batch, Snapshot
from pagefold.engine.stores.log_records import StoredEvent
from pagefold.engine.stores.store import Store
from pagefold.projections.streams import encode_part, normalise_sku

RETRY_SECONDS = 60.0
"""How long a transaction is retried before the run fails; it can be resumed."""

MAX_TRIES = 5
"""Maximum times that streams are repaired again after concurrent changes."""

RECORD_SECONDS = 0.5
"""Seconds between records of chunks without drift."""

MAX_INLINE_ITEMS = 100
"""Maximum items that are processed without a thread."""

log = Logger(__name__)

Result = TypeVar("Result")

_stream = attrgetter("originator_id")


class SourceRebuild:
    """One run of one source. Without `runs` nothing is written; `confirmed` allows any number of withdrawals."""

    def __init__(  # noqa: PLR0913  # what a run needs, by name
        self,
        store: Store,
        config: Config,
        run: RebuildRun,
        runs: RunRepository | None,
        observer: RunObserver,
        *,
        epochs: EpochRegistry,
        confirmed: bool,
        rows_per_second: float | None = None,
    ) -> None:
        self._pace = Pace(rows_per_second)
        self._epochs = epochs
        self._older_rows = OlderRowHandler(
            store, epochs, run, runs, is_settled=self._is_orphan, save=self._save, retry=self._retry
        )
        self._store, self._echoes = store, EchoRows(store, config)
        self._referenced_rows = partial(ReferencedRows, store, config.references, run.source, keep=runs is not None)
        self._fields = FieldWatch(store.fields, writes=runs is not None)
        self._run = run
        self._runs = runs
        self._observer = observer
        self._confirmed = confirmed or run.confirmed
        self._taken_at, self._coverage = run.taken_at, NOTHING
        self._losses, self._withheld, self._withholds = Losses(), Withheld(), not self._confirmed
        self._too_much: Sequence[Loss] = ()
        self._limit = OrphanLimit.parse(cast("int | str | list[int | str]", run.max_orphans))
        excluded_domains = frozenset(config.sources[run.source].domains).difference(run.domains)
        prefix = normalise_sku(run.prefix)
        self._comparer, self._first = RowComparer(config), RepairPriority.parse(run.first)
        self._assigner = StreamAssigner.of(config, run.source, Scope(excluded_domains, prefix))
        self._suffixes = [f"/{domain}/{encode_part(run.source)}" for domain in run.domains]
        self._span, self._recorded = prefix_range(prefix), monotonic()

    async def run(self, snapshot: Snapshot | None) -> None:
        """Compares the remaining rows, then withdraws what the snapshot lacks, unless that needs confirmation."""
        await self._epochs.refresh()
        try:
            if snapshot is not None:
                await self._compare_all(snapshot)
            if self._run.complete_snapshot and (self._confirmed or not self._too_much):
                await self._older_rows.append_all()
            if await self._hold_if_needed():
                return
        finally:
            self._withheld.clear()
        if self._may_withdraw():
            await self._withdraw_all()
        self._run.complete()
        await self._save()

    # --- comparing --------------------------------------------------------------------------------

    async def _compare_all(self, snapshot: Snapshot) -> None:
        if snapshot.records is not None:
            await self._fields.begin_snapshot(self._run.source, snapshot.records.contract)
        try:
            await self._compare(snapshot)
        except RowsOutOfOrder as error:
            log.info("sorting the snapshot", run=self._run.id, snapshot=snapshot.name)
            self._observer.start_over()
            self._run.start_over(str(error))
            self._losses = Losses()
            self._withheld.clear()
            await self._save()
            await self._compare(snapshot)
        self._note_taken_at(snapshot)
        run = self._run
        complete, reason, baseline = judge(snapshot, run.repetitions, run.baseline, confirmed=self._confirmed)
        await self._fields.finish_snapshot(complete=complete)
        orphans = run.counts.orphans if complete and not run.counts.unreadable else 0
        self._too_much = self._losses.above(self._limit.limit(run.live), orphans)
        withheld = run.withheld if self._too_much else 0
        if not self._too_much:
            await self._release()
        run.compared(complete=complete, reason=reason, taken_at=self._taken_at, baseline=baseline, withheld=withheld)
        await self._save()

    async def _compare(self, snapshot: Snapshot) -> None:
        """Compares all rows after the run's cursor with the log, then the log's streams after the last row.

        A pipeline: while one chunk is recorded, the next is repaired, the one after that compared, and a further one
        read. The last findings are added to the run and saved with its next step, so a resumed run counts them once.
        """
        cursor, beyond = self._place
        after, below, _ = self._span
        suffixes = self._suffixes + snapshot.other_suffixes(self._run.domains)
        span = Span(suffixes, max(after, beyond), below, self._run.start_position)
        findings = Findings()
        async with (
            HeadScan.open(self._store.log, span) as scan,
            prefetch(self._chunks(snapshot, cursor)) as chunks,
            prefetch(self._compared(snapshot, chunks, scan)) as compared,
            prefetch(self._repaired(compared)) as repaired,
        ):
            async for each, samples in repaired:
                findings = await self._record(each, samples, snapshot, findings)
        if findings.place is not None or findings.counts.rows or findings.repetitions:
            self._add_findings(findings)

    def _chunks(self, snapshot: Snapshot, cursor: JSON) -> AsyncGenerator[RowChunk, None]:
        if self._run.spilled or snapshot.records is not None:
            return sorted_rows(snapshot, self._assigner, self._referenced_rows(snapshot).resolve, self._note_read)
        return streamed_rows(snapshot, self._assigner, cursor, self._note_read)

    async def _note_read(self, batch: Batch) -> None:
        self._observer.read(batch)
        await self._pace.keep(len(batch.rows))

    @property
    def _place(self) -> tuple[JSON, str]:
        """Where the run resumes, in the snapshot and in the log, as recorded."""
        return self._run.cursor["snapshot"], self._run.cursor["stream"]

    async def _compared(
        self, snapshot: Snapshot, chunks: AsyncIterator[RowChunk], scan: HeadScan
    ) -> AsyncGenerator[ComparedChunk, None]:
        """Compares each chunk with the heads up to its last row, in one or several parts, then the rest of the log.

        The rows skipped before a chunk are reported with its last part, so that a resumed run counts them exactly once.
        Rows skipped after the last resumable place come last, without a place.
        """
        cursor, start = self._place
        upto, skipped_last = start, SkippedRows()
        async for chunk in chunks:
            self._coverage = snapshot.coverage
            rows = chunk.rows
            if not rows:
                if chunk.cursor is None:
                    skipped_last = chunk.skipped
                    continue
                cursor = chunk.cursor
                yield ComparedChunk(Comparison(), (cursor, upto), chunk.skipped)
            left = rows[bisect_right(rows, start.encode(), key=stream_of) :] if start else rows
            done = 0
            while done < len(left):
                heads = await scan.next_chunk(stream_of(left[-1]).decode())
                end = len(left) if heads.reached else bisect_right(left, heads.upto.encode(), done, key=stream_of)
                comparison = await self._compare_entries(left[done:end], heads.entries)
                done, upto = end, heads.upto
                if done < len(left):
                    yield ComparedChunk(comparison, (cursor, upto))
                    continue
                cursor = chunk.cursor
                yield ComparedChunk(comparison, (cursor, upto), chunk.skipped, chunk.sort_progress)
        self._coverage = snapshot.coverage
        reached = False
        while not reached:
            heads = await scan.next_chunk(None)
            reached = heads.reached
            comparison = await self._compare_entries([], heads.entries)
            if comparison.absent or comparison.counts.uncovered:
                yield ComparedChunk(comparison, (cursor, heads.upto))
        yield ComparedChunk(Comparison(), None, skipped_last)

    async def _repaired(
        self, compared: AsyncIterator[ComparedChunk]
    ) -> AsyncGenerator[tuple[ComparedChunk, list[JSON]], None]:
        """Repairs each chunk; yields it with samples of its drift."""
        left = MAX_REFUSALS - len(self._run.samples)
        async for each in compared:
            comparison = each.comparison
            samples = [sample_of(drift_details(pending)) for pending in comparison.pending[:left]]
            withheld = await self._repair(comparison)
            left -= len(samples) if comparison.handled else 0  # else they are not recorded
            yield each._replace(withheld=withheld), samples

    async def _record(
        self, repaired: ComparedChunk, samples: Sequence[JSON], snapshot: Snapshot, findings: Findings
    ) -> Findings:
        """Records a chunk, or returns its findings to be recorded with a later one."""
        comparison, place, skipped, sort_progress, withheld = repaired
        await self._fields.flush_if_due()
        findings = findings.with_skipped(skipped)
        if place is None:
            return findings
        drifted = comparison.handled
        self._note_taken_at(snapshot)
        orphans = [head.originator_id for head in comparison.absent if self._is_orphan(head)]
        older = self._older_rows.classify(comparison.older_rows) if comparison.older_rows else NO_OLDER_ROWS
        for drift, streams in drifted.items():
            self._observer.found(drift, streams)
        if older.reset:
            self._observer.found("older", older.reset)
            await self._older_rows.mark_looks_reset(older.reset)
        if older.again:
            self._observer.found("recreated", [row.stream for row in older.again])
            self._older_rows.keep_candidates(older.again)
        if orphans:
            self._observer.found("orphan", orphans)
        counts = comparison.counted(orphans=len(orphans), reset=len(older.reset))
        live, refusals = findings.live + comparison.live, [*findings.refusals, *comparison.refusals]
        found = Findings(findings.counts + counts, live, refusals, place, findings.repetitions)
        record_older_rows(self._run, older)
        if drifted or orphans or older != NO_OLDER_ROWS or monotonic() >= self._recorded + RECORD_SECONDS:
            self._add_findings(found, withheld=withheld, drifted=drifted, orphans=orphans, samples=samples)
            await self._save()
            self._recorded = monotonic()
            found = Findings()
        if sort_progress is not None:
            self._observer.compared(*sort_progress)
        return found

    def _add_findings(
        self,
        found: Findings,
        *,
        withheld: int = 0,
        drifted: Drifted = NOTHING_DRIFTED,
        orphans: Sequence[str] = (),
        samples: Sequence[JSON] = (),
    ) -> None:
        """Adds findings to the run. Once that is saved, a resumed run starts after them."""
        cursor, upto = found.place or self._place
        self._run.chunk_compared(
            cursor={"snapshot": cursor, "stream": upto},
            counts=found.counts,
            live=found.live,
            repetitions=found.repetitions,
            withheld=withheld,
            drifted=drifted,
            orphans=orphans,
            samples=samples,
            refusals=[list(each) for each in found.refusals[:MAX_REFUSALS]],
            taken_at=self._taken_at,
        )

    async def _repair(self, comparison: Comparison) -> int:
        """Appends the pending repairs. A stream that changed meanwhile is compared again.

        Corrections that remove values may be withheld, and count as handled. Returns their number.
        """
        live, withheld = comparison.live, 0
        for _ in range(MAX_TRIES):
            if self._withholds:
                withheld += await self._withhold(comparison)
            pending, comparison.pending = comparison.pending, []
            if self._runs is None or not pending:
                comparison.count_handled(pending)
                return withheld
            positions = await self._append(pending, comparison)
            if None not in positions:
                comparison.count_handled(pending)
                return withheld
            repaired = [position is not None for position in positions]
            comparison.count_handled(compress(pending, repaired))
            comparison.unresolved = [row_event_of(each) for each in compress(pending, map(not_, repaired))]
            await self._resolve(comparison)
            comparison.live = live  # these streams were counted before
        comparison.counts.older += len(comparison.pending)  # a newer event arrived each time
        return withheld

    async def _withhold(self, comparison: Comparison) -> int:
        """Withholds the corrections that remove values."""
        pending, suspects = comparison.pending, comparison.suspects
        split = partial(self._losses.split, pending, suspects)
        comparison.pending, removing = await _in_thread(split, pending if suspects is None else suspects)
        if self._runs is not None and removing:
            await run_sync(partial(self._withheld.add, removing, comparison.placement))
        comparison.count_handled(removing)
        return len(removing)

    async def _release(self) -> None:
        """Appends the withheld corrections."""
        self._withholds = False
        batches = self._withheld.batches()
        while (batch := await run_sync(next, batches, None)) is not None:
            await self._repair(Comparison(pending=batch, placement=self._withheld.placement))

    async def _append(self, pending: Sequence[PendingRepair], comparison: Comparison) -> list[int | None]:
        """Appends repairs. Their positions; all None if an epoch was raised meanwhile that they may belong to."""
        placement = comparison.placement
        positions = await append_placed(self._store.log, self._epochs, pending, placement, self._retry)
        if positions is None:
            comparison.placement = self._placement
        return positions or [None] * len(pending)

    async def _compare_entries(self, rows: Sequence[StreamRow], entries: Sequence[bytes]) -> Comparison:
        """Compares rows with the head contents of their range. Only rows that differ are decoded."""
        comparison = await _in_thread(partial(self._compare_contents, rows, entries), max(rows, entries, key=len))
        await self._resolve(comparison)
        self._first.defer(comparison)
        return comparison

    def _compare_contents(self, rows: Sequence[StreamRow], entries: Sequence[bytes]) -> Comparison:
        """Compares as far as head contents suffice."""
        placement = self._placement
        equal, different, others = split_equal(rows, entries, placement)
        if not different and not others:
            return equal
        comparison = self._comparer.compare(different, others, self._context(placement))
        comparison.placement = placement
        comparison.counts += equal.counts
        comparison.live += equal.live
        comparison.drop_uncovered(self._coverage, others)
        if self._withholds:  # here, because this may run in a thread
            comparison.suspects = find_suspects(comparison.pending)
        return comparison

    async def _resolve(self, comparison: Comparison) -> None:
        """Compares the unresolved rows and unmatched streams with their current heads."""
        streams = {each.event.originator_id for each in comparison.unresolved}
        streams.update(stream.decode() for stream in comparison.unmatched)
        if streams:
            heads = await self._store.log.heads(sorted(streams))
            heads.sort(key=_stream)
            await _in_thread(partial(comparison.resolve, heads, self._context(comparison.placement)), heads)
        await self._echoes.drop(comparison)

    def _context(self, placement: Placement = PLAIN) -> RepairContext:
        return RepairContext(self._run.id, now(), placement)

    @property
    def _placement(self) -> Placement:
        """The epochs of the rows. A dry run assumes the epoch that it would begin."""
        return Placement.of(self._epochs.known, self._run.source, self._run.epoch if self._runs is None else 0)

    # --- withdrawing ------------------------------------------------------------------------------

    def _is_orphan(self, head: StoredEvent) -> bool:
        """Whether the stream has no event since the run began, nor since shortly before the snapshot was taken."""
        state = decode_state(head)
        if state is None or head.notification_id > self._run.start_position:
            return False
        times = (state.occurred_at, state.recorded_at) if self._taken_at is not None else (state.recorded_at,)
        return max(times) < seconds_before(self._since, self._run.settle)

    @property
    def _since(self) -> str:
        """When the snapshot was begun, from its marker or configuration: it may lack later changes."""
        return self._taken_at or self._run.written_at or self._run.started_at

    def _note_taken_at(self, snapshot: Snapshot) -> None:
        """Records when the snapshot was taken, once it has reported it."""
        if snapshot.taken_at is not None:
            self._taken_at = format_timestamp(snapshot.taken_at)

    def _may_withdraw(self) -> bool:
        """Whether a missing row proves a deletion, and is to: the snapshot is complete, and every row was readable."""
        return self._run.complete_snapshot and not (self._run.counts.unreadable or self._run.keeps_absent)

    async def _hold_if_needed(self) -> bool:
        """Holds the run if it would remove more than is allowed without confirmation."""
        allowed = self._limit.limit(self._run.live)
        orphans = self._run.counts.orphans if self._may_withdraw() else 0
        if self._confirmed or not (self._too_much or orphans > allowed):
            return False
        self._run.hold(orphans=orphans, limit=allowed, losses=[list(loss) for loss in self._too_much])
        await self._save()
        return True

    async def _withdraw_all(self) -> None:
        """Withdraws every orphan that has no newer event."""
        if self._runs is None:
            return
        done_upto = self._run.withdrawn_after
        async for streams in self._runs.orphans(self._run.id):
            remaining = [stream for stream in streams if stream > done_upto]
            if remaining:
                await self._withdraw(remaining)

    async def _withdraw(self, streams: Sequence[str]) -> None:
        heads = {head.originator_id: head for head in await self._store.log.heads(streams)}
        untouched = await self._store.log.untouched(streams, self._run.start_position)
        done = [stream for stream in streams if self._was_withdrawn(heads[stream])]
        left = [heads[stream] for stream in streams if stream in untouched and self._is_orphan(heads[stream])]
        context = self._context()
        corrections = [withdrawal_of(head, self._since, context) for head in left]
        positions = await self._retry(partial(self._store.log.correct, corrections)) if corrections else []
        done += [head.originator_id for head, position in zip(left, positions, strict=True) if position is not None]
        if None in positions:  # a concurrent event took the version, or the reply to an earlier attempt was lost
            unsure = [head.originator_id for head, position in zip(left, positions, strict=True) if position is None]
            done += [head.originator_id for head in await self._store.log.heads(unsure) if self._was_withdrawn(head)]
        self._run.withdraw(streams=done, spared=len(streams) - len(done), after=streams[-1])
        await self._save()

    def _was_withdrawn(self, head: StoredEvent) -> bool:
        """Whether this run withdrew the stream, and was stopped before recording that."""
        state = decode_state(head)
        return state is not None and state.run_id == self._run.id and state.drift == "orphan"

    # --- recording --------------------------------------------------------------------------------

    async def _save(self) -> None:
        if self._runs is None:
            self._run.collect_events()
        else:
            await self._retry(partial(self._runs.save, self._run))

    async def _retry(self, work: Callable[[], Awaitable[Result]]) -> Result:
        """Does work, and repeats it for a while if the store is unavailable. All of it can be repeated."""
        async for attempt in stamina.retry_context(
            on=RETRYABLE, attempts=None, timeout=RETRY_SECONDS, wait_initial=0.1, wait_max=5.0, wait_jitter=0.5
        ):
            with attempt:
                return await work()
        raise AssertionError  # stamina returns from the attempt, or raises


async def _in_thread(work: Callable[[], Result], items: Sized) -> Result:
    """Runs the function on the items, in a thread if there are many."""
    return work() if len(items) <= MAX_INLINE_ITEMS else await run_sync(work)
