"""Concurrent reads of the past on PostgreSQL share queries."""

import asyncio

import anyio
import anyio.lowlevel
import pytest

from pagefold import Config
from pagefold.engine.errors import StoreUnavailable
from pagefold.engine.stores.log_records import StoredEvent
from pagefold.engine.stores.postgres import PostgresStore, merged_heads
from tests.conftest import assert_nothing_is_open
from tests.support.databases import end_sessions, opened
from tests.support.small_shop import insert


@pytest.fixture
def kind() -> str:
    """PostgreSQL alone."""
    return "postgres"


async def versions(store: PostgresStore, place: int) -> list[int]:
    """The versions of two streams as of a position."""
    heads: list[StoredEvent] = await store.log.heads(["A", "B"], as_of=place)
    return sorted(head.originator_version for head in heads)


async def test_concurrent_reads_share_queries(store: PostgresStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first gets its own, the others share one, up to a number of streams."""
    for version in range(1, 21):
        await insert(store, "A", version=version)
    expected = [[version] for version in range(1, 21)]
    queries: list[str] = []
    fetch = store._connections.readers.fetch

    async def counted(statement: str, *bindings: object) -> list[object]:
        queries.append(statement)
        return list(await fetch(statement, *bindings))

    monkeypatch.setattr(store._connections.readers, "fetch", counted)
    assert await asyncio.gather(*(versions(store, place) for place in range(1, 21))) == expected
    assert queries == ["heads_as_of", "heads_as_of_each"]
    queries.clear()
    monkeypatch.setattr(merged_heads, "MAX_STREAMS", 10)
    assert await asyncio.gather(*(versions(store, place) for place in range(1, 21))) == expected
    assert queries == ["heads_as_of", *["heads_as_of_each"] * 4]
    queries.clear()
    assert [await versions(store, place) for place in (1, 2)] == expected[:2]
    assert queries == ["heads_as_of"] * 2


async def test_lost_connections_fail_every_reader_once(store: PostgresStore, config: Config) -> None:
    """Every reader gets an answer or an error, and repeated reads succeed."""
    await insert(store, "A", version=1)
    for _ in range(3):
        end_sessions(config.store.url)
        found = await asyncio.gather(*(versions(store, 9) for _ in range(9)), return_exceptions=True)
        assert all(each == [1] or isinstance(each, StoreUnavailable) for each in found), found
    for _ in range(10):  # each connection of the pool is replaced when it is used
        found = await asyncio.gather(*(versions(store, 9) for _ in range(9)), return_exceptions=True)
    assert found == [[1]] * 9


@pytest.mark.parametrize("turns", range(6))
async def test_cancelled_readers_leave_nothing(config: Config, turns: int) -> None:
    """A store that is closed while a merged query of cancelled readers is under way leaves no connection open."""
    async with opened(config) as store:
        await insert(store, "A", version=1)
        readers = [asyncio.ensure_future(store.log.heads(["A"], as_of=9)) for _ in range(5)]
        for _ in range(turns):
            await anyio.lowlevel.checkpoint()
        for reader in readers:
            reader.cancel()
        await asyncio.gather(*readers, return_exceptions=True)
    assert_nothing_is_open(config)
