"""Proof of life: records that were recreated under an old SKU, whose versions restarted.

A row of a complete snapshot may be older than the withdrawal at the head of its stream. If the row was written after
that withdrawal, the record exists and its counter restarted: the row is appended in the stream's next epoch, which
later events of the source then enter too. That it was written later is proved by the source's timestamps, if the row
occurred after the withdrawal, or by the snapshot, if it was taken after the withdrawal was recorded. These are the
rules by which a stream that a snapshot lacks is an orphan.

If the head is not a withdrawal, the same proof indicates a restarted counter. Only an operator can tell which version
is right: such streams are reported, and the source looks reset until the alarm is answered.
"""

from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import TypeAlias

from pagefold.engine.events import NULL
from pagefold.engine.folding.source_resets import RESET_THRESHOLD
from pagefold.engine.intake.epoch_registry import EpochRegistry
from pagefold.engine.rebuild.older_rows import OlderRows, Recreated, RecreatedCandidate
from pagefold.engine.rebuild.row_comparer import OlderRow, decode_state
from pagefold.engine.rebuild.run_aggregate import RebuildRun
from pagefold.engine.rebuild.run_repository import RunRepository
from pagefold.engine.runtime.clock import now
from pagefold.engine.stores.epoch_fence import EpochsMoved, Fence
from pagefold.engine.stores.event_state import RepairEncoder
from pagefold.engine.stores.store import CorrectionEvent, Store, StoredEvent
from pagefold.projections.epochs import MAX_EPOCH, epoch_of, versioned
from pagefold.projections.streams import encode_part, parse_stream_id

Retry: TypeAlias = Callable[[Callable[[], Awaitable[list[int | None]]]], Awaitable[list[int | None]]]


class OlderRowHandler:
    """What becomes of one run's rows that are older than what stands. `runs` is None when nothing may be written.

    `is_settled` tells whether an event was said before the snapshot was taken; `save` records the run; `retry` does
    work, and again while the store is unavailable.
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
        """Which of the rows tell of a counter that was restarted, and which of a record that was made again."""
        reset: list[str] = []
        again: list[RecreatedCandidate] = []
        for number, statement, head in older_rows:
            if not self._is_later(statement.occurred_at, head):
                continue
            row = RecreatedCandidate.of(number, statement)
            if statement.epoch is None and self._may_be_recreated(row, head):
                again.append(row)
            else:
                reset.append(row.stream)
        again.sort(key=lambda row: row.stream)
        return OlderRows(sorted(reset), again)

    async def mark_looks_reset(self, reset: Sequence[str]) -> None:
        """Marks the source as looking reset, until an operator answers."""
        if self._runs is None:
            return
        for domain, number in sorted(Counter(parse_stream_id(stream).domain for stream in reset).items()):
            async with self._store.coordination.fold_transaction(domain) as folding:
                known = (await folding.streaks()).get(self._run.source, 0)
                await folding.save_streaks({self._run.source: max(known, number, RESET_THRESHOLD)})

    def keep_candidates(self, again: Sequence[RecreatedCandidate]) -> None:
        """For a run that is not recorded."""
        if self._runs is None:
            self._candidates += [row.stream for row in again]

    async def append_all(self) -> None:
        """Appends every recreated record in the next epoch of its stream, once the snapshot is complete."""
        if self._runs is None:
            if self._candidates:
                self._run.trigger_event(Recreated, streams=self._candidates, after=self._candidates[-1])
            return
        async for rows in self._runs.recreated_candidates(self._run.id):
            left = [row for row in rows if row.stream > self._run.recreated_after]
            if left:
                done = await self._append(left)
                self._run.trigger_event(Recreated, streams=done, after=left[-1].stream)
                await self._save()

    async def _append(self, rows: Sequence[RecreatedCandidate]) -> list[str]:
        """The streams of the records that this run has appended by then."""
        await self._epochs.declare(encode_part(self._run.source))
        while True:
            heads = {head.originator_id: head for head in await self._store.log.heads([row.stream for row in rows])}
            left = [row for row in rows if self._is_recreated(row, heads[row.stream])]
            if not left:
                return [row.stream for row in rows if self._was_appended_by_run(heads[row.stream])]
            known = await self._epochs.refresh()
            ceilings = {row.stream: heads[row.stream].originator_version + 1 for row in left}
            states = RepairEncoder(self._run.id, now(), "recreated", was_withdrawn=True)
            corrections: list[CorrectionEvent] = []
            for row in left:
                epoch = max(known.floor(row.stream), epoch_of(heads[row.stream].originator_version) + 1)
                state = states.state(row.statement(versioned(epoch, row.version)), row.number)
                corrections.append(CorrectionEvent(row.stream, versioned(epoch, row.version), 0, row.topic, state))
            fence = Fence(known.generation, ceilings)
            try:
                await self._retry(partial(self._store.log.correct, corrections, fence))
            except EpochsMoved:  # one of them has a new event, or the answer to an earlier try was lost
                continue

    def _is_later(self, occurred_at: str, head: StoredEvent) -> bool:
        """Whether a row that occurred then was written down after what stands was said."""
        state = decode_state(head)
        return state is not None and (occurred_at > state.occurred_at or self._is_settled(head))

    def _may_be_recreated(self, row: RecreatedCandidate, head: StoredEvent) -> bool:
        """Whether a row that is later says something where a withdrawal stands, and there is another epoch."""
        state = decode_state(head)
        withdrawn = state is not None and bytes(state.payload) == NULL
        return withdrawn and row.content != "null" and epoch_of(head.originator_version) < MAX_EPOCH

    def _is_recreated(self, row: RecreatedCandidate, head: StoredEvent) -> bool:
        return self._is_later(row.occurred_at, head) and self._may_be_recreated(row, head)

    def _was_appended_by_run(self, head: StoredEvent) -> bool:
        """Whether this very run has made it, perhaps before it was stopped."""
        state = decode_state(head)
        return state is not None and state.run_id == self._run.id and state.drift == "recreated"
