"""Delivers to all targets of a configuration, beside the consumers, until it is cancelled."""

import secrets
from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import partial

import anyio

from pagefold.engine.configuration.config_tables import ConfigTables
from pagefold.engine.configuration.saga_config import groups_of
from pagefold.engine.configuration.target_config import TargetConfig
from pagefold.engine.delivery.deliverer import Deliverer, Place
from pagefold.engine.delivery.kind_table import open_kind
from pagefold.engine.delivery.marker import GROUPED, Marker, marking_of
from pagefold.engine.delivery.outside import OUTSIDE, Outside
from pagefold.engine.delivery.target_group import TargetGroup
from pagefold.engine.errors import PagefoldError, StoreError
from pagefold.engine.feed.feed_reader import NAMES, FeedReader
from pagefold.engine.reading.page_reader import PageReader
from pagefold.engine.runtime.logs import Logger, log_context
from pagefold.engine.runtime.recent_faults import RecentFaults
from pagefold.engine.runtime.task_groups import run_together
from pagefold.engine.stores.delivery_records import group_target
from pagefold.engine.stores.store import Store

STANDBY_SECONDS = 1.0
"""How often a process looks whether another one still marks for a target."""

MARK_SECONDS = 0.25
"""How long a marker rests when nothing has changed: a change is delivered so much later at most."""

RETRY_SECONDS = 5.0
FAULT_SECONDS = 60.0

log = Logger(__name__)


class DeliveryWork:
    """The markers and deliverers of one process. Errors are logged, and retried: only a cancellation ends `run`.

    A target that is in a saga has no marker, since the saga places what it gets.
    """

    def __init__(
        self,
        store: Store,
        config: ConfigTables,
        feed: FeedReader,
        pages: PageReader,
        faults: RecentFaults,
        outside: Outside = OUTSIDE,
    ) -> None:
        self._store, self._feed, self._pages, self._faults = store, feed, pages, faults
        self._configs = config.targets
        self._groups = groups_of(config.sagas)
        self._due: dict[str, Callable[[], None]] = {}
        self._outside = outside
        self._holder = f"delivery-{secrets.token_hex(6)}"

    async def run(self) -> None:
        """Marks and delivers."""
        if self._configs:
            await run_together(*(partial(self._endure, name, target) for name, target in self._configs.items()))

    def wake(self, target: str) -> None:
        """Something may be due for a target."""
        if (due := self._due.get(target)) is not None:
            due()

    async def _endure(self, name: str, target: TargetConfig) -> None:
        """One target, whatever happens to it: the others go on, and so does the folding."""
        with log_context(target=name):
            await endure(
                f"deliver to {name}",
                self._faults,
                partial(self._deliver_to, name, target),
                partial(self._note_problem, name),
            )

    async def _note_problem(self, name: str, error: Exception) -> None:
        """So that other processes know it, too: a command, a server."""
        reason = str(error) if isinstance(error, PagefoldError) else f"{type(error).__name__}: the log says more"
        with suppress(StoreError):
            await self._store.delivery_targets.note_problem(name, reason)

    async def _deliver_to(self, name: str, target: TargetConfig) -> None:
        saga = self._groups.get(name)
        async with open_kind(name, target, self._outside) as kind:
            place = Place(self._store, self._pages, self._position, self._holder)
            group = None if saga is None else TargetGroup(group_target(saga), self._store.deliveries)
            deliverer = Deliverer(name, target, kind, place, group)
            self._due[name] = deliverer.due.set
            if group is None:
                marker = Marker(name, marking_of(target), self._store, self._feed, self._pages)
                await run_together(deliverer.run, partial(mark_pages, self._store, name, marker, deliverer.due.set))
            else:
                await self._store.deliveries.mark(name, await self._store.deliveries.cursor(name), GROUPED, [])
                await deliverer.run()

    async def _position(self) -> int:
        return (await self._store.feed.state(NAMES)).position


async def _ignore(_: Exception) -> None:
    """Does nothing about an error."""


async def endure(
    work: str,
    faults: RecentFaults,
    do: Callable[[], Awaitable[None]],
    failed: Callable[[Exception], Awaitable[None]] = _ignore,
) -> None:
    """Does some work until it is cancelled. Errors are logged, and it is tried again.

    `failed` is called with one that is not the store's.
    """
    while True:
        try:
            await do()
        except StoreError as error:
            faults.failed(work, error, FAULT_SECONDS)
            log.warning("deliveries are interrupted", error=str(error))
        except Exception as error:
            faults.failed(work, error, FAULT_SECONDS)
            await failed(error)
            trace = None if isinstance(error, PagefoldError) else error
            log.error("deliveries have failed", error=str(error), exc_info=trace)  # noqa: TRY400  # one of ours says what is wrong
        await anyio.sleep(RETRY_SECONDS)


async def mark_pages(store: Store, name: str, marker: Marker, marked: Callable[[], None]) -> None:
    """Marks while no other process does, until it is cancelled. `marked` is called when something may be due."""
    while True:
        async with store.coordination.claim(f"mark.{name}") as is_ours:
            while is_ours:
                if await marker.step():
                    marked()
                    await anyio.sleep(marker.rest_seconds)
                else:
                    await anyio.sleep(MARK_SECONDS)
        await anyio.sleep(STANDBY_SECONDS)
