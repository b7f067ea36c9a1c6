"""Stores what sagas do in the shop's own log, by an application of the `eventsourcing` library.

The events of a page are a stream named by saga, channel and SKU. An aggregate snapshot is taken at every twentieth.
"""

from collections.abc import AsyncIterator, Collection, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Any, Final

from eventsourcing.persistence import IntegrityError, PersistenceError, StoredEvent

from pagefold.engine.recorders.log_application import BlockingCalls, LogApplication, open_application
from pagefold.engine.recorders.log_recorders import MAX_LIMIT
from pagefold.engine.sagas.page_saga import PageName, PageSaga
from pagefold.engine.stores.recorder_records import Records, RecordTable
from pagefold.engine.stores.store import Store

SNAPSHOT_EVERY = 20
"""Events between aggregate snapshots of a page: about the maximum that is read to know its state."""


READ: Final[tuple[tuple[RecordTable, int], ...]] = (("stored_snapshots", 1), ("stored_events", MAX_LIMIT))
"""What is read of a page: the newest aggregate snapshot, and the events after it."""


class SagaApplication(LogApplication):
    """The application."""

    name = "sagas"

    def record(self, sagas: Sequence[PageSaga]) -> set[PageName]:
        """Records new events, together where that is possible; returns the pages of which others were recorded."""
        stored = {
            saga.name: [self.mapper.to_stored_event(event) for event in saga.pending_events]
            for saga in sagas
            if saga.pending_events
        }
        lost: set[PageName] = set()
        try:
            if stored:
                self.recorder.insert_events([event for events in stored.values() for event in events])
        except IntegrityError:
            lost = {page for page, events in stored.items() if not self.insert_once(events)}
        for saga in sagas:
            events = saga.collect_events()
            if saga.name not in lost and any(each.originator_version % SNAPSHOT_EVERY == 0 for each in events):
                self._save_snapshot(saga)
        return lost

    def _save_snapshot(self, saga: PageSaga) -> None:
        """It only saves work, so failing to store it is not an error."""
        if self.snapshots is not None:
            with suppress(PersistenceError):
                self.snapshots.put([PageSaga.Snapshot.take(saga)])


class SagaRepository:
    """Stores and reads sagas, asynchronously. Opened by `open_sagas`. Every method may raise `StoreUnavailable`."""

    def __init__(self, application: SagaApplication, records: Records) -> None:
        self._application = application
        self._records = records
        self._call = BlockingCalls().call

    async def find(self, pages: Sequence[PageName]) -> Sequence[PageSaga | None]:
        """The sagas of some pages in their current states; None for one that was never met."""
        return [await self._found(page) for page in pages]

    async def _found(self, page: PageName) -> PageSaga | None:
        """As the library's repository reads it, but in this thread: hundreds of pages are read at a time."""
        saga: PageSaga | None = None
        for table, limit in READ:
            after = -1 if saga is None else saga.version
            rows = await self._records.select(
                table, page.stream, after=after, upto=MAX_LIMIT, descending=limit == 1, limit=limit
            )
            for row in rows:
                stored = StoredEvent(row.originator_id, row.originator_version, row.topic, row.state)
                event: Any = self._application.mapper.to_domain_event(stored)
                saga = event.mutate(saga)
        return saga

    async def save(self, sagas: Collection[PageSaga]) -> set[PageName]:
        """Records their events since they were read or saved, durably; returns the pages that were taken over.

        Another process recorded other events of those, and these copies are useless.
        """
        changed = [saga for saga in sagas if saga.pending_events]
        return await self._call(self._application.record, changed) if changed else set()


@asynccontextmanager
async def open_sagas(store: Store) -> AsyncIterator[SagaRepository]:
    """Opens the sagas of an open store for the length of an `async with`. The store stays open afterwards."""
    async with open_application(SagaApplication, store) as application:
        yield SagaRepository(application, store.records)
