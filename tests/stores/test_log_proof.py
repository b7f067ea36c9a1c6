"""A log that is not the one that was folded: nothing is appended to it, and nothing folded, whatever its state."""

import shutil
import subprocess
from collections.abc import Awaitable, Callable
from pathlib import Path

import anyio
import apsw
import psycopg
import pytest

import pagefold
from pagefold import Config, DomainEvent, LogReplaced, PagesUnfolded, Shop
from pagefold.engine.errors import StoreUnusable
from pagefold.engine.stores import open_store
from pagefold.engine.stores.log_proof import MAX_MARKED_BYTES, mark_of
from pagefold.engine.stores.log_records import CorrectionEvent
from pagefold.engine.stores.sqlite import SQLiteStore, folder_of
from pagefold.engine.stores.sqlite.schema import discard_journals
from pagefold.engine.stores.store import Store
from tests.support.postgres import PostgresServer
from tests.support.small_shop import (
    Raw,
    append,
    assert_every_event_is_counted,
    catalog,
    configured,
    insert,
    pages_of,
    price,
    say,
    stock,
)

Change = Callable[[Shop], Awaitable[object]]


def many(number: int) -> list[DomainEvent]:
    """That many events, in as many streams."""
    return [stock(each, sku=f"S{each:03}") for each in range(number)]


def copy_of(file: Path, into: Path) -> Path:
    """The content of a backup of a file."""
    with_source = apsw.Connection(str(file))
    target = apsw.Connection(str(into))
    with target.backup("main", with_source, "main") as backup:
        backup.step(-1)
    target.close()
    with_source.close()
    return into


def replace_file(copy: Path, file: Path) -> None:
    """Replaces a file by a copy, as `rm` and `cp` do."""
    file.unlink(missing_ok=True)
    discard_journals(file)
    shutil.copyfile(copy, file)


async def put_back(shop: Shop, position: int) -> None:
    """Truncates the log to a position, and continues to count from there, as in an older copy."""
    if isinstance(shop.store, SQLiteStore):
        folder = folder_of(shop.config.store.url)
        copy = copy_of(folder / "events.db", folder / "copy.db")
        with_copy = apsw.Connection(str(copy))
        with_copy.execute("DELETE FROM stored_events WHERE notification_id > ?", (position,))
        with_copy.execute("UPDATE sqlite_sequence SET seq = ? WHERE name = 'stored_events'", (position,))
        with_copy.close()
        replace_file(copy, folder / "events.db")
        return
    with psycopg.connect(shop.config.store.url) as connection:
        connection.execute("DELETE FROM pagefold.stored_events WHERE notification_id > %s", (position,))
        connection.execute(
            "SELECT setval(pg_get_serial_sequence('pagefold.stored_events', 'notification_id'), %s)", (position,)
        )


async def append_unchecked(config: Config, number: int) -> None:
    """Appends without checking the log, as a program of another version might."""
    rows = [(f"X{each}/*/media/dam", 1, "media", b"{}") for each in range(number)]
    if config.store.url.startswith("sqlite:"):
        connection = apsw.Connection(str(folder_of(config.store.url) / "events.db"))
        connection.executemany(
            "INSERT INTO stored_events (originator_id, originator_version, topic, state) VALUES (?, ?, ?, ?)", rows
        )
        connection.close()
        return
    with psycopg.connect(config.store.url) as session, session.cursor() as cursor:
        cursor.executemany(
            "INSERT INTO pagefold.stored_events (originator_id, originator_version, topic, state) "
            "VALUES (%s, %s, %s, %s)",
            rows,
        )


async def assert_closed(shop: Shop, reason: str) -> None:
    """Nothing can be appended or folded in a shop, and each error says why."""
    ways: list[Change] = [
        lambda shop: shop.append([price("9.99", sku="NEW")]),
        lambda shop: shop.store.log.correct([CorrectionEvent("S000/*/inventory/wms-a", 1, 7, "inventory", b"{}")]),
        lambda shop: shop.store.records.insert("stored_events", [Raw("an-aggregate")], None),
        lambda shop: shop.catch_up(),
        lambda shop: shop.work(),
        lambda shop: shop.replay(),
    ]
    for way in ways:
        with anyio.fail_after(20), pytest.raises(LogReplaced, match=reason):
            await way(shop)
    assert reason in (await problem_of(shop) or "")


async def problem_of(shop: Shop) -> str | None:
    """The problem that the status reports."""
    return next(each.problem for each in (await shop.status()).checks if each.name == "log-identity")


@pytest.mark.parametrize("lost", [1, 40])
@pytest.mark.parametrize("appended", [0, 1, 100])
async def test_a_log_that_was_put_back_is_refused(shop: Shop, config: Config, lost: int, appended: int) -> None:
    """By one event or many, whatever was appended since: immediately in an open shop, and when one is opened."""
    await say(shop, *many(60))
    before = await pages_of(shop)
    await put_back(shop, 60 - lost)
    await append_unchecked(config, appended)
    await assert_closed(shop, "to position 61")
    async with pagefold.open(config) as another:
        await assert_closed(another, "to position 61")
        assert await pages_of(another) == before, "readers continue"


async def test_the_log_is_still_the_same_after_a_restart(shop: Shop, config: Config) -> None:
    """Closing and opening is no proof against a log, folded or not, nor is an empty log."""
    for number in range(3):
        async with pagefold.open(config) as another:
            assert await another.store.proof.problem() is None
            await another.append([catalog(f"shirt {number}", version=number + 1)])
        assert await problem_of(shop) is None
        await shop.catch_up()


async def test_each_log_has_its_own_identity(store: Store, tmp_path: Path) -> None:
    """It is created with the log, stays, and differs between logs."""
    identity = await store.proof.log_id()
    assert identity == await store.proof.log_id()
    other = await open_store(configured(f"sqlite:///{tmp_path / 'other'}"))
    assert await other.proof.log_id() != identity
    await other.close()


async def test_a_mark_is_of_everything_that_an_event_is(store: Store) -> None:
    """It covers stream, version, revision, topic and state, in both stores alike; of a large state, the beginning."""
    states = [b"1", b"2", b"x" * MAX_MARKED_BYTES + b"a" * 9, b"x" * MAX_MARKED_BYTES + b"b" * 10]
    await store.log.insert([Raw(f"S{number}", state=state) for number, state in enumerate(states)])
    events = [event for number in range(4) async for event in store.log.history(f"S{number}")]
    for event in events:
        position, stream, version, revision, topic, state = event
        assert await store.proof.mark(position) == mark_of(stream, version, revision, topic, len(state), state)
    assert len({await store.proof.mark(event.notification_id) for event in events}) == 4
    assert await store.proof.mark(0) is await store.proof.mark(99) is None


async def test_events_are_tallied(store: Store) -> None:
    """Of a domain, up to a position: the number of events, and of their streams."""
    await insert(store, "A", "B")
    await store.log.correct([CorrectionEvent("A", 1, 1, "inventory", b"{}")])
    assert await store.proof.count_events("inventory", 2) == (2, 2)
    assert await store.proof.count_events("inventory", 9) == (3, 2)
    assert await store.proof.count_events("media", 9) == (0, 0)


async def test_a_recovery_accepts_the_log(shop: Shop) -> None:
    """A restored log is accepted once a recovery has begun, and folded from its beginning."""
    await say(shop, *many(20))
    await put_back(shop, 10)
    await shop.store.proof.begin_recovery()
    assert await shop.store.proof.is_recovering()
    assert (await shop.status()).recovering
    await say(shop, price("9.99", sku="NEW"))
    assert await problem_of(shop) is None
    await shop.store.proof.end_recovery()
    assert not (await shop.status()).recovering


# --- files (SQLite) -------------------------------------------------------------------


@pytest.fixture
def sqlite_config(tmp_path: Path) -> Config:
    """A shop in files."""
    return configured(f"sqlite:///{tmp_path / 'shop'}")


async def other_shop(tmp_path: Path) -> Path:
    """The folder of another shop with some events."""
    config = configured(f"sqlite:///{tmp_path / 'other'}")
    async with pagefold.open(config) as shop:
        await say(shop, *many(30))
    return folder_of(config.store.url)


@pytest.mark.parametrize("file", ["events.db", "pages.db"])
async def test_files_of_another_shop_are_refused(sqlite_config: Config, tmp_path: Path, file: str) -> None:
    """Log and pages belong together: in an open store, and in one that is opened."""
    other = await other_shop(tmp_path)
    folder = folder_of(sqlite_config.store.url)
    async with pagefold.open(sqlite_config) as shop:
        await say(shop, *many(20))
        replace_file(copy_of(other / file, tmp_path / "copy.db"), folder / file)
        await assert_closed(shop, "another log")
        async with pagefold.open(sqlite_config) as another:
            await assert_closed(another, "another log")


async def test_a_deleted_log_is_refused(sqlite_config: Config) -> None:
    """A process with an open store reports it; one that opens the store creates another log, which is refused."""
    folder = folder_of(sqlite_config.store.url)
    async with pagefold.open(sqlite_config) as shop:
        await say(shop, *many(20))
        before = await pages_of(shop)
        for name in ("events.db", "events.db-wal", "events.db-shm"):
            (folder / name).unlink(missing_ok=True)
        with pytest.raises(LogReplaced, match=r"events\.db is gone"):
            await shop.append([price("1.00")])
        async with pagefold.open(sqlite_config, create=False) as another:
            await assert_closed(another, "another log, and this one is empty")
            assert await pages_of(another) == before
        await assert_closed(shop, "another log")


async def test_a_log_without_its_unfolded_last_events_is_refused(sqlite_config: Config) -> None:
    """The newest acknowledged event is recorded outside the log, so its loss is noticed, folded or not."""
    async with pagefold.open(sqlite_config) as shop:
        await say(shop, *many(20))
        await shop.append([price("1.00", sku="LAST")])
        await put_back(shop, 21)
        await assert_closed(shop, "acknowledged up to position 22, but the log ends at 21")
    async with pagefold.open(sqlite_config) as another:
        await assert_closed(another, "acknowledged up to position 22")


async def test_the_newest_acknowledged_event_is_known_after_somebody_else_has_recovered(sqlite_config: Config) -> None:
    """A process that has the store open keeps using the same file, so that its last event cannot be lost unnoticed."""
    folder = folder_of(sqlite_config.store.url)
    async with pagefold.open(sqlite_config) as shop:
        await append(shop, *many(3))
        copy = copy_of(folder / "events.db", folder / "copy.db")
        async with pagefold.open(sqlite_config) as other:
            await other.recover()
        await append(shop, stock(5, sku="LATE"))
    replace_file(copy, folder / "events.db")
    async with pagefold.open(sqlite_config) as shop:
        assert "events were acknowledged up to position 4" in str(await problem_of(shop))


async def test_nothing_is_acknowledged_into_a_file_that_is_gone(sqlite_config: Config) -> None:
    """An event whose transaction ends after the file was replaced is appended again, to the new file."""
    folder = folder_of(sqlite_config.store.url)
    async with pagefold.open(sqlite_config) as shop:
        await say(shop, *many(5))
        copy = copy_of(folder / "events.db", folder / "copy.db")
        events = shop.store._connections.events  # type: ignore[attr-defined]  # of this store

        def replace() -> bool:
            replace_file(copy, folder / "events.db")
            return False

        await events.run(lambda connection: connection.set_commit_hook(replace))
        [result] = await shop.append([price("7.00", sku="LATE")])
        assert result.outcome == "appended", "tried again, in the file that is there"
        assert result.position == 7
        on_disk = apsw.Connection(str(folder / "events.db"))
        assert on_disk.execute("SELECT count(*) FROM stored_events").get == 7
        on_disk.close()


@pytest.mark.parametrize("replaced", [False, True], ids=["deleted", "replaced"])
async def test_nothing_is_acknowledged_into_a_write_ahead_log_that_is_gone(
    sqlite_config: Config, *, replaced: bool
) -> None:
    """A commit there would be lost with the process: it is refused until all have reopened the file."""
    journal = folder_of(sqlite_config.store.url) / "events.db-wal"
    async with pagefold.open(sqlite_config) as shop:
        await say(shop, *many(5))
        journal.unlink()
        if replaced:
            journal.touch()
        with pytest.raises(StoreUnusable, match=r"events\.db-wal was deleted or replaced"):
            await shop.append([price("7.00", sku="LATE")])
        assert await shop.store.log.end() == 6, "nor is it written"
    async with pagefold.open(sqlite_config) as shop:
        await say(shop, price("7.00", sku="LATER"))
        assert (await shop.verify()).changed == 0


async def test_lost_pages_are_folded_again(sqlite_config: Config) -> None:
    """Until all are folded again, reads fail instead of finding no page; then pages are as before."""
    folder = folder_of(sqlite_config.store.url)
    async with pagefold.open(sqlite_config) as shop:
        await say(shop, *many(20))
        before = await pages_of(shop)
        sku, channel = next(iter(before))
        for name in ("pages.db", "pages.db-wal", "pages.db-shm"):
            (folder / name).unlink(missing_ok=True)
        await anyio.sleep(0.15)
        for reads in (
            lambda: shop.pages.get_json(sku, channel),
            lambda: shop.pages.get_many_json([sku], channel),
            lambda: shop.store.pages.list_pages(channel, "", 10),
        ):
            with pytest.raises(PagesUnfolded):
                await reads()
        async with pagefold.open(sqlite_config) as another:
            with pytest.raises(PagesUnfolded):
                await another.pages.get_json(sku, channel)
            await another.catch_up()
            assert await pages_of(another) == before
        assert await pages_of(shop) == before


async def test_a_worker_folds_lost_pages_by_itself(sqlite_config: Config) -> None:
    """An idle worker notices, and so does one whose log was restored together with the pages."""
    folder = folder_of(sqlite_config.store.url)
    async with pagefold.open(sqlite_config) as shop:
        await say(shop, *many(20))
        before = await pages_of(shop)
        async with anyio.create_task_group() as group:
            group.start_soon(shop.work)
            await anyio.sleep(0.3)
            for name in ("pages.db", "pages.db-wal", "pages.db-shm"):
                (folder / name).unlink(missing_ok=True)
            with anyio.fail_after(20):
                while True:
                    await anyio.sleep(0.1)
                    try:
                        if await pages_of(shop) == before:
                            break
                    except PagesUnfolded:
                        continue
            group.cancel_scope.cancel()


# --- schemas (PostgreSQL) -------------------------------------------------------------


def tool(server: PostgresServer, name: str, url: str, *arguments: str) -> None:
    """Runs a program of the server against a database."""
    subprocess.run([server.binaries / name, f"--dbname={url}", *arguments], check=True)


@pytest.mark.parametrize("kind", ["postgres"], indirect=True)
async def test_a_schema_from_an_older_dump_is_refused(
    shop: Shop, config: Config, postgres_server: PostgresServer, tmp_path: Path
) -> None:
    """Log and checkpoints are restored together, and agree: workers refuse the log all the same."""
    url, dump = config.store.url, str(tmp_path / "dump")
    await say(shop, *many(10))
    tool(postgres_server, "pg_dump", url, "--schema=pagefold", "--format=custom", f"--file={dump}")
    await say(shop, *[price("1.00", sku=f"S{number:03}") for number in range(10)])
    refused: list[LogReplaced] = []

    async def work() -> None:
        try:
            await shop.work()
        except LogReplaced as error:
            refused.append(error)

    with anyio.fail_after(60):
        async with anyio.create_task_group() as group:
            group.start_soon(work)
            await anyio.sleep(0.5)
            with psycopg.connect(url, autocommit=True) as session:
                session.execute("DROP SCHEMA pagefold CASCADE")
            tool(postgres_server, "pg_restore", url, dump)
    assert "restored from a dump" in str(refused[0])
    await assert_closed(shop, "restored from a dump")
    async with pagefold.open(config) as another:
        await assert_closed(another, "restored from a dump")
        await another.recover()
        await say(another, price("2.00", sku="S000"))
        assert (await another.verify()).changed == 0


KEEP = """
CREATE SCHEMA kept;
CREATE TABLE kept.sections AS TABLE pagefold.sections;
CREATE TABLE kept.checkpoints AS TABLE pagefold.checkpoints;
"""

PUT_BACK = """
BEGIN;
DELETE FROM pagefold.stored_events WHERE notification_id > 11;
DELETE FROM pagefold.sections; INSERT INTO pagefold.sections TABLE kept.sections;
DELETE FROM pagefold.checkpoints; INSERT INTO pagefold.checkpoints TABLE kept.checkpoints;
SELECT setval(pg_get_serial_sequence('pagefold.stored_events', 'notification_id'), 11);
UPDATE pagefold.checkpoints SET holder = holders.holder FROM holders WHERE holders.domain = checkpoints.domain;
COMMIT;
"""


@pytest.mark.parametrize("kind", ["postgres"], indirect=True)
async def test_a_restored_server_strands_no_worker(shop: Shop, config: Config) -> None:
    """If everything is restored, also the worker's name, it continues from the restored position."""
    await say(shop, *many(10))
    with psycopg.connect(config.store.url, autocommit=True) as session:
        async with anyio.create_task_group() as group:
            group.start_soon(shop.work)
            await anyio.sleep(0.3)
            session.execute(KEEP)
            await append(shop, *[price("1.00", sku=f"S{number:03}") for number in range(10)])
            await anyio.sleep(0.5)
            session.execute("CREATE TEMPORARY TABLE holders AS SELECT domain, holder FROM pagefold.checkpoints")
            session.execute(PUT_BACK)
            await append(shop, stock(77, sku="AFTER"))
            with anyio.fail_after(20):
                while await shop.pages.get("AFTER", "web-de") is None:  # noqa: ASYNC110  # the worker has no event for it
                    await anyio.sleep(0.05)
            group.cancel_scope.cancel()
    await shop.catch_up()
    assert (await shop.verify()).changed == 0
    await assert_every_event_is_counted(shop.store)
