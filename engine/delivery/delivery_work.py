"""Delivers to all targets of a configuration, beside the consumers, until it is cancelled."""

import secrets
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import partial

import anyio

from pagefold.engine.configuration.target_config import TargetConfig
from pagefold.engine.delivery.deliverer import Deliverer, Place
from pagefold.engine.delivery.kind_table import open_kind
from pagefold.engine.delivery.marker import Marker
from pagefold.engine.delivery.outside import OUTSIDE, Outside
from pagefold.engine.errors import PagefoldError, StoreError
from pagefold.engine.feed.feed_reader import NAMES, FeedReader
from pagefold.engine.reading.page_reader import PageReader
from pagefold.engine.runtime.logs import Logger, log_context
from pagefold.engine.runtime.recent_faults import RecentFaults
from pagefold.engine.runtime.task_groups import run_together
from pagefold.engine.stores.store import Store

STANDBY_SECONDS = 1.0
"""How often a process looks whether another one still marks for a target."""

MARK_SECONDS = 0.25
"""How long a marker rests when nothing has changed: a change is delivered so much later at most."""

RETRY_SECONDS = 5.0
FAULT_SECONDS = 60.0

log = Logger(__name__)


class DeliveryWork:
    """The markers and deliverers of one process. Errors are logged, and retried: only a cancellation ends `run`."""

    def __init__(
        self,
        store: Store,
        targets: Mapping[str, TargetConfig],
        feed: FeedReader,
        pages: PageReader,
        faults: RecentFaults,
        outside: Outside = OUTSIDE,
    ) -> None:
        self._store, self._feed, self._pages, self._faults = store, feed, pages, faults
        self._configs = targets
        self._outside = outside
        self._holder = f"delivery-{secrets.token_hex(6)}"

    async def run(self) -> None:
        """Marks and delivers."""
        if self._configs:
            await run_together(*(partial(self._endure, name, target) for name, target in self._configs.items()))

    async def _endure(self, name: str, target: TargetConfig) -> None:
        """One target, whatever happens to it: the others go on, and so does the folding."""
        work = f"deliver to {name}"
        with log_context(target=name):
            while True:
                try:
                    await self._deliver_to(name, target)
                except StoreError as error:
                    self._faults.failed(work, error, FAULT_SECONDS)
                    log.warning("deliveries are interrupted", error=str(error))
                except Exception as error:
                    self._faults.failed(work, error, FAULT_SECONDS)
                    await self._note_problem(name, error)
                    trace = None if isinstance(error, PagefoldError) else error
                    log.error("deliveries have failed", error=str(error), exc_info=trace)  # noqa: TRY400  # one of ours says what is wrong
                await anyio.sleep(RETRY_SECONDS)

    async def _note_problem(self, name: str, error: Exception) -> None:
        """So that other processes know it, too: a command, a server."""
        reason = str(error) if isinstance(error, PagefoldError) else f"{type(error).__name__}: the log says more"
        with suppress(StoreError):
            await self._store.delivery_targets.note_problem(name, reason)

    async def _deliver_to(self, name: str, target: TargetConfig) -> None:
        async with open_kind(name, target, self._outside) as kind:
            place = Place(self._store, self._pages, self._position, self._holder)
            deliverer = Deliverer(name, target, kind, place)
            marker = Marker(name, target, self._store, self._feed, self._pages)
            await run_together(deliverer.run, partial(self._mark, name, marker, deliverer.due.set))

    async def _position(self) -> int:
        return (await self._store.feed.state(NAMES)).position

    async def _mark(self, name: str, marker: Marker, marked: Callable[[], None]) -> None:
        """Marks while no other process does."""
        while True:
            async with self._store.coordination.claim(f"mark.{name}") as is_ours:
                while is_ours:
                    if await marker.step():
                        marked()
                        await anyio.lowlevel.checkpoint()
                    else:
                        await anyio.sleep(MARK_SECONDS)
            await anyio.sleep(STANDBY_SECONDS)
