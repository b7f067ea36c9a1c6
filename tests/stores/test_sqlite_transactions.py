"""A SQLite connection is left free after use: no transaction stays open, and no thread at work."""

import asyncio
import threading
import time
from collections.abc import AsyncIterator
from pathlib import Path

import anyio
import anyio.to_thread
import apsw
import pytest

from pagefold.engine.stores.sqlite import SQLiteStore
from pagefold.engine.stores.sqlite.connections import begin, commit
from tests.support.small_shop import configured

TABLES = """
PRAGMA foreign_keys = ON;
CREATE TABLE parent (name TEXT PRIMARY KEY);
CREATE TABLE child (parent TEXT REFERENCES parent DEFERRABLE INITIALLY DEFERRED);
"""


@pytest.fixture
async def sqlite_store(tmp_path: Path) -> AsyncIterator[SQLiteStore]:
    """An open store."""
    store = await SQLiteStore.open(configured(f"sqlite:///{tmp_path / 'shop'}"))
    yield store
    await store.close()


def test_a_commit_that_fails_leaves_no_transaction_open() -> None:
    """The next user of the connection begins a transaction that has nothing of the failed one."""
    connection = apsw.Connection(":memory:")
    for _ in connection.execute(TABLES):
        pass
    begin(connection)
    connection.execute("INSERT INTO child VALUES ('nobody')")  # SQLite detects the violation on commit
    with pytest.raises(apsw.ConstraintError):
        commit(connection)
    assert not connection.in_transaction
    begin(connection)
    commit(connection)
    assert connection.execute("SELECT count(*) FROM child").get == 0


async def test_a_cancelled_task_leaves_no_thread_at_work(sqlite_store: SQLiteStore) -> None:
    """However a task is cancelled, the next use of the connection waits for its thread to end."""
    events = sqlite_store._connections.events_browser
    happened: list[str] = []
    begun = threading.Event()

    def slow(connection: apsw.Connection) -> None:
        happened.append("begun")
        begun.set()
        time.sleep(0.2)
        happened.append(f"read {connection.execute('SELECT 1').get}")

    def next_one(connection: apsw.Connection) -> None:
        happened.append(f"next {connection.execute('SELECT 2').get}")

    task = asyncio.create_task(events.run(slow))
    await anyio.to_thread.run_sync(begun.wait)
    waiting = asyncio.create_task(events.run(slow))
    await anyio.sleep(0.01)
    for each in (waiting, task, task):
        each.cancel()
        await anyio.sleep(0.01)
    await events.run(next_one)
    assert happened == ["begun", "read 1", "next 2"]
    for each in (task, waiting):
        with pytest.raises(asyncio.CancelledError):
            await each
