"""Rebuilding one source: its snapshot beside the log, page by page, and what differs mended by events.

Every step can be repeated: a page that was mended before its end was recorded is found to be so, and counted the same.
"""

from bisect import bisect_right
from collections.abc import Awaitable, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field, replace
from functools import partial
from operator import attrgetter
from time import monotonic
from typing import TypeVar, cast

import anyio
import stamina
from anyio.streams.memory import MemoryObjectSendStream
from anyio.to_thread import run_sync

from domains.domain import JSON
from engine.clock import now
from engine.config import Config
from engine.configuration.snapshots import OrphanLimit
from engine.door import Door, Drift, format_moment
from engine.errors import RETRYABLE
from engine.logs import Logger
from engine.looking import span_of
from engine.rebuild.comparing import (
    Comparison,
    Difference,
    Mark,
    Pending,
    counted,
    decoded,
    difference,
    divided,
    mended,
    withdrawn,
)
from engine.rebuild.ordering import (
    SHOWN,
    Aside,
    Disorder,
    Named,
    Page,
    Refusal,
    Scope,
    Usher,
    as_they_come,
    spilled,
    stream_of,
)
from engine.rebuild.run import Counts, Rebuild
from engine.rebuild.runs import Runs
from engine.rebuild.walking import Span, Walk
from engine.snapshots.snapshot import Batch, Snapshot
from engine.stores.store import Correction, Store, StoredEvent
from engine.tasks import ungrouped
from projections.streams import encode_part, normalise_sku

RETRY_SECONDS = 60.0
"""How long a transaction is tried again before the run gives up, to be resumed."""

TRIES = 5
"""How often streams are compared again with what came in meanwhile."""

RECORD_SECONDS = 0.5
"""Pages in which nothing has drifted are recorded together, so often."""

FEW = 100

log = Logger(__name__)

Result = TypeVar("Result")

_stream = attrgetter("originator_id")


class Watcher:
    """Who is told what a run does, while it does it. This one does not care; others care for what they override."""

    def begun(self, run_id: str) -> None:
        """It is recorded, or gone on with, under this name. A dry run has none."""

    def read(self, batch: Batch) -> None:
        """A batch of the snapshot was read."""

    def found(self, stream: str, drift: Drift) -> None:
        """A stream has drifted."""

    def compared(self, rows: int, total: int) -> None:
        """Of rows that had to be sorted, so many are compared, and there are that many in all."""

    def start_over(self) -> None:
        """What was found does not count: everything is read again, to be sorted, and then compared."""


@dataclass(slots=True)
class _Findings:
    """What is still to be recorded: rows that were put aside, and pages in which nothing had drifted.

    `place` is behind the last of these pages, None where there is none: in the snapshot, and in the log.
    """

    counts: Counts = field(default_factory=Counts)
    live: int = 0
    refusals: list[Refusal] = field(default_factory=list)
    place: tuple[JSON, str] | None = None

    def with_aside(self, aside: Aside) -> "_Findings":
        """And rows that are not compared."""
        counts = Counts(
            rows=aside.refused + aside.repeated,
            refused=aside.refused,
            unreadable=aside.unreadable,
            repeated=aside.repeated,
        )
        return replace(self, counts=self.counts + counts, refusals=[*self.refusals, *aside.refusals][:SHOWN])


class SourceRebuild:
    """One run of one source. `runs` is None when nothing may be written, neither to the log nor about the run itself.

    `confirmed` allows any number of withdrawals.
    """

    def __init__(
        self, store: Store, config: Config, run: Rebuild, runs: Runs | None, watcher: Watcher, *, confirmed: bool
    ) -> None:
        self._store = store
        self._run = run
        self._runs = runs
        self._watcher = watcher
        self._confirmed = confirmed
        self._taken_at = run.taken_at
        self._limit = OrphanLimit.parse(cast("int | str | list[int | str]", run.max_orphans))
        left_out = frozenset(config.sources[run.source].domains).difference(run.domains)
        prefix = normalise_sku(run.prefix)
        self._door = Door(config)
        self._usher = Usher(self._door, Scope(left_out, prefix))
        self._tails = [f"/{domain}/{encode_part(run.source)}" for domain in run.domains]
        self._span = span_of(prefix)
        self._recorded = monotonic()

    async def go(self, snapshot: Snapshot | None) -> None:
        """Compares what is not compared yet, and withdraws what the snapshot does not have, unless that must be asked.

        The snapshot may be None when all is compared.

        The run is `completed` or `held` then. Raises `StoreUnavailable`, `SourceFailed`, `RunTaken`; the run can be
        resumed.
        """
        if snapshot is not None:
            await self._compare_all(snapshot)
        if self._may_withdraw():
            if await self._must_ask():
                return
            await self._withdraw_all()
        self._run.complete()
        await self._save()

    # --- comparing --------------------------------------------------------------------------------

    async def _compare_all(self, snapshot: Snapshot) -> None:
        try:
            await self._compare(snapshot)
        except Disorder as disorder:
            log.info("sorting the snapshot", run=self._run.id, snapshot=snapshot.name)
            self._watcher.start_over()
            self._run.start_over(str(disorder))
            await self._save()
            await self._compare(snapshot)
        end = snapshot.end
        if end is None:
            raise AssertionError(snapshot)  # batches that have ended say how
        self._learn(snapshot)
        self._run.compared(complete=end.complete, reason=end.reason, taken_at=self._taken_at)
        await self._save()

    async def _compare(self, snapshot: Snapshot) -> None:
        """Every row behind the run's cursor beside the log, and the rest of the log behind the last of them.

        What was found last is noted, to be saved with the end: a run that goes on has not counted it yet.
        """
        beyond = self._run.cursor["stream"]
        after, below, _ = self._span
        span = Span(self._tails, max(after, beyond), below, self._run.start_position)
        async with Walk.of(self._store.log, span) as walk:
            findings, behind = await self._compare_rows(walk, snapshot, beyond)
            findings = (await self._compare_rest(walk, snapshot, findings)).with_aside(behind)
        if findings.place is not None or findings.counts.rows:
            self._note(replace(findings, place=self._place(findings)))

    async def _compare_rows(self, walk: Walk, snapshot: Snapshot, beyond: str) -> tuple[_Findings, Aside]:
        """Every page. What is behind the last place at which a run can go on is given apart, to be recorded last."""
        findings, behind = _Findings(), Aside()
        with ungrouped():
            send, receive = anyio.create_memory_object_stream[Page](1)
            async with anyio.create_task_group() as group, receive:
                group.start_soon(self._read, snapshot, send)
                async for page in receive:
                    if page.named or page.cursor is not None:
                        findings = await self._compare_page(page, walk, snapshot, findings, beyond)
                    else:
                        behind = page.aside
        return findings, behind

    async def _read(self, snapshot: Snapshot, send: MemoryObjectSendStream[Page]) -> None:
        cursor = self._run.cursor
        if self._run.spilled:
            pages = spilled(snapshot, self._usher, self._watcher.read)
        else:
            pages = as_they_come(snapshot, self._usher, cursor["snapshot"], self._watcher.read)
        async with send, aclosing(pages):
            async for page in pages:
                await send.send(page)

    async def _compare_page(
        self, page: Page, walk: Walk, snapshot: Snapshot, findings: _Findings, beyond: str
    ) -> _Findings:
        """Compares a page of rows with all heads up to its last one, and gives what is still to be recorded.

        What was put aside on the way to the page is recorded with the last of it: with that the page is done, and
        whoever resumes the run counts it neither twice nor not at all.
        """
        rows = page.named
        if not rows:
            return replace(findings.with_aside(page.aside), place=(page.cursor, self._place(findings)[1]))
        left = rows[bisect_right(rows, beyond.encode(), key=stream_of) :] if beyond else rows
        done = 0
        while done < len(left):
            stretch = await walk.stretch(stream_of(left[-1]).decode())
            upto = len(left) if stretch.reached else bisect_right(left, stretch.upto.encode(), lo=done, key=stream_of)
            comparison = await self._compare_entries(left[done:upto], stretch.entries)
            done = upto
            is_last = done == len(left)
            findings = findings.with_aside(page.aside) if is_last else findings
            cursor = page.cursor if is_last else self._place(findings)[0]
            findings = await self._settle(comparison, (cursor, stretch.upto), snapshot, findings)
        if page.sorted is not None:
            self._watcher.compared(*page.sorted)
        return findings

    def _place(self, findings: _Findings) -> tuple[JSON, str]:
        """Where the snapshot and the log go on, behind what is recorded and what is still to be."""
        recorded = self._run.cursor
        return findings.place or (recorded["snapshot"], recorded["stream"])

    async def _compare_rest(self, walk: Walk, snapshot: Snapshot, findings: _Findings) -> _Findings:
        """What the log has behind the last row."""
        while True:
            stretch = await walk.stretch(None)
            comparison = await self._compare_entries([], stretch.entries)
            if comparison.absent or findings.counts.rows:
                place = (self._place(findings)[0], stretch.upto)
                findings = await self._settle(comparison, place, snapshot, findings)
            if stretch.reached:
                return findings

    async def _settle(
        self, comparison: Comparison, place: tuple[JSON, str], snapshot: Snapshot, findings: _Findings
    ) -> _Findings:
        """Mends what a comparison has shown, and records it, or gives it back to be recorded with what comes next."""
        samples = [_sample(difference(each)) for each in comparison.pending[: SHOWN - len(self._run.samples)]]
        drifted = comparison.handled + await self._mend(comparison)
        for stream, drift in drifted:
            self._watcher.found(stream, drift)
        self._learn(snapshot)
        orphans = [head.originator_id for head in comparison.absent if self._is_orphan(head)]
        for stream in orphans:
            self._watcher.found(stream, "orphan")
        counts = comparison.counts + counted(drift for _, drift in drifted)
        counts.rows = counts.equal + counts.older + counts.refused + len(drifted)
        counts.orphans = len(orphans)
        counts.spared = len(comparison.absent) - len(orphans)
        live, refusals = findings.live + comparison.live, [*findings.refusals, *comparison.refusals]
        found = _Findings(findings.counts + counts, live, refusals, place)
        if not drifted and not orphans and monotonic() < self._recorded + RECORD_SECONDS:
            return found
        self._note(found, drifted=[list(each) for each in drifted], orphans=orphans, samples=samples)
        await self._save()
        self._recorded = monotonic()
        return _Findings()

    def _note(
        self,
        found: _Findings,
        *,
        drifted: Sequence[Sequence[str]] = (),
        orphans: Sequence[str] = (),
        samples: Sequence[JSON] = (),
    ) -> None:
        """Makes it part of the run. Once that is saved it is done: whoever resumes the run begins behind it."""
        cursor, upto = found.place or (None, "")
        self._run.page_done(
            cursor={"snapshot": cursor, "stream": upto},
            counts=found.counts,
            live=found.live,
            drifted=drifted,
            orphans=orphans,
            samples=samples,
            refusals=[list(each) for each in found.refusals[:SHOWN]],
            taken_at=self._taken_at,
        )

    async def _mend(self, comparison: Comparison) -> list[tuple[str, Drift]]:
        """Appends what the log lacks, and gives what that was. What came in meanwhile is compared again."""
        pending, comparison.pending = comparison.pending, []
        if self._runs is None:
            return [(stream_of(each.named).decode(), each.drift) for each in pending]
        done: list[tuple[str, Drift]] = []
        for _ in range(TRIES):
            if not pending:
                return done
            taken = await self._append(pending, done)
            again = await self._compare_again(taken)
            comparison.counts += again.counts
            done += again.handled
            pending = again.pending
        comparison.counts.older += len(pending)  # something newer came in each time
        return done

    async def _append(self, pending: Sequence[Pending], done: list[tuple[str, Drift]]) -> list[Named]:
        """Appends the events that mend these streams. Gives the rows of those whose place was taken meanwhile."""
        mark = Mark(self._run.id, now())
        make = partial(list[Correction], (mended(each, mark) for each in pending))
        events = make() if len(pending) <= FEW else await run_sync(make)
        taken: list[Named] = []
        for changed, append in ((False, self._store.log.insert), (True, self._store.log.correct)):
            chosen = [
                (each, event)
                for each, event in zip(pending, events, strict=True)
                if (each.drift == "changed") is changed
            ]
            if not chosen:
                continue
            positions = await self._retried(partial(append, [event for _, event in chosen]))
            for (each, _), position in zip(chosen, positions, strict=True):
                if position is None:
                    taken.append(each.named)
                else:
                    done.append((stream_of(each.named).decode(), each.drift))
        return taken

    async def _compare_entries(self, rows: Sequence[Named], entries: Sequence[bytes]) -> Comparison:
        """Rows with what the log has from the first of them to the last. Only what is not equal is looked at closer."""
        equal, live, different, others = divided(rows, entries)
        comparison = await self._compare_again(different, others)
        comparison.counts.equal += equal
        comparison.live += live
        return comparison

    async def _compare_again(self, rows: Sequence[Named], others: Sequence[bytes] = ()) -> Comparison:
        """Rows, and other streams, with the heads that stand by now."""
        comparison = Comparison(self._run.id, self._door)
        if streams := set(map(stream_of, rows)).union(others):
            heads = await self._store.log.heads([stream.decode() for stream in sorted(streams)])
            merge = partial(comparison.merge, rows, sorted(heads, key=_stream))
            merge() if len(rows) <= FEW else await run_sync(merge)
        return comparison

    # --- withdrawing ------------------------------------------------------------------------------

    def _is_orphan(self, head: StoredEvent) -> bool:
        """Whether nobody has spoken of a stream since the run began, nor since the snapshot was taken.

        What the source says of when that was is compared with both moments of its event; the time of a file, which is
        of our own clock, with ours.
        """
        state = decoded(head)
        if state is None or head.notification_id > self._run.start_position:
            return False
        if self._taken_at is not None:
            return max(state.occurred_at, state.recorded_at) < self._taken_at
        return self._run.written_at is None or state.recorded_at < self._run.written_at

    def _learn(self, snapshot: Snapshot) -> None:
        """Remembers when the snapshot was taken, once it has said so."""
        if snapshot.taken_at is not None:
            self._taken_at = format_moment(snapshot.taken_at)

    def _may_withdraw(self) -> bool:
        """Only a snapshot that is complete, and of which every row could be read, proves what is not in it."""
        return self._run.complete_snapshot and not self._run.counts.unreadable

    async def _must_ask(self) -> bool:
        """Holds the run when it would withdraw more than it may without being asked."""
        orphans, allowed = self._run.counts.orphans, self._limit.of(self._run.live)
        if self._confirmed or self._run.confirmed or orphans <= allowed:
            return False
        self._run.hold(orphans=orphans, limit=allowed)
        await self._save()
        return True

    async def _withdraw_all(self) -> None:
        """Takes back the last word of every orphan of which nobody has spoken meanwhile."""
        if self._runs is None:
            return
        begun = self._run.withdrawn_after
        async for streams in self._runs.orphans(self._run.id):
            left = [stream for stream in streams if stream > begun]
            if left:
                await self._withdraw(left)

    async def _withdraw(self, streams: Sequence[str]) -> None:
        heads = {head.originator_id: head for head in await self._store.log.heads(streams)}
        untouched = await self._store.log.untouched(streams, self._run.start_position)
        done = [stream for stream in streams if self._was_withdrawn(heads[stream])]
        left = [heads[stream] for stream in streams if stream in untouched and self._is_orphan(heads[stream])]
        mark = Mark(self._run.id, now())
        since = self._taken_at or self._run.written_at or self._run.started_at
        corrections = [withdrawn(head, since, mark) for head in left]
        positions = await self._retried(partial(self._store.log.correct, corrections)) if corrections else []
        done += [head.originator_id for head, position in zip(left, positions, strict=True) if position is not None]
        if None in positions:  # somebody was faster, or the answer to an earlier try was lost
            again = [head.originator_id for head, position in zip(left, positions, strict=True) if position is None]
            done += [head.originator_id for head in await self._store.log.heads(again) if self._was_withdrawn(head)]
        self._run.withdraw(streams=done, spared=len(streams) - len(done), after=streams[-1])
        await self._save()

    def _was_withdrawn(self, head: StoredEvent) -> bool:
        """Whether this very run has withdrawn a stream, and was stopped before it could record that."""
        state = decoded(head)
        return state is not None and state.run_id == self._run.id and state.drift == "orphan"

    # --- recording --------------------------------------------------------------------------------

    async def _save(self) -> None:
        if self._runs is None:
            self._run.collect_events()
        else:
            await self._retried(partial(self._runs.save, self._run))

    async def _retried(self, work: Callable[[], Awaitable[Result]]) -> Result:
        """The work, tried again for a while when the store is unavailable. All of it can be repeated."""
        async for attempt in stamina.retry_context(
            on=RETRYABLE, attempts=None, timeout=RETRY_SECONDS, wait_initial=0.1, wait_max=5.0, wait_jitter=0.5
        ):
            with attempt:
                return await work()
        raise AssertionError  # stamina returns from the attempt, or raises


def _sample(found: Difference) -> JSON:
    return [found.stream, found.drift, [[each.path, each.before, each.after] for each in found.changes]]
