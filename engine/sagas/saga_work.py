"""Works on all sagas of a configuration, beside the consumers, until it is cancelled."""

import secrets
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

import anyio

from pagefold.engine.configuration.config_tables import ConfigTables
from pagefold.engine.configuration.saga_config import SagaConfig
from pagefold.engine.delivery.delivery_work import endure, mark_pages
from pagefold.engine.delivery.marker import Marker
from pagefold.engine.errors import StoreError
from pagefold.engine.feed.feed_reader import FeedReader
from pagefold.engine.reading.page_reader import PageReader
from pagefold.engine.reading.past_pages import PastPages
from pagefold.engine.runtime.extras import needs_extra
from pagefold.engine.runtime.logs import log_context
from pagefold.engine.runtime.recent_faults import RecentFaults
from pagefold.engine.runtime.task_groups import run_together
from pagefold.engine.runtime.wake_signal import WakeSignal
from pagefold.engine.stores.delivery_records import group_target
from pagefold.engine.stores.store import Store

if TYPE_CHECKING:
    from pagefold.engine.sagas.saga_repository import SagaRepository
    from pagefold.engine.sagas.saga_runner import SagaRunner

IDLE_SECONDS = 1.0
"""How often it is looked whether a page is due, while none is. What this process marks is seen at once."""

CLOSE_SECONDS = 5.0


class SagaPages(NamedTuple):
    """Where pages come from: those that have changed, as they are, and as they were."""

    feed: FeedReader
    pages: PageReader
    past: PastPages


class SagaWork:
    """The markers and runners of the sagas of one process. Errors are logged, and retried: a cancellation ends `run`.

    `wake` is called with each target that something was placed for.
    """

    def __init__(
        self,
        store: Store,
        config: ConfigTables,
        pages: SagaPages,
        faults: RecentFaults,
        wake: Callable[[str], None],
    ) -> None:
        self._store, self._sagas, self._targets = store, config.sagas, config.targets
        self._pages, self._faults, self._wake = pages, faults, wake
        self._holder = f"sagas-{secrets.token_hex(6)}"

    async def run(self) -> None:
        """Works. Raises `ExtraMissing` without `pagefold[eventsourcing]`, if there are sagas."""
        if not self._sagas:
            return
        with needs_extra("sagas", "eventsourcing"):
            from pagefold.engine.sagas.saga_repository import open_sagas  # noqa: PLC0415  # who has no sagas need not have its packages

        async with open_sagas(self._store) as records:
            await run_together(*(partial(self._endure, name, saga, records) for name, saga in self._sagas.items()))

    async def _endure(self, name: str, saga: SagaConfig, records: "SagaRepository") -> None:
        """One saga, whatever happens to it: the others go on."""
        with log_context(saga=name):
            await endure(f"saga {name}", self._faults, partial(self._work, name, saga, records))

    async def _work(self, name: str, saga: SagaConfig, records: "SagaRepository") -> None:
        from pagefold.engine.sagas.group_documents import GroupDocuments  # noqa: PLC0415  # as above
        from pagefold.engine.sagas.saga_runner import SagaRunner, Workplace  # noqa: PLC0415  # as above

        group, marked = group_target(name), WakeSignal()
        documents = GroupDocuments(name, saga, self._targets)
        place = Workplace(self._store, self._pages.past, self._holder, self._wake)
        runner = SagaRunner(documents, records, place)
        marker = Marker(
            group, documents.marking, self._store, self._pages.feed, self._pages.pages, members=saga.targets
        )
        await run_together(partial(mark_pages, self._store, group, marker, marked.set), partial(_run, runner, marked))


async def _run(runner: "SagaRunner", marked: WakeSignal) -> None:
    try:
        while True:
            seen = marked.count
            seconds = await runner.step()
            if seconds == 0:
                await anyio.lowlevel.checkpoint()
            else:
                await marked.wait(IDLE_SECONDS if seconds is None else min(seconds, IDLE_SECONDS), seen)
    finally:
        with anyio.move_on_after(CLOSE_SECONDS, shield=True), suppress(StoreError):
            await runner.close()
