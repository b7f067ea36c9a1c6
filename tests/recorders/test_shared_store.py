"""Recorders on a store that is already open, inside the asynchronous program that opened it."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial

import anyio
import pytest
from anyio.from_thread import BlockingPortal
from anyio.to_thread import run_sync
from eventsourcing.persistence import InterfaceError, StoredEvent

from pagefold.engine.recorders import PagefoldApplicationRecorder, PagefoldFactory
from pagefold.engine.recorders.datastore import Datastore
from pagefold.engine.stores.store import Store

SECONDS_TO_HEAR = 5.0


@asynccontextmanager
async def recording(store: Store) -> AsyncIterator[PagefoldApplicationRecorder]:
    """A recorder on the store. Its methods are for other threads."""
    async with BlockingPortal() as portal:
        datastore = await run_sync(partial(Datastore, store, portal, poll_seconds=0.05, uuids=False))
        recorder = PagefoldFactory({}, datastore).application_recorder()
        assert isinstance(recorder, PagefoldApplicationRecorder)
        try:
            yield recorder
        finally:
            await run_sync(datastore.close)


def stored(version: int) -> StoredEvent:
    """An arbitrary event whose identifier could be a UUID."""
    return StoredEvent("0" * 32, version, "topic", b"{}")


async def test_recorders_share_the_open_store(store: Store) -> None:
    """What a thread records is in the program's store, which stays open when the recorders are closed."""
    async with recording(store) as recorder:
        assert await run_sync(recorder.insert_events, [stored(1), stored(2)]) == [1, 2]
        assert await store.log.end() == 2
        assert await run_sync(recorder.select_events, stored(1).originator_id) == [stored(1), stored(2)]
    assert recorder.datastore.closed
    with pytest.raises(InterfaceError, match="has been closed"):
        await run_sync(recorder.max_notification_id)
    assert await store.log.end() == 2


async def test_a_call_of_a_thread_is_finished(store: Store) -> None:
    """A call completes even if the program around it is cancelled meanwhile."""
    with anyio.CancelScope() as scope:
        async with recording(store) as recorder:
            with anyio.CancelScope(shield=True):
                scope.cancel()
                await anyio.sleep(0.01)
                await run_sync(recorder.insert_events, [stored(1)])
            await anyio.sleep_forever()
    assert scope.cancelled_caught
    assert await store.log.end() == 1


async def test_a_subscription_ends_with_its_datastore(store: Store) -> None:
    """A subscription in a thread receives what is recorded, and ends when the datastore is closed."""
    received = anyio.Event()

    def listen(recorder: PagefoldApplicationRecorder, portal: BlockingPortal) -> None:
        with recorder.subscribe() as subscription:
            for _ in subscription:
                portal.call(received.set)

    async with BlockingPortal() as portal, anyio.create_task_group() as group, recording(store) as recorder:
        group.start_soon(run_sync, listen, recorder, portal)
        await run_sync(recorder.insert_events, [stored(1)])
        with anyio.fail_after(SECONDS_TO_HEAR):
            await received.wait()


async def test_the_loop_s_own_thread_is_refused(store: Store) -> None:
    """A datastore cannot be made in the event loop's own thread, where its calls would block the loop."""
    async with BlockingPortal() as portal:
        with pytest.raises(RuntimeError, match="event loop thread"):
            Datastore(store, portal)
