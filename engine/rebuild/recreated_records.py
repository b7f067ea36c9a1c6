"""Recreated records: records that exist again under an old SKU, and whose versions restarted.

A row of a complete snapshot may be older than the withdrawal at the head of its stream. If the row was written after
that withdrawal, the record exists and its counter restarted: the row is appended in the stream's next epoch, which
later events of the source then enter too. That it was written later is proved by the source's timestamps, if the row
occurred after the withdrawal, or by the snapshot, if it was taken after the withdrawal was recorded. The same rules
decide whether a stream that a snapshot lacks is an orphan.

If the head is not a withdrawal, the same proof indicates a restarted counter. Only an operator can tell which version
is right: such streams are reported, and the source looks reset until the alarm is answered.
"""

from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import TypeAlias

from pagefold.engine.events import NULL
from pagefold.engine.folding.source_resets import RESET_THRESHOLD
from pagefold.engine.intake.epoch_registry import EpochRegistry, source_of
from pagefold.engine.rebuild.older_rows import OlderRows, Recreated, RecreatedCandidate
from pagefold.engine.rebuild.row_comparer import OlderRow, decode_state
from pagefold.engine.rebuild.run_aggregate import RebuildRun
from pagefold.engine.rebuild.run_repository import RunRepository
from pagefold.engine.runtime.clock import now
from pagefold.engine.stores.epoch_fence import EpochsMoved, Fence
from pagefold.engine.stores.event_state import repair_encoder
from pagefold.engine.stores.log_records import CorrectionEvent, StoredEvent
from pagefold.engine.stores.store import Store
from pagefold.projections.epochs import MAX_EPOCH, epoch_of, versioned
from pagefold.projections.streams import parse_stream_id

Retry: TypeAlias = Callable[[Callable[[], Awaitable[list[int | None]]]], Awaitable[list[int | None]]]


class OlderRowHandler:
    """Handles the rows of one run that are older than the log. `runs` is None if nothing may be written.

    `is_settled` tells whether an event was sent before the snapshot was taken; `save` records the run; `retry` does
    work, and repeats it while the store is unavailable.
    """

    def __init__(  # noqa: PLR0913  # what it needs of its run, by name
        self,
        store: Store,
        epochs: EpochRegistry,
        run: RebuildRun,
        runs: RunRepository | None,
        *,
        is_settled: Callable[[StoredEvent], bool],
        save: Callable[[], Awaitable[None]],
        retry: Retry,
    ) -> None:
        self._store = store
        self._epochs = epochs
        self._run = run
        self._runs = runs
        self._is_settled = is_settled
        self._save = save
        self._retry = retry
        self._candidates: list[str] = []

    def classify(self, older_rows: Sequence[OlderRow]) -> OlderRows:
        """Splits rows into those of restarted counters and candidates for recreated records; ignores other rows."""
        reset: list[str] = []
        candidates: list[RecreatedCandidate] = []
        for number, event, head in older_rows:
            if not self._is_later(event.occurred_at, head):
                continue
            row = RecreatedCandidate.of(number, event)
            if event.epoch is None and self._may_be_recreated(row, head):
                candidates.append(row)
            else:
                reset.append(row.stream)
        candidates.sort(key=lambda row: row.stream)
        return OlderRows(sorted(reset), candidates)

    async def mark_looks_reset(self, reset: Sequence[str]) -> None:
        """Marks the source as looking reset, until an operator answers the alarm."""
        if self._runs is None:
            return
        for domain, number in sorted(Counter(parse_stream_id(stream).domain for stream in reset).items()):
            async with self._store.coordination.fold_transaction(domain) as folding:
                known = (await folding.streaks()).get(self._run.source, 0)
                await folding.save_streaks({self._run.source: max(known, number, RESET_THRESHOLD)})

    def keep_candidates(self, candidates: Sequence[RecreatedCandidate]) -> None:
        """Keeps candidates in memory if the run is not recorded."""
        if self._runs is None:
            self._candidates += [row.stream for row in candidates]

    async def append_all(self) -> None:
        """Appends every recreated record in the next epoch of its stream. The snapshot must be complete."""
        if self._runs is None:
            if self._candidates:
                self._run.trigger_event(Recreated, streams=self._candidates, after=self._candidates[-1])
            return
        async for rows in self._runs.recreated_candidates(self._run.id):
            remaining = [row for row in rows if row.stream > self._run.recreated_after]
            if remaining:
                done = await self._append(remaining)
                self._run.trigger_event(Recreated, streams=done, after=remaining[-1].stream)
                await self._save()

    async def _append(self, rows: Sequence[RecreatedCandidate]) -> list[str]:
        """Appends recreated records. Returns the streams of those that this run has appended."""
        for source in sorted({source_of(row.stream) for row in rows}):
            await self._epochs.declare(source)
        while True:
            heads = {head.originator_id: head for head in await self._store.log.heads([row.stream for row in rows])}
            left = [row for row in rows if self._is_recreated(row, heads[row.stream])]
            if not left:
                return [row.stream for row in rows if self._was_appended_by_run(heads[row.stream])]
            known = await self._epochs.refresh()
            ceilings = {row.stream: heads[row.stream].originator_version + 1 for row in left}
            states = repair_encoder(self._run.id, now(), "recreated", was_withdrawn=True)
            corrections: list[CorrectionEvent] = []
            for row in left:
                epoch = max(known.floor(row.stream), epoch_of(heads[row.stream].originator_version) + 1)
                state = states.state(row.event(versioned(epoch, row.version)), row.number)
                corrections.append(CorrectionEvent(row.stream, versioned(epoch, row.version), 0, row.topic, state))
            fence = Fence(known.generation, ceilings)
            try:
                await self._retry(partial(self._store.log.correct, corrections, fence))
            except EpochsMoved:  # a stream has a new event, or the reply to an earlier attempt was lost
                continue

    def _is_later(self, occurred_at: str, head: StoredEvent) -> bool:
        """Whether a row of this time was written after the head was sent."""
        state = decode_state(head)
        return state is not None and (occurred_at > state.occurred_at or self._is_settled(head))

    def _may_be_recreated(self, row: RecreatedCandidate, head: StoredEvent) -> bool:
        """Whether the head is a withdrawal, the row has a payload, and there is a next epoch."""
        state = decode_state(head)
        withdrawn = state is not None and bytes(state.payload) == NULL
        return withdrawn and row.content != "null" and epoch_of(head.originator_version) < MAX_EPOCH

    def _is_recreated(self, row: RecreatedCandidate, head: StoredEvent) -> bool:
        return self._is_later(row.occurred_at, head) and self._may_be_recreated(row, head)

    def _was_appended_by_run(self, head: StoredEvent) -> bool:
        """Whether this run appended the head, perhaps before it was interrupted."""
        state = decode_state(head)
        return state is not None and state.run_id == self._run.id and state.drift == "recreated"
