"""Consumers: one a domain, each with its own checkpoint, lease, pace and failures."""

import time
from collections.abc import Sequence

import anyio
import stamina

from domains import AnyDomain
from engine.config import Config
from engine.errors import RETRYABLE, CheckpointAhead, LeaseLost
from engine.folding import Folded, Folder
from engine.logs import Logger
from engine.stores.store import Checkpoint, Lease, Store, StoredEvent, Touched

SMALLEST_WINDOW = 500
"""Positions of the log in a transaction when caught up; doubled with every full window, up to `work.batch`."""

STANDBY_SECONDS = 0.1

PASSING = (*RETRYABLE, LeaseLost)
"""What a consumer gets over by itself."""

log = Logger(__name__)


class Consumer:
    """Folds one domain, from its checkpoint to the end of the log."""

    def __init__(self, store: Store, domain: AnyDomain, config: Config) -> None:
        self._store = store
        self._domain = domain.name
        self._folder = Folder(domain, config.made_for, store.log)
        self._fingerprint = config.fingerprint(domain)
        self._work = config.work

    async def run(self) -> None:
        """Folds what comes, for ever. Waits on standby while another worker has the lease.

        What may pass is tried again, with backoff and jitter, for ever. Raises `CheckpointAhead`.
        """
        while True:
            async for attempt in stamina.retry_context(
                on=PASSING,
                attempts=None,
                timeout=None,
                wait_initial=0.1,
                wait_max=10.0,
                wait_jitter=0.5,
            ):
                with attempt:
                    await self._hold()

    async def _hold(self) -> None:
        """Takes the lease and folds until something fails. A failure after progress begins the backoff anew."""
        async with self._store.consumption.lease(self._domain) as lease:
            if lease is None:  # it waits until it has one
                return
            tail = await self._tail(lease)
            log.info("folding", domain=self._domain, position=tail.position, holder=lease.holder)
            progressed = False
            try:
                while True:
                    if await tail.step():
                        progressed = True
                    else:
                        await self._store.log.wait(tail.position, self._work.poll_seconds)
                        await tail.settle()
            except PASSING as error:
                if not progressed:
                    raise
                log.warning("interrupted", domain=self._domain, error=str(error))

    async def catch_up(self) -> None:
        """Folds everything that is in the log by now, or waits until the worker that has the lease did."""
        target = await self._store.log.end()
        while not await self._caught_up(target):
            async with self._store.consumption.lease(self._domain, wait=False) as lease:
                if lease is not None:
                    tail = await self._tail(lease)
                    while tail.position < target and await tail.step():
                        pass
                    await tail.settle()
                    continue
            await anyio.sleep(STANDBY_SECONDS)

    async def _caught_up(self, target: int) -> bool:
        checkpoints = {each.domain: each for each in await self._store.consumption.checkpoints()}
        checkpoint = checkpoints.get(self._domain, Checkpoint(self._domain))
        self._check_end(checkpoint, await self._store.log.end())
        return checkpoint.position >= target

    async def _tail(self, lease: Lease) -> "_Tail":
        async with lease.folding() as folding:
            checkpoint = folding.checkpoint
        self._check_end(checkpoint, await self._store.log.end())
        if checkpoint.fingerprint not in (None, self._fingerprint):
            log.warning(
                "the configuration has changed: pages that were folded before are as it was then",
                domain=self._domain,
                folded_with=checkpoint.fingerprint,
                configured=self._fingerprint,
            )
        return _Tail(self._store, lease, self._folder, checkpoint, self._fingerprint, self._work.batch)

    def _check_end(self, checkpoint: Checkpoint, end: int) -> None:
        if checkpoint.position > end:
            raise CheckpointAhead(self._domain, checkpoint.position, end)


class _Tail:
    """Follows the log under a lease.

    `position` is what was seen, which may be ahead of the checkpoint where nothing matched.
    """

    def __init__(
        self, store: Store, lease: Lease, folder: Folder, checkpoint: Checkpoint, fingerprint: str, largest: int
    ) -> None:
        self._store = store
        self._lease = lease
        self._folder = folder
        self._checkpoint = checkpoint
        self._fingerprint = checkpoint.fingerprint or fingerprint
        self._largest = largest
        self._window = min(SMALLEST_WINDOW, largest)
        self.position = checkpoint.position

    async def step(self) -> bool:
        """Folds the next window, in one transaction that a cancellation waits for. False at the end of the log."""
        with anyio.CancelScope(shield=True):
            touched = await self._store.log.touched(self._checkpoint.domain, self.position, self._window)
            if touched.scanned == 0:
                return False
            full = touched.scanned >= self._window
            self._window = min(self._window * 2, self._largest) if full else min(SMALLEST_WINDOW, self._largest)
            if touched.streams:
                await self._fold(touched)
            self.position = touched.end
        return True

    async def settle(self) -> None:
        """Moves the checkpoint to what was seen."""
        if self._checkpoint.position < self.position:
            with anyio.CancelScope(shield=True):
                async with self._lease.folding() as folding:
                    self._checkpoint = self._moved(self.position, self._checkpoint)
                    await folding.advance(self._checkpoint)

    async def _fold(self, touched: Touched) -> None:
        started = time.perf_counter()
        async with self._lease.folding() as folding:
            folded = await self._folder.fold(folding, touched.streams)
            moved = self._moved(touched.end, _counted(self._checkpoint, touched, self.position, folded))
            await folding.advance(moved)
        self._checkpoint = moved
        log.info(
            "folded",
            domain=moved.domain,
            position=moved.position,
            events=touched.events,
            streams=len(touched.streams),
            changed=folded.changed,
            bad=len(folded.bad),
            milliseconds=round((time.perf_counter() - started) * 1000, 1),
        )

    def _moved(self, position: int, checkpoint: Checkpoint) -> Checkpoint:
        return checkpoint._replace(position=position, fingerprint=self._fingerprint)


def _counted(checkpoint: Checkpoint, touched: Touched, after: int, folded: Folded) -> Checkpoint:
    """Every event of the window is counted once: as a head, good or bad, or as overtaken."""
    good = _inside(folded.heads, after, touched.end)
    bad = _inside(folded.bad, after, touched.end)
    return checkpoint._replace(
        applied=checkpoint.applied + good - bad,
        stale=checkpoint.stale + touched.events - good,
        dead=checkpoint.dead + bad,
    )


def _inside(events: Sequence[StoredEvent], after: int, end: int) -> int:
    return sum([after < event.notification_id <= end for event in events])
