"""Really damaged files and indexes: how they are reported and repaired."""

from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import anyio
import apsw
import psycopg
import pytest

import pagefold
from pagefold import Config
from pagefold.engine.stores.sqlite import folder_of
from tests.support.command_line import run_pagefold, settle
from tests.support.small_shop import catalog, pages_of


@pytest.fixture
def place(tmp_path: Path, store_url: str, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a configuration, and a store of 20 folded products."""
    folder = settle(tmp_path, store_url, monkeypatch)

    async def fill() -> None:
        async with pagefold.open(Config.load(folder / "pagefold.toml")) as shop:
            await shop.append([catalog(f"shirt {number}", sku=f"S{number:02}") for number in range(20)])
            await shop.catch_up()

    anyio.run(fill)
    return folder


@pytest.fixture
def files(store_url: str) -> Path:
    """The folder of a SQLite store."""
    return folder_of(store_url)


@contextmanager
def without_index(file: Path, table: str) -> Iterator[apsw.Connection]:
    """Changes a table of a file without its key's index, which then lacks rows or has surplus ones."""
    with closing(apsw.Connection(str(file))) as connection:
        connection.pragma("journal_mode", "DELETE")
        connection.pragma("writable_schema", 1)
        [index] = connection.execute(
            "SELECT type, name, tbl_name, rootpage, sql, rowid FROM sqlite_schema WHERE name = ?",
            (f"sqlite_autoindex_{table}_1",),
        )
        [(sql,)] = connection.execute("SELECT sql FROM sqlite_schema WHERE name = ?", (table,))
        plain = "\n".join(line for line in sql.splitlines() if "PRIMARY KEY (" not in line and "UNIQUE (" not in line)
        plain = plain.replace(",\n)", "\n)")
        connection.execute("DELETE FROM sqlite_schema WHERE rowid = ?", (index[5],))
        connection.execute("UPDATE sqlite_schema SET sql = ? WHERE name = ?", (plain, table))
    with closing(apsw.Connection(str(file))) as connection:
        yield connection
        connection.pragma("writable_schema", 1)
        connection.execute(
            "INSERT INTO sqlite_schema (type, name, tbl_name, rootpage, sql) VALUES (?,?,?,?,?)", index[:5]
        )
        connection.execute("UPDATE sqlite_schema SET sql = ? WHERE name = ?", (sql, table))
    with closing(apsw.Connection(str(file))) as connection:
        connection.pragma("journal_mode", "WAL")


def lose_index_entries(url: str, table: str, files: Path | None) -> None:
    """Adds a row to a table without an entry in its key's index, on either store."""
    if files is not None:
        file = files / ("events.db" if table == "stored_events" else "pages.db")
        with without_index(file, table) as connection:
            connection.execute(COPY[table].format(""))
        return
    with psycopg.connect(url, autocommit=True) as session:
        index = f"pagefold.{table}_pkey"
        ready = "UPDATE pg_index SET indisready = %s WHERE indexrelid = %s::regclass"
        session.execute(ready, (False, index))
        session.execute(COPY[table].format("pagefold.").encode())
        session.execute(ready, (True, index))


COPY = {
    "sections": "INSERT INTO {0}sections SELECT 'LOST', domain, channels, flags, layout, contents "
    "FROM {0}sections WHERE sku = 'S07'",
    "stored_events": "INSERT INTO {0}stored_events (originator_id, originator_version, revision, topic, state) "
    "SELECT 'LOST/*/catalog/pim', 1, 0, topic, state FROM {0}stored_events WHERE originator_id = 'S07/*/catalog/pim'",
}


@pytest.mark.parametrize("table", ["sections", "stored_events"])
@pytest.mark.usefixtures("place")
def test_an_index_that_lacks_rows_is_reported(kind: str, store_url: str, table: str) -> None:
    """Verifying and replaying report it, say what to do, and exit 1."""
    assert run_pagefold("verify").code == 0
    lose_index_entries(store_url, table, folder_of(store_url) if kind == "sqlite" else None)
    ran = run_pagefold("verify")
    assert ran.code == 1, ran
    name = f"sqlite_autoindex_{table}_1" if kind == "sqlite" else f"{table}_pkey"
    assert name in ran.err
    remedy = {"sections": "delete pages.db", "stored_events": "pagefold restore"}[table]
    assert (remedy if kind == "sqlite" else "REINDEX") in ran.err
    document = run_pagefold("verify", "--json").document
    assert name in document["damage"][0]["problem"]
    assert document["unchecked"] == []
    for _ in range(2):
        ran = run_pagefold("rebuild", "--from", "log")
        assert (ran.code, name in ran.err) == (3, True), ran


@pytest.mark.parametrize("kind", ["postgres"], indirect=True)
@pytest.mark.usefixtures("place")
def test_amcheck_is_used_where_it_is(store_url: str) -> None:
    """With the extension, the server itself checks each index."""
    with psycopg.connect(store_url, autocommit=True) as session:
        session.execute("CREATE EXTENSION amcheck")
    assert run_pagefold("verify").code == 0
    lose_index_entries(store_url, "sections", None)
    ran = run_pagefold("verify", "--json")
    [damage] = ran.document["damage"]
    assert (ran.code, "lacks matching index tuple" in damage["problem"]) == (1, True), damage
    with psycopg.connect(store_url, autocommit=True) as session:
        session.execute("REINDEX TABLE pagefold.sections")
    assert run_pagefold("recover").code == 0
    assert run_pagefold("verify").code == 0


def overwrite(file: Path, table: str) -> None:
    """Overwrites the pages of a table, except its first bytes."""
    with closing(apsw.Connection(str(file))) as connection:
        connection.pragma("wal_checkpoint", "TRUNCATE")
        size = int(connection.pragma("page_size"))
        [(root,)] = connection.execute("SELECT rootpage FROM sqlite_schema WHERE name = ?", (table,))
    with file.open("rb+") as opened:
        opened.seek((root - 1) * size)
        opened.write(b"\xa5" * size)


@pytest.mark.parametrize("kind", ["sqlite"], indirect=True)
def test_damaged_pages_are_made_again(place: Path, files: Path) -> None:
    """The error names the file, and how to fold it again; and that works."""
    config = Config.load(place / "pagefold.toml")

    async def all_pages() -> dict[tuple[str, str], bytes | None]:
        async with pagefold.open(config) as shop:
            return await pages_of(shop)

    before = anyio.run(all_pages)
    overwrite(files / "pages.db", "sections")
    for command in (["get", "S07", "web-de"], ["verify"], ["rebuild", "--from", "log"]):
        ran = run_pagefold(*command)
        assert ran.code in {1, 3}, ran
        assert "pages.db is damaged" in ran.err, ran
        assert "delete pages.db" in ran.err, ran
    for file in files.glob("pages.db*"):
        file.unlink()
    assert run_pagefold("recover").code == 0
    assert anyio.run(all_pages) == before
    assert run_pagefold("verify").code == 0


@pytest.mark.parametrize("kind", ["sqlite"], indirect=True)
def test_a_damaged_log_has_to_come_from_a_backup(place: Path, files: Path) -> None:
    """The error says so, and the restored backup has everything."""
    assert run_pagefold("backup", "copy").code == 0
    overwrite(files / "events.db", "stored_events")
    for command in (["work", "--once"], ["rebuild", "--from", "log"], ["history", "S07"]):
        ran = run_pagefold(*command)
        assert ran.code == 3, ran
        assert "events.db is damaged" in ran.err, ran
        assert "pagefold restore" in ran.err, ran
    assert run_pagefold("restore", "copy").code == 0
    assert run_pagefold("verify").code == 0


@pytest.mark.parametrize("kind", ["sqlite"], indirect=True)
@pytest.mark.parametrize(("name", "remedy"), [("pages.db", "delete pages.db"), ("events.db", "pagefold restore")])
@pytest.mark.usefixtures("place")
def test_a_foreign_file_is_named(files: Path, name: str, remedy: str) -> None:
    """The error names the foreign file."""
    for journal in files.glob(f"{name}-*"):
        journal.unlink()
    (files / name).write_bytes(b"this is no database, and never was one" * 1_000)
    ran = run_pagefold("status")
    assert (ran.code, f"{name} is damaged" in ran.err, remedy in ran.err) == (3, True, True), ran
