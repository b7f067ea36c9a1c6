"""The end of the log as one consumer sees it: what it has folded, and what comes next."""

import time
from collections.abc import Collection, Sequence
from contextlib import AbstractAsyncContextManager

import anyio

from pagefold.engine.consumers.recent_events import QUIET_SECONDS
from pagefold.engine.consumers.shared_reads import CONFIRM_SECONDS, SharedReads
from pagefold.engine.errors import LeaseLost
from pagefold.engine.folding.folder import Folder
from pagefold.engine.folding.head_folder import MAX_ON_LOOP
from pagefold.engine.folding.source_resets import StaleStreaks
from pagefold.engine.runtime.counters import Counters
from pagefold.engine.runtime.logs import Logger
from pagefold.engine.stores.log_records import StoredEvent, TouchedStreams
from pagefold.engine.stores.store import MAX_FEW_BYTES, Checkpoint, FewSections, FoldTransaction, Lease

MIN_WINDOW = 500
"""Positions of the log in a transaction when up to date. Doubled with every full window, up to `work.batch`."""

MAX_WINDOW_BYTES = 32 * 1024 * 1024
"""Bytes of a domain's events in a transaction. A larger window is halved, down to one event."""

SETTLE_SECONDS = 0.5
"""How far the checkpoint may lag behind the position read, in a busy log without events of this domain."""

MAX_FOLDED_AHEAD = 50_000
"""How many streams folded ahead a consumer remembers: some megabytes."""

MAX_FEW_STREAMS = 4 * MAX_ON_LOOP
"""Streams whose heads are read to fold a few SKUs: most do not exist."""

log = Logger(__name__)


class LogTail:
    """Follows the log under a lease.

    `position` is the position read, which may be ahead of the `checkpoint` if nothing matched; `fingerprint` is that of
    the configuration under which all pages are folded, `own_fingerprint` that of the folder's. Its work is counted in
    `counters`.
    """

    def __init__(
        self,
        reads: SharedReads,
        lease: Lease,
        folder: Folder,
        checkpoint: Checkpoint,
        streaks: StaleStreaks,
        max_window: int,
    ) -> None:
        self._reads = reads
        self._lease = lease
        self._folder = folder
        self._streaks = streaks
        self._max_window = max_window
        self.checkpoint = checkpoint
        self.fingerprint = self.own_fingerprint = checkpoint.fingerprint
        self.counters = Counters()
        self._window = min(MIN_WINDOW, max_window)
        self._ahead = _FoldedAhead()
        self._moved_at = self._confirmed_at = time.monotonic()
        self.position = checkpoint.position
        self.is_up_to_date = False

    async def step(self) -> bool:
        """Folds the next window, in one transaction that is never cancelled. False if there was none."""
        with anyio.CancelScope(shield=True):
            touched = await self._next_window()
            full = touched.scanned >= self._window
            self.is_up_to_date = not full
            if touched.scanned == 0:
                return False
            self._window = min(self._window * 2, self._max_window) if full else min(MIN_WINDOW, self._max_window)
            if touched.streams:
                if touched.end > self._ahead.horizon:
                    self._ahead = _FoldedAhead(await self._reads.log.end() if full else touched.end)
                await self._fold(touched)
            self.position = touched.end
            if time.monotonic() - self._moved_at > SETTLE_SECONDS or self._has_read_all():
                await self.save_position()
        return True

    async def wait(self, seconds: float) -> None:
        """Waits until the log has new events of the domain.

        If the log does not grow for a moment, the checkpoint is moved to the position read.
        """
        await self.check_log()
        patience = seconds if self._is_saved else QUIET_SECONDS
        await self._reads.events.wait(self.checkpoint.domain, self.position, patience)
        if self._has_read_all():
            await self.save_position()

    def _has_read_all(self) -> bool:
        """Whether the log was read to its end, and no more events come."""
        events = self._reads.events
        return events.is_quiet and events.end == self.position

    async def _next_window(self) -> TouchedStreams:
        """The next window, as large as allowed: from memory, if it is there."""
        recent = self._reads.events.window(self.checkpoint.domain, self.position)
        if recent is not None and recent.scanned <= self._window and recent.bytes <= MAX_WINDOW_BYTES:
            return recent
        while True:
            touched = await self._reads.log.touched(self.checkpoint.domain, self.position, self._window)
            if touched.bytes <= MAX_WINDOW_BYTES or touched.scanned <= 1:
                return touched
            self._window = touched.scanned // 2

    def fold_transaction(self) -> AbstractAsyncContextManager[FoldTransaction]:
        """A transaction under the lease."""
        return self._lease.fold_transaction()

    @property
    def _is_saved(self) -> bool:
        return self.checkpoint.position >= self.position and self.checkpoint.fingerprint == self.fingerprint

    async def save_position(self) -> None:
        """Moves the checkpoint to the position read."""
        if not self._is_saved:
            with anyio.CancelScope(shield=True):
                moved = self._moved(self.position, self.checkpoint)
                async with self._lease.fold_transaction() as transaction:
                    self._check_checkpoint(transaction.checkpoint)
                    moved = await transaction.advance(moved)
                self._committed(moved)

    async def check_log(self) -> None:
        """Checks, at intervals, that the log and the checkpoint are as this worker left them.

        Raises `LogReplaced`, and `LeaseLost` if the checkpoint was restored together with the log: the worker then
        starts from it.
        """
        if time.monotonic() < self._confirmed_at + CONFIRM_SECONDS:
            return
        if self.checkpoint not in await self._reads.checkpoints(self._moved_at):
            raise LeaseLost(self.checkpoint.domain)
        self._confirmed_at = time.monotonic()

    def _check_checkpoint(self, checkpoint: Checkpoint) -> None:
        if checkpoint != self.checkpoint:
            raise LeaseLost(checkpoint.domain)

    async def _fold(self, touched: TouchedStreams) -> None:
        started = time.perf_counter()
        changed = await self._fold_few(touched) if self._are_few(touched) else None
        changed, bad = await self._fold_in_transaction(touched) if changed is None else (changed, 0)
        seconds = time.perf_counter() - started
        self.counters.add_fold(self.checkpoint.domain, touched.events, changed, seconds)
        log.info(
            "folded",
            domain=self.checkpoint.domain,
            position=self.checkpoint.position,
            events=touched.events,
            streams=len(touched.streams),
            changed=changed,
            bad=bad,
            milliseconds=round(seconds * 1000, 1),
        )

    @property
    def _is_uniform(self) -> bool:
        """Whether all pages are folded under the configuration of the folder.

        Otherwise a fold changes more of a SKU's pages than those of its events, and followers must learn of all.
        """
        return self.fingerprint == self.own_fingerprint

    def _are_few(self, touched: TouchedStreams) -> bool:
        small = len(touched.streams) <= MAX_ON_LOOP and touched.bytes <= MAX_FEW_BYTES and self._is_uniform
        return small and self.is_up_to_date and not self._ahead.is_known and not self._folder.reads_others

    async def _fold_few(self, touched: TouchedStreams) -> int | None:
        """Folds a small window, in as few steps as possible. None if it needs a transaction of several."""
        needed = await self._folder.needed_streams(touched.streams)
        if not 0 < len(needed) <= MAX_FEW_STREAMS:
            return None

        def fold(checkpoint: Checkpoint, heads: list[StoredEvent]) -> FewSections | None:
            self._check_checkpoint(checkpoint)
            sections = self._folder.fold_few(heads) if self._streaks.stay(touched, self.position, heads) else None
            if sections is None:
                return None
            positions = {head.notification_id for head in heads}
            counted = _count_window(self.checkpoint, touched, self.position, positions, ())
            return FewSections(sections, self._moved(touched.end, counted))

        stored = await self._lease.fold_few(needed, touched.end, fold)
        if stored is None:
            return None
        self._committed(stored.checkpoint)
        return stored.changed

    async def _fold_in_transaction(self, touched: TouchedStreams) -> tuple[int, int]:
        """Returns for how many SKUs the sections changed, and how many events could not be folded."""
        async with self._lease.fold_transaction() as transaction:
            self._check_checkpoint(transaction.checkpoint)
            to_fold = self._ahead.unfolded(touched.streams)
            folded = await self._folder.fold(transaction, to_fold, followed=self._is_uniform)
            ahead = () if to_fold is touched.streams else set(touched.streams).difference(to_fold)
            streaks = await self._streaks.changed_by(touched, self.position, folded.heads, ahead, transaction)
            if streaks:
                await transaction.save_streaks(streaks)
            heads = self._ahead.heads_reached(touched) | {head.notification_id for head in folded.heads}
            moved = self._moved(touched.end, _count_window(self.checkpoint, touched, self.position, heads, folded.bad))
            moved = await transaction.advance(moved)
        self._committed(moved)
        self._streaks.commit(streaks)
        self._ahead.remember(folded.settled, touched.end)
        return folded.changed, len(folded.bad)

    def _moved(self, position: int, checkpoint: Checkpoint) -> Checkpoint:
        return checkpoint._replace(position=position, fingerprint=self.fingerprint)

    def _committed(self, checkpoint: Checkpoint) -> None:
        self.checkpoint = checkpoint
        self._moved_at = time.monotonic()


class _FoldedAhead:
    """The streams already folded beyond the checkpoint, while the consumer catches up.

    A fold uses a stream's head, which may lie after the current window. Its events up to `horizon` are then covered,
    and later windows skip the stream.
    """

    def __init__(self, horizon: int = 0) -> None:
        self.horizon = horizon
        self._heads: dict[str, int] = {}

    @property
    def is_known(self) -> bool:
        """Whether any stream is."""
        return bool(self._heads)

    def unfolded(self, streams: Sequence[str]) -> Sequence[str]:
        """The streams of a window that still need a fold."""
        return [stream for stream in streams if stream not in self._heads] if self._heads else streams

    def heads_reached(self, window: TouchedStreams) -> set[int]:
        """The positions of heads in a window that were folded before it."""
        known = [self._heads[stream] for stream in window.streams if stream in self._heads] if self._heads else []
        return {position for position in known if position <= window.end}

    def remember(self, heads: Sequence[StoredEvent], position: int) -> None:
        """Records heads after a position, up to the horizon, whose streams need no fold until there."""
        if position < self.horizon and len(self._heads) < MAX_FOLDED_AHEAD:
            self._heads |= {
                head.originator_id: head.notification_id for head in heads if head.notification_id > position
            }


def _count_window(
    checkpoint: Checkpoint, touched: TouchedStreams, after: int, heads: Collection[int], bad: Sequence[StoredEvent]
) -> Checkpoint:
    """Counts every event of the window once: as a head, good or bad, or as superseded."""
    found = sum([after < position <= touched.end for position in heads])
    dead = sum([after < event.notification_id <= touched.end for event in bad])
    return checkpoint._replace(
        applied=checkpoint.applied + found - dead,
        stale=checkpoint.stale + touched.events - found,
        dead=checkpoint.dead + dead,
    )
