"""Consumers: one a domain, each with its own checkpoint, lease, pace and failures."""

import time
from collections.abc import AsyncIterator, Callable, Collection, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from functools import partial

import anyio
import stamina

from pagefold.domains import AnyDomain
from pagefold.engine.configuration.config import Config
from pagefold.engine.errors import RETRYABLE, LeaseLost, LogReplaced, PagefoldError
from pagefold.engine.folding.folder import Folder
from pagefold.engine.folding.source_resets import StaleStreaks
from pagefold.engine.replay.replayer import Replayer
from pagefold.engine.replay.section_verifier import SectionVerifier
from pagefold.engine.runtime.counters import Counters
from pagefold.engine.runtime.logs import Logger, log_context
from pagefold.engine.runtime.recent_faults import RecentFaults
from pagefold.engine.runtime.task_groups import run_beside
from pagefold.engine.stores.store import Checkpoint, FoldTransaction, Lease, Store, StoredEvent, TouchedStreams

MIN_WINDOW = 500
"""Positions of the log in a transaction when up to date. Doubled with every full window, up to `work.batch`."""

MAX_WINDOW_BYTES = 32 * 1024 * 1024
"""Bytes of a domain's events in a transaction. A larger window is halved, down to one event."""

STANDBY_SECONDS = 0.1

SETTLE_SECONDS = 0.5
"""How far the checkpoint may lag behind the position read, in a busy log without events of this domain."""

QUIET_SECONDS = 0.05
"""How long the log must be quiet for the checkpoint to follow the position read."""

CONFIRM_SECONDS = 0.5
"""How often an idle consumer checks that the log is still the one that it has folded."""

PAUSE_PER_FOLD, MAX_PAUSE_SECONDS = 2.0, 0.004
"""How long a consumer that is up to date rests after a fold, for each second of the fold, and at most.

Under single events that come fast, a transaction then has several of them. One after a pause is folded at once.
"""

MAX_FOLDED_AHEAD = 50_000
"""How many streams folded ahead a consumer remembers: some megabytes."""

FAULT_SECONDS = 60.0
"""How long a failure counts. By then the consumer has tried again, or waits for another worker's lease."""

RETRYABLE_ERRORS = (*RETRYABLE, LeaseLost)
"""Errors after which a consumer recovers by itself."""

log = Logger(__name__)


class Consumer:
    """Folds one domain, from its checkpoint to the end of the log.

    If the checkpoint's fingerprint says that pages were folded under another configuration, it also folds every page of
    the domain again, in parallel.
    """

    def __init__(
        self,
        store: Store,
        domain: AnyDomain,
        config: Config,
        counters: Counters | None = None,
        faults: RecentFaults | None = None,
    ) -> None:
        self._store = store
        self._counters = counters or Counters()
        self._faults = RecentFaults() if faults is None else faults
        self._domain = domain.name
        self._work_name = f"fold {domain.name}"
        self._folder = Folder(domain, config.resolved_channels, store.log)
        self._replayer = partial(Replayer, store, SectionVerifier(store, domain, config))
        self._fingerprint = config.fingerprint(domain)
        self._work = config.work

    async def run(self, *, enduring: bool = False) -> None:
        """Folds new events, forever. Waits on standby while another worker has the lease.

        Transient errors are retried with backoff and jitter. Raises `LogReplaced` and unexpected errors, unless it is
        `enduring`: those are then retried, too, since an operator may repair the cause.
        """
        with log_context(domain=self._domain):
            await self._run(enduring=enduring)

    async def _run(self, *, enduring: bool) -> None:
        while True:
            async for attempt in stamina.retry_context(
                on=Exception if enduring else RETRYABLE_ERRORS,
                attempts=None,
                timeout=None,
                wait_initial=0.1,
                wait_max=10.0,
                wait_jitter=0.5,
            ):
                with attempt:
                    await self._hold()

    async def _hold(self) -> None:
        """Takes the lease and folds until an error. An error after progress resets the backoff."""
        progressed = False

        def progress() -> None:
            nonlocal progressed
            progressed = True
            self._faults.succeeded(self._work_name)

        try:
            await self._follow(progress)
        except LeaseLost as error:  # another worker folds now
            if not progressed:
                raise
            log.warning("interrupted", domain=self._domain, error=str(error))
        except RETRYABLE as error:
            self._faults.failed(self._work_name, error, FAULT_SECONDS)
            if not progressed:
                raise
            log.warning("interrupted", domain=self._domain, error=str(error))
        except LogReplaced as error:
            self._faults.failed(self._work_name, error, FAULT_SECONDS)
            log.error("folding has stopped", domain=self._domain, error=str(error))  # noqa: TRY400  # expected
            raise
        except Exception as error:
            self._faults.failed(self._work_name, error, FAULT_SECONDS)
            trace = None if isinstance(error, PagefoldError) else error  # one of ours says what is wrong
            log.error("a consumer failed", domain=self._domain, error=str(error), exc_info=trace)  # noqa: TRY400
            raise

    async def _follow(self, progress: Callable[[], None]) -> None:
        """Takes the lease and folds new events. Calls `progress` whenever it is up to date or has folded."""
        async with self._lease() as lease:
            tail = await self._open_tail(lease)
            log.info("folding", domain=self._domain, position=tail.position, holder=lease.holder)
            async with run_beside(partial(self._replay, tail)):
                while True:
                    if await tail.step():
                        progress()
                    if tail.is_up_to_date:
                        await tail.wait(self._work.poll_seconds)
                        self._faults.succeeded(self._work_name)

    @asynccontextmanager
    async def _lease(self) -> AsyncIterator[Lease]:
        """The domain's lease. Logs that this worker stands by while another one has it."""
        coordination = self._store.coordination
        async with AsyncExitStack() as stack:
            lease = await stack.enter_async_context(coordination.lease(self._domain, wait=False))
            while lease is None:
                holders = {each.domain: each.holder for each in await coordination.checkpoints()}
                holder = holders.get(self._domain)
                log.info("standing by: another worker folds this domain", domain=self._domain, holder=holder)
                lease = await stack.enter_async_context(coordination.lease(self._domain))
            yield lease

    async def catch_up(self) -> None:
        """Folds everything in the log at the time of the call, or waits until the worker with the lease has.

        Raises `LogReplaced`.
        """
        target = await self._store.log.end()
        while True:
            checkpoint = await self._checkpoint()
            caught_up = checkpoint.position >= target
            if caught_up and not self._is_outdated(checkpoint):
                return
            async with self._store.coordination.lease(self._domain, wait=False) as lease:
                if lease is not None:
                    tail = await self._open_tail(lease)
                    while tail.position < target and await tail.step():
                        pass
                    await self._replay(tail)
                    await tail.save_position()
                    continue
            if caught_up:
                log.warning("another worker folds with another configuration", domain=self._domain)
                return
            await anyio.sleep(STANDBY_SECONDS)

    async def _checkpoint(self) -> Checkpoint:
        await self._store.proof.prove()
        checkpoints = {each.domain: each for each in await self._store.coordination.checkpoints()}
        return checkpoints.get(self._domain, Checkpoint(self._domain))

    async def _open_tail(self, lease: Lease) -> "_LogTail":
        await self._store.proof.prove()
        async with lease.fold_transaction() as transaction:
            checkpoint = transaction.checkpoint
            streaks = StaleStreaks(self._store.log, self._domain, await transaction.streaks())
        tail = _LogTail(self._store, lease, self._folder, checkpoint, streaks, self._work.batch)
        tail.fingerprint = checkpoint.fingerprint or self._fingerprint
        tail.counters = self._counters
        return tail

    async def _replay(self, tail: "_LogTail") -> None:
        """Folds every page again if configuration or code have changed, and records that it did."""
        if not self._is_outdated(tail.checkpoint):
            return
        log.warning("the configuration or the release has changed: folding every page again", domain=self._domain)
        found = await self._replayer(begin=tail.fold_transaction).run()
        self._counters.add_replay(self._domain, found.changed)
        tail.fingerprint = self._fingerprint  # stored with the next checkpoint
        log.info("every page is folded again", domain=self._domain, compared=found.sections, changed=found.changed)

    def _is_outdated(self, checkpoint: Checkpoint) -> bool:
        return checkpoint.fingerprint not in (None, self._fingerprint)


class _LogTail:
    """Follows the log under a lease.

    `position` is the position read, which may be ahead of the `checkpoint` if nothing matched; `fingerprint` is that of
    the configuration under which all pages are folded. Its work is counted in `counters`.
    """

    def __init__(
        self, store: Store, lease: Lease, folder: Folder, checkpoint: Checkpoint, streaks: StaleStreaks, max_window: int
    ) -> None:
        self._store = store
        self._lease = lease
        self._folder = folder
        self._streaks = streaks
        self._max_window = max_window
        self.checkpoint = checkpoint
        self.fingerprint = checkpoint.fingerprint
        self.counters = Counters()
        self._window = min(MIN_WINDOW, max_window)
        self._ahead = _FoldedAhead()
        self._moved_at = self._confirmed_at = time.monotonic()
        self._folded_at = self._fold_seconds = 0.0
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
                    self._ahead = _FoldedAhead(await self._store.log.end() if full else touched.end)
                await self._fold(touched)
            self.position = touched.end
            if time.monotonic() - self._moved_at > SETTLE_SECONDS:
                await self.save_position()
        return True

    async def wait(self, seconds: float) -> None:
        """Waits until the log grows, and then until several events can be folded together, if they come fast.

        If the log does not grow for a moment, the checkpoint is moved to the position read.
        """
        await self.check_log()
        began = time.monotonic()
        await self._store.log.wait(self.position, seconds if self._is_saved else QUIET_SECONDS)
        now = time.monotonic()
        if now - began >= QUIET_SECONDS:
            await self.save_position()
        pause = self._folded_at + min(PAUSE_PER_FOLD * self._fold_seconds, MAX_PAUSE_SECONDS) - now
        if pause > 0:
            await anyio.sleep(pause)

    async def _next_window(self) -> TouchedStreams:
        """The next window, as large as allowed."""
        while True:
            touched = await self._store.log.touched(self.checkpoint.domain, self.position, self._window)
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
        await self._store.proof.prove()
        if self.checkpoint not in await self._store.coordination.checkpoints():
            raise LeaseLost(self.checkpoint.domain)
        self._confirmed_at = time.monotonic()

    def _check_checkpoint(self, checkpoint: Checkpoint) -> None:
        if checkpoint != self.checkpoint:
            raise LeaseLost(checkpoint.domain)

    async def _fold(self, touched: TouchedStreams) -> None:
        started, began = time.perf_counter(), time.monotonic()
        async with self._lease.fold_transaction() as transaction:
            self._check_checkpoint(transaction.checkpoint)
            to_fold = self._ahead.unfolded(touched.streams)
            folded = await self._folder.fold(transaction, to_fold)
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
        seconds = time.perf_counter() - started
        self._folded_at = time.monotonic()
        self._fold_seconds = self._folded_at - began
        self.counters.add_fold(moved.domain, touched.events, folded.changed, seconds)
        log.info(
            "folded",
            domain=moved.domain,
            position=moved.position,
            events=touched.events,
            streams=len(touched.streams),
            changed=folded.changed,
            bad=len(folded.bad),
            milliseconds=round(seconds * 1000, 1),
        )

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
