"""Consumers: one a domain, each with its own checkpoint, lease, pace and failures."""

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial

import anyio
import stamina

from pagefold.domains import AnyDomain
from pagefold.engine.applied.applied_log import AppliedLog
from pagefold.engine.applied.changed_releases import changed_releases
from pagefold.engine.configuration.config import Config
from pagefold.engine.consumers.log_tail import LogTail
from pagefold.engine.consumers.shared_reads import SharedReads
from pagefold.engine.errors import RETRYABLE, LeaseLost, LogReplaced, PagefoldError
from pagefold.engine.folding.folder import Folder
from pagefold.engine.folding.mixed_pages import MIXED, fingerprints_in, mark_mixed
from pagefold.engine.folding.source_resets import StaleStreaks
from pagefold.engine.replay.release_replayer import ReleaseReplayer
from pagefold.engine.replay.replayer import Replayer
from pagefold.engine.replay.section_verifier import SectionVerifier
from pagefold.engine.runtime.counters import Counters
from pagefold.engine.runtime.logs import Logger, log_context
from pagefold.engine.runtime.recent_faults import RecentFaults
from pagefold.engine.runtime.task_groups import run_beside
from pagefold.engine.stores.store import Checkpoint, Lease, Store

STANDBY_SECONDS = 0.1

FAULT_SECONDS = 60.0
"""How long a failure counts. By then the consumer has tried again, or waits for another worker's lease."""

RETRYABLE_ERRORS = (*RETRYABLE, LeaseLost)
"""Errors after which a consumer recovers by itself."""

log = Logger(__name__)


class Consumer:
    """Folds one domain, from its checkpoint to the end of the log.

    If the checkpoint's fingerprint says that pages were folded under another configuration, it also folds the pages of
    the domain again, in parallel: every one, or those of releases, if only these were published or rolled back. `reads`
    is shared with the other consumers of the process.
    """

    def __init__(
        self,
        store: Store,
        domain: AnyDomain,
        config: Config,
        counters: Counters | None = None,
        faults: RecentFaults | None = None,
        reads: SharedReads | None = None,
    ) -> None:
        self._store = store
        self._reads = SharedReads(store) if reads is None else reads
        self._counters = counters or Counters()
        self._faults = RecentFaults() if faults is None else faults
        self._domain = domain.name
        self._releases_changed_since = partial(changed_releases, AppliedLog(store), config, domain)
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
            self._reads.events.restart(tail.position)  # what was read before may have been another log
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

    async def _open_tail(self, lease: Lease) -> LogTail:
        await self._store.proof.prove()
        async with lease.fold_transaction() as transaction:
            checkpoint = await mark_mixed(transaction, self._fingerprint)
            streaks = StaleStreaks(self._store.log, self._domain, await transaction.streaks())
        tail = LogTail(self._reads, lease, self._folder, checkpoint, streaks, self._work.batch)
        tail.fingerprint = self._fingerprint if checkpoint.fingerprint is None else checkpoint.fingerprint
        tail.own_fingerprint = self._fingerprint
        tail.counters = self._counters
        return tail

    async def _replay(self, tail: LogTail) -> None:
        """Folds pages again if configuration or code have changed, and records that it did."""
        if not self._is_outdated(tail.checkpoint):
            return
        before = fingerprints_in(tail.checkpoint.fingerprint or MIXED)
        releases = await self._releases_changed_since(before) if before else None
        await (self._replay_every_page(tail) if releases is None else self._replay_releases(tail, releases))
        tail.fingerprint = self._fingerprint  # stored with the next checkpoint

    async def _replay_every_page(self, tail: LogTail) -> None:
        log.warning("the configuration or the release has changed: folding every page again", domain=self._domain)
        found = await self._replayer(begin=tail.fold_transaction).run()
        self._counters.add_replay(self._domain, found.changed)
        log.info("every page is folded again", domain=self._domain, compared=found.sections, changed=found.changed)

    async def _replay_releases(self, tail: LogTail, releases: Sequence[str]) -> None:
        log.info("releases count otherwise: folding their pages again", domain=self._domain, releases=releases)
        replayer = ReleaseReplayer(self._store.log, self._domain, self._folder, tail.fold_transaction)
        found = await replayer.run(releases)
        log.info("the pages of releases are folded again", domain=self._domain, skus=found.skus, changed=found.changed)

    def _is_outdated(self, checkpoint: Checkpoint) -> bool:
        return checkpoint.fingerprint not in (None, self._fingerprint)
