"""The SQLite store's page cache: never stale, bounded, and only while it pays."""

from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple, TypeAlias

import apsw
import pytest

import pagefold
from pagefold.engine.stores.sqlite import SQLiteStore
from pagefold.engine.stores.sqlite.connections import EVENTS, PAGES, Row, connect
from pagefold.engine.stores.sqlite.loop_connections import LoopConnections
from pagefold.engine.stores.sqlite.opened_file import OpenedFile
from pagefold.engine.stores.sqlite.pages import RecentReads
from pagefold.engine.stores.sqlite.reader_connections import connect_reader
from pagefold.engine.stores.sqlite.schema import prepare
from pagefold.projections.splicer import StoredSection
from tests.support.small_shop import catalog, configured

Recent: TypeAlias = RecentReads[Sequence[StoredSection]]

MEBIBYTE = 1024 * 1024

KEY = ("A", "web")

WRITE = """INSERT OR REPLACE INTO sections
VALUES (?, 'catalog', '{"web":0}', '3', json_array(json_array(0, 0, octet_length(?2), '', '')), ?2)"""


@pytest.fixture
def writer(tmp_path: Path) -> Iterator[apsw.Connection]:
    """A connection that writes."""
    prepare(tmp_path, create=True)
    connection = connect(tmp_path / PAGES, synchronous="OFF")
    yield connection
    connection.close()


@pytest.fixture
def recent(tmp_path: Path, writer: apsw.Connection) -> Iterator[Recent]:
    """Reads over another connection."""
    assert writer.in_transaction is False
    connect = partial(connect_reader, busy_milliseconds=1_000)
    opened = OpenedFile(tmp_path / PAGES, connect, lost=lambda: None, verify=lambda _: None)
    connection = LoopConnections(opened)
    yield RecentReads(connection, lambda _sku, _channel, rows: rows, "sqlite")
    connection.close()


def body(recent: Recent, sku: str) -> bytes | None:
    """What a page's section has."""
    rows = recent.read((sku, "web"))
    return bytes(rows[0][4]) if rows else None


def test_a_change_is_seen_immediately(recent: Recent, writer: apsw.Connection) -> None:
    """A read after a commit has its changes, and one before it does not; a missing page is cached, too."""
    assert body(recent, "A") is None
    for number in range(50):
        content = b"%d" % number
        writer.execute("BEGIN IMMEDIATE")
        writer.execute(WRITE, ("A", content))
        before = body(recent, "A")
        assert before == (b"%d" % (number - 1) if number else None)
        writer.execute("COMMIT")
        assert body(recent, "A") == body(recent, "A") == content


class Fetched(NamedTuple):
    """The rows of a cursor."""

    rows: list[Row]

    def fetchall(self) -> list[Row]:
        """All of them."""
        return self.rows


@pytest.mark.parametrize("between", ["the version and the rows", "the rows and what is done next"])
def test_a_commit_in_the_middle_of_a_read_is_seen(recent: Recent, writer: apsw.Connection, between: str) -> None:
    """A change that is committed during a read is in this read or in the next: old rows are never cached as new."""
    execute, left = recent._execute, ["2", "3", "4"]
    writer.execute(WRITE, ("A", b"1"))

    def interrupted(statement: str, *bindings: object) -> Fetched:
        is_rows = "FROM sections" in statement
        if is_rows and left and between == "the version and the rows":
            writer.execute(WRITE, ("A", left.pop(0).encode()))
        rows = execute(statement, *bindings).fetchall()
        if is_rows and left and between == "the rows and what is done next":
            writer.execute(WRITE, ("A", left.pop(0).encode()))
        return Fetched(rows)

    recent._execute = interrupted  # type: ignore[assignment]  # it has what is used of a cursor
    seen = [body(recent, "A") for _ in range(6)]
    assert seen == sorted(seen, key=bytes)  # type: ignore[arg-type]  # none of them is None
    assert seen[-2:] == [b"4", b"4"]
    assert left == []


def test_an_unchanged_page_is_not_read_again(recent: Recent, writer: apsw.Connection) -> None:
    """The rows are the same objects until something changes."""
    writer.execute(WRITE, ("A", b"1"))
    first = recent.read(("A", "web"))
    assert recent.read(("A", "web")) is first
    writer.execute(WRITE, ("B", b"1"))
    assert recent.read(("A", "web")) is not first


def test_a_large_page_is_not_cached(recent: Recent, writer: apsw.Connection) -> None:
    """A page larger than the bound is read each time."""
    writer.execute(WRITE, ("A", b"x" * (RecentReads.MAX_ENTRY_BYTES + 1)))
    assert recent.read(("A", "web")) is not recent.read(("A", "web"))


def test_a_cache_that_does_not_pay_pauses(
    recent: Recent, writer: apsw.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If no page is read twice nothing is cached, and after a while the cache is tried again."""
    monkeypatch.setattr(RecentReads, "TRIAL", 100)
    monkeypatch.setattr(RecentReads, "REST", 1_000)
    writer.execute(WRITE, ("A", b"1"))
    for number in range(RecentReads.TRIAL):
        recent.read((f"S{number}", "web"))
    assert recent.read(("A", "web")) is not recent.read(("A", "web"))
    for _ in range(RecentReads.REST):
        recent.read(("A", "web"))
    assert recent.read(("A", "web")) is recent.read(("A", "web"))


def test_the_cache_is_bounded(recent: Recent, writer: apsw.Connection, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many pages are read, the cache has a maximum of bytes; the oldest entry goes first."""
    monkeypatch.setattr(RecentReads, "MAX_BYTES", 50_000)
    writer.execute(WRITE, ("S0", b"x" * 9_000))
    for number in range(2_000):
        recent.read((f"S{number // 2}", "web"))
        assert recent._bytes == sum(size for size, _ in recent._made.values()) <= RecentReads.MAX_BYTES
    assert list(recent._made) == [(f"S{number}", "web") for number in range(950, 1_000)]


def test_a_batch_is_remembered(recent: Recent, writer: apsw.Connection) -> None:
    """What was read in a batch is returned until something changes, and counts as a hit."""
    writer.execute(WRITE, ("A", b"1"))
    found, version = recent.recent([KEY])
    assert found == {}
    rows = recent.add(version, KEY, [("catalog", True, True, b"", b"1", "")])
    assert recent.recent([KEY, ("B", "web")])[0] == {KEY: rows}
    assert recent.read(KEY) is rows
    writer.execute(WRITE, ("A", b"2"))
    assert recent.recent([KEY])[0] == {}
    assert body(recent, "A") == b"2"


def test_a_change_during_a_batch_is_seen(recent: Recent, writer: apsw.Connection) -> None:
    """What a batch read before a commit, but delivers after another read has seen it, is not remembered."""
    writer.execute(WRITE, ("A", b"1"))
    _, version = recent.recent([KEY])
    writer.execute(WRITE, ("A", b"2"))
    assert body(recent, "B") is None
    recent.add(version, KEY, [("catalog", True, True, b"", b"1", "")])
    assert body(recent, "A") == b"2"


def test_without_a_version_nothing_is_remembered(recent: Recent, writer: apsw.Connection) -> None:
    """A batch whose check failed is not cached."""
    writer.execute(WRITE, ("A", b"1"))
    recent.add(None, KEY, [("catalog", True, True, b"", b"0", "")])
    assert not recent._made
    assert body(recent, "A") == b"1"


# --- SQLite's own page cache ----------------------------------------------------------------------


async def test_folding_a_large_log_holds_little_of_it(tmp_path: Path) -> None:
    """The connections that fold hold a few megabytes each, however large log and pages are."""
    config = configured(f"sqlite:///{tmp_path / 'shop'}")
    async with pagefold.open(config) as shop:
        text = "x" * 2_000
        for start in range(0, 20_000, 5_000):
            await shop.append([catalog(text, sku=f"S{number:05}") for number in range(start, start + 5_000)])
        await shop.catch_up()
        assert isinstance(shop.store, SQLiteStore)
        connections = shop.store._connections
        for threaded, file in ((connections.events_reader, EVENTS), (connections.pages, PAGES)):
            assert (tmp_path / "shop" / file).stat().st_size > 40 * MEBIBYTE
            used, _ = await threaded.run(lambda connection: connection.status(apsw.SQLITE_DBSTATUS_CACHE_USED))
            assert used < 10 * MEBIBYTE, file
