"""How stores are created, recognised and made durable."""

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import anyio
import apsw
import psycopg
import pytest

import pagefold
from pagefold import Config, StoreError, StoreNotFound, StoreTooNew
from pagefold.engine.stores import open_store
from pagefold.engine.stores.dead_letter_records import Resolution
from pagefold.engine.stores.delivery_records import DeliveryCount, Settlement, Wanted
from pagefold.engine.stores.log_records import CorrectionEvent
from pagefold.engine.stores.sql_files import Migration, migrations
from pagefold.engine.stores.sqlite import SQLiteStore, folder_of
from pagefold.engine.stores.sqlite.connections import DELIVERIES
from pagefold.engine.stores.store import Store
from tests.support.small_shop import MOMENT, Raw, a_dead_letter, configured, insert

STORED_EVENTS = ["notification_id", "originator_id", "originator_version", "revision", "topic", "state"]
SECTIONS = ["sku", "domain", "channels", "flags", "layout", "contents"]
OLDEST_SQLITE = (3, 51, 3)
DURABLE = 2
"""The value of `PRAGMA synchronous` for FULL."""


@pytest.fixture
def store_url(new_store_url: str) -> str:
    """Stores are created here."""
    return new_store_url


@contextmanager
def sqlite_file(config: Config, file: str) -> Iterator[apsw.Connection]:
    """One of the files of a SQLite store."""
    connection = apsw.Connection(str(folder_of(config.store.url) / file))
    try:
        yield connection
    finally:
        connection.close()


def is_sqlite(config: Config) -> bool:
    """Whether the store is the embedded one."""
    return config.store.url.startswith("sqlite:")


def run(config: Config, file: str, sql: str) -> Sequence[Sequence[object]]:
    """The rows of a statement, through another connection."""
    if is_sqlite(config):
        with sqlite_file(config, file) as connection:
            return connection.execute(sql).fetchall()
    with psycopg.connect(config.store.url, options="-c search_path=pagefold") as session:
        cursor = session.execute(sql.encode())
        return cursor.fetchall() if cursor.description else []


def columns(config: Config, file: str, table: str) -> list[object]:
    """The columns of a table, in order."""
    if is_sqlite(config):
        return [row[1] for row in run(config, file, f"PRAGMA table_info({table})")]
    rows = run(
        config,
        file,
        "SELECT column_name FROM information_schema.columns "  # noqa: S608  # a table's name, from below
        f"WHERE table_schema = 'pagefold' AND table_name = '{table}' ORDER BY ordinal_position",
    )
    return [row[0] for row in rows]


def contents(config: Config) -> Mapping[str, Sequence[Sequence[object]]]:
    """The complete schema, and its migrations."""
    files = ("events.db", "pages.db")
    if is_sqlite(config):
        listing = "SELECT type, name, sql FROM sqlite_schema ORDER BY name"
        return {
            f"{file} {sql}": run(config, file, sql) for file in files for sql in (listing, "SELECT * FROM migrations")
        }
    listing = "SELECT relname, relkind FROM pg_class WHERE relnamespace = 'pagefold'::regnamespace ORDER BY 1"
    return {sql: run(config, "", sql) for sql in (listing, "SELECT * FROM migrations")}


# --- the schema -----------------------------------------------------------------------------------


async def test_the_tables_are_those_of_the_design(store: Store, config: Config) -> None:
    """`stored_events` and `sections` have the columns of the design, in its order."""
    assert columns(config, "events.db", "stored_events") == STORED_EVENTS
    assert columns(config, "pages.db", "sections") == SECTIONS


async def test_positions_and_versions_are_unique(store: Store, config: Config) -> None:
    """The database refuses a second event at a position, or at a (stream, version, revision)."""
    [position] = await insert(store, "A")
    into = "INSERT INTO stored_events (notification_id, originator_id, originator_version, revision, topic, state)"
    empty = "x''" if is_sqlite(config) else "''"
    for taken in (f"{position}, 'B', 1, 0", f"{position + 50}, 'A', 1, 0"):
        with pytest.raises((apsw.ConstraintError, psycopg.errors.UniqueViolation)):
            run(config, "events.db", f"{into} VALUES ({taken}, 't', {empty})")


async def test_opening_again_changes_nothing(store: Store, config: Config) -> None:
    """Migrations are applied once."""
    before = contents(config)
    for _ in range(2):
        again = await open_store(config, create=False)
        await again.close()
    assert contents(config) == before


INTO_LOG = (
    "INSERT INTO stored_events (originator_id, originator_version, topic, state) VALUES ('A', 1, 'inventory', {})"
)
OLD_EVENT = {True: INTO_LOG.format("x'31'"), False: INTO_LOG.format("'1'")}
OLD_CHECKPOINT = "INSERT INTO checkpoints (domain, position) VALUES ('inventory', 1)"

OLD_DEAD_LETTER = {
    True: "INSERT INTO dead_letters "
    "VALUES (1, 'pricing', 'A/*/pricing/erp', 1, 0, x'', 'wrong', x'', '2026-01-01T12:00:00.000000Z')",
    False: "INSERT INTO dead_letters OVERRIDING SYSTEM VALUE "
    "VALUES ('ingest', 1, 'pricing', 'A/*/pricing/erp', 1, 0, '', 'wrong', '', '2026-01-01T12:00:00.000000Z')",
}
"""A dead letter as the first release stored it, on SQLite and on PostgreSQL."""


async def test_an_older_store_is_brought_up_to_date(config: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    """It keeps its content, and new features work; an older program with it open can still append."""

    def first_release(package: str, folder: str = "migrations") -> list[Migration]:
        return migrations(package, folder)[: 2 if folder == "migrations" else 1]

    with monkeypatch.context() as patch:
        for kind in ("sqlite", "postgres"):
            patch.setattr(f"pagefold.engine.stores.{kind}.schema.migrations", first_release)
        old = await open_store(config)
        run(config, "events.db", OLD_EVENT[is_sqlite(config)])
        run(config, "pages.db", OLD_CHECKPOINT)
        run(config, "events.db", OLD_DEAD_LETTER[is_sqlite(config)])
        before = contents(config)
    new = await open_store(config, create=False)
    try:
        assert contents(config) != before
        assert await new.proof.problem() is None
        [checkpoint] = await new.coordination.checkpoints()
        assert checkpoint.mark == await new.proof.mark(1) is not None
        assert await new.log.correct([CorrectionEvent("A", 1, 1, "inventory", b"2")]) == [2]
        assert await old.records.insert("stored_events", [Raw("B")], None) == [3]  # as every release appends
        assert await insert(new, "C") == [4]
        assert [head.state for head in await old.log.heads(["A"])] == [b"2"]
        assert await new.coordination.streaks() == []
        assert await new.tokens.list_tokens() == []
        dead_letter = await new.dead_letters.get("ingest", 1)
        assert dead_letter is not None
        assert (dead_letter.id, dead_letter.error, dead_letter.headers, dead_letter.resolution) == (
            "ingest-1",
            "wrong",
            b"{}",
            None,
        )
    finally:
        await old.close()
        await new.close()


async def test_deliveries_that_were_given_up_before_are_tried_once_more(
    config: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Refused again, they are dead letters like others; those that a person discarded stay so."""

    def former(package: str, folder: str = "migrations") -> list[Migration]:
        return [each for each in migrations(package, folder) if each.name not in ("letters", "delivery_letters")]

    with monkeypatch.context() as patch:
        for kind in ("sqlite", "postgres"):
            patch.setattr(f"pagefold.engine.stores.{kind}.schema.migrations", former)
        old = await open_store(config)
        await old.deliveries.mark("shop", "", "1", [Wanted(sku, "de", "1", 1) for sku in "ABC"])
        await old.close()
    run(config, DELIVERIES, "UPDATE deliveries SET state = 'dead', due_at = NULL WHERE sku = 'A'")
    run(config, DELIVERIES, "UPDATE deliveries SET state = 'discarded', due_at = NULL WHERE sku = 'B'")
    store = await open_store(config, create=False)
    try:
        states = {row.sku: row.state for row in await store.deliveries.receipts(["A", "B", "C"])}
        assert states == {"A": "waiting", "B": "discarded", "C": "waiting"}
        assert await store.deliveries.counts("shop") == [
            DeliveryCount("shop", "de", "discarded", "missing", 1),
            DeliveryCount("shop", "de", "waiting", "missing", 2),
        ]
        claim, rows = await store.deliveries.claim("shop", "me", 10, 60)
        assert {row.sku for row in rows} == {"A", "C"}
        await store.deliveries.settle(claim, [Settlement("A", "de", "dead", "1", answer="422")])
        [letter] = await store.delivery_letters.newest()
        assert (letter.id, letter.resolution) == ("delivery-1", None)
    finally:
        await store.close()


async def test_many_may_open_a_new_store_together(config: Config) -> None:
    """Eight openers of a missing store create it once, and all of them open it."""
    stores: list[Store] = []

    async def open_one() -> None:
        stores.append(await open_store(config))

    async with anyio.create_task_group() as group:
        for _ in range(8):
            group.start_soon(open_one)
    assert len(stores) == 8
    for number, store in enumerate(stores):
        await insert(store, f"S{number}")
    assert await stores[0].log.end() == 8
    for store in stores:
        await store.close()


async def test_a_missing_store_is_an_error(config: Config) -> None:
    """Without `create`, a missing store is an error that says how to create it."""
    with pytest.raises(StoreNotFound, match="pagefold init"):
        await open_store(config, create=False)
    if is_sqlite(config):
        assert not folder_of(config.store.url).exists()
    else:
        assert run(config, "", "SELECT to_regnamespace('pagefold')") == [(None,)]


@pytest.mark.parametrize("file", ["events.db", "pages.db"])
async def test_a_store_of_a_newer_program_is_left_alone(config: Config, file: str) -> None:
    """With an unknown migration, the program does not touch the store."""
    await (await open_store(config)).close()
    run(config, file, "INSERT INTO migrations (number, name) VALUES (999, 'from the future')")
    with pytest.raises(StoreTooNew, match="999"):
        await open_store(config)
    with pytest.raises(StoreTooNew, match="install a newer Pagefold"):
        async with pagefold.open(config):
            pass


async def test_the_content_survives_closing(config: Config) -> None:
    """A store that is closed and opened again has the same content."""
    for number in range(3):
        store = await open_store(config)
        assert await store.log.end() == number
        await insert(store, f"S{number}")
        await store.close()


# --- durability, SQLite ---------------------------------------------------------------------------


@pytest.fixture
async def sqlite_store(tmp_path: Path) -> SQLiteStore:
    """A new store of the embedded kind; its test closes it."""
    return await SQLiteStore.open(configured(f"sqlite:///{tmp_path}/shop"))


def test_the_bundled_sqlite_is_without_the_bug() -> None:
    """The SQLite in use has the fix for the WAL-reset bug, and is not the system's."""
    assert tuple(map(int, apsw.sqlite_lib_version().split("."))) >= OLDEST_SQLITE
    assert apsw.using_amalgamation


async def test_the_log_waits_for_the_disk(sqlite_store: SQLiteStore) -> None:
    """Every writer of `events.db` uses `synchronous = FULL`, in WAL mode."""
    connections = sqlite_store._connections
    assert await connections.events.run(lambda each: each.pragma("synchronous")) == DURABLE
    for threaded in (connections.events, connections.pages):
        assert await threaded.run(lambda each: each.pragma("journal_mode")) == "wal"
    for reader in (connections.events_on_loop, connections.pages_on_loop):
        assert reader.connection.pragma("query_only") == 1
    await sqlite_store.close()


async def test_a_resolution_waits_for_the_disk(sqlite_store: SQLiteStore) -> None:
    """An operator's resolution in `pages.db` is as durable as the log; nothing else there is."""
    pages, dead_letters = sqlite_store._connections.pages, sqlite_store.dead_letters
    async with sqlite_store.coordination.fold_transaction("inventory") as folding:
        await folding.add_dead_letters([a_dead_letter()._replace(kind="projection")])
    [dead_letter] = await dead_letters.newest()
    seen: list[object] = []

    def watch(connection: apsw.Connection) -> None:
        def committing() -> bool:
            seen.append(connection.pragma("synchronous"))
            return False

        connection.set_commit_hook(committing)

    await pages.run(watch)
    assert await dead_letters.resolve(
        "projection", dead_letter.number, Resolution("discarded", MOMENT, "ada", "a test")
    )
    async with sqlite_store.coordination.fold_transaction("inventory") as folding:
        await folding.add_dead_letters([a_dead_letter(version=2)._replace(kind="projection")])
    assert seen == [DURABLE, DURABLE - 1]
    await sqlite_store.close()


async def test_a_position_is_never_used_again(sqlite_store: SQLiteStore) -> None:
    """Even if the end of the log were deleted, its positions would not be used again (AUTOINCREMENT)."""
    last = (await insert(sqlite_store, "A", "B"))[-1]
    events = sqlite_store._connections.events
    await events.run(lambda connection: connection.execute("DELETE FROM stored_events").fetchall())
    await sqlite_store.proof.begin_recovery()
    assert (await insert(sqlite_store, "A"))[0] > last
    await sqlite_store.close()


async def test_writers_begin_as_writers(sqlite_store: SQLiteStore) -> None:
    """Every writing transaction takes the lock at its beginning: a deferred one could fail at its first write."""
    seen: list[str] = []

    def watch(connection: apsw.Connection) -> None:
        connection.trace_v2(apsw.SQLITE_TRACE_STMT, lambda statement: seen.append(statement["sql"]))

    for threaded in (sqlite_store._connections.events, sqlite_store._connections.pages):
        await threaded.run(watch)
    await sqlite_store.log.insert([Raw("A")])
    await sqlite_store.records.insert("stored_snapshots", [Raw("A")], ("up", 1))
    await sqlite_store.dead_letters.add([])
    async with sqlite_store.coordination.lease("catalog") as lease:
        assert lease is not None
        async with lease.fold_transaction():
            pass
    await sqlite_store.close()
    begun = [sql for sql in seen if sql.upper().startswith("BEGIN")]
    assert len(begun) >= 5
    assert set(begun) == {"BEGIN IMMEDIATE"}


@pytest.mark.parametrize("where", ["a file", "below a file", "no database"])
async def test_a_folder_that_cannot_be_used_is_a_store_error(tmp_path: Path, where: str) -> None:
    """An unusable path is reported as the store's error, not as the driver's or the system's."""
    (tmp_path / "file").write_bytes(b"this is no database" * 500)
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "events.db").write_bytes(b"this is no database" * 500)
    folder = {"a file": "file", "below a file": "file/shop", "no database": "broken"}[where]
    with pytest.raises(StoreError, match=re.escape(str(tmp_path))):
        await SQLiteStore.open(configured(f"sqlite:///{tmp_path / folder}"))


# --- durability, PostgreSQL -----------------------------------------------------------------------


async def test_sessions_wait_for_the_disk(postgres_url: str) -> None:
    """Also if the database's default is asynchronous commit, our sessions wait."""
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        name = connection.info.dbname
        connection.execute(f"ALTER DATABASE {name} SET synchronous_commit = off".encode())
    store = await open_store(configured(postgres_url))
    for pool in (store._connections.writer, store._connections.readers):  # type: ignore[attr-defined]  # the other store
        async with pool.session() as session:
            assert await session.connection.fetchval("SHOW synchronous_commit") == "on"
    worker = await store._connections.fold_session()  # type: ignore[attr-defined]  # the other store
    assert await worker.connection.fetchval("SHOW synchronous_commit") == "on"
    assert await worker.connection.fetchval("SHOW idle_in_transaction_session_timeout") == "1s"
    await worker.close()
    await store.close()


async def test_two_shops_share_a_database(postgres_url: str) -> None:
    """Two schemas of one database are two stores, which do not see each other."""
    config = configured(postgres_url)
    other = configured(postgres_url, store={"url": postgres_url, "schema": "another_shop"})
    first, second = await open_store(config), await open_store(other)
    await insert(first, "A")
    assert await second.log.end() == 0
    async with first.coordination.lease("catalog"), second.coordination.lease("catalog", wait=False) as lease:
        assert lease is not None
    await first.close()
    await second.close()


# --- permissions, SQLite ------------------------------------------------------------


async def test_a_store_is_private(tmp_path: Path) -> None:
    """Its folder has mode 700, and its files 600, whatever the umask."""
    before = os.umask(0)
    try:
        store = await SQLiteStore.open(configured(f"sqlite:///{tmp_path}/shop"))
        await insert(store, "A")
        async with store.coordination.lease("catalog"), store.coordination.claim("a-task"):
            files = {file.name: file.stat().st_mode & 0o777 for file in (tmp_path / "shop").iterdir()}
        await store.close()
    finally:
        os.umask(before)
    assert (tmp_path / "shop").stat().st_mode & 0o777 == 0o700
    assert set(files) >= {"events.db", "events.db-wal", "pages.db", "log.tip", "catalog.lock", "schema.lock"}
    assert set(files.values()) == {0o600}


async def test_a_folder_readable_by_others_is_logged(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Wider permissions stay, and are logged, with the recommended ones."""
    (tmp_path / "shop").mkdir(mode=0o755)
    store = await SQLiteStore.open(configured(f"sqlite:///{tmp_path}/shop"))
    await store.close()
    [record] = [each for each in caplog.records if "other users may read" in each.message]
    assert record.levelname == "WARNING"
    assert (tmp_path / "shop").stat().st_mode & 0o777 == 0o755
