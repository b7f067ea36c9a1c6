"""The PostgreSQL server of the other tests works as promised."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import asyncpg
import psycopg
import pytest

from tests.support.postgres import PostgresError, PostgresServer

START_AND_WAIT = """
import time
from tests.support.postgres import PostgresServer
server = PostgresServer()
server.start()
print(server.folder, (server.folder / "data/postmaster.pid").read_text().split()[0], flush=True)
time.sleep(60)
"""


@pytest.fixture
def own_server() -> Iterator[PostgresServer]:
    """A server with fsync that the test may stop and start."""
    with PostgresServer(fsync=True) as server:
        yield server


def setting(url: str, name: str) -> str:
    """The value of a server setting."""
    with psycopg.connect(url) as connection:
        row = connection.execute("SELECT current_setting(%s)", [name]).fetchone()
    assert row is not None
    return str(row[0])


def is_alive(process_id: int) -> bool:
    """Whether a process has that id."""
    try:
        os.kill(process_id, 0)
    except ProcessLookupError:
        return False
    return True


async def test_asyncpg_connects_by_the_url(postgres_url: str) -> None:
    """The URL of a database works with asyncpg unchanged."""
    connection = await asyncpg.connect(postgres_url)
    try:
        assert await connection.fetchval("SELECT current_database()") in postgres_url
    finally:
        await connection.close()


def test_every_database_is_new(postgres_server: PostgresServer) -> None:
    """A database has nothing of an earlier one."""
    first, second = postgres_server.create_database(), postgres_server.create_database()
    with psycopg.connect(first) as connection:
        connection.execute("CREATE TABLE kept (value int)")
    with psycopg.connect(second) as connection:
        assert connection.execute("SELECT to_regclass('kept')").fetchone() == (None,)
    assert first != second


def test_a_database_is_copied_from_a_template(postgres_server: PostgresServer) -> None:
    """A prepared database can be copied any number of times."""
    template = postgres_server.create_database()
    with psycopg.connect(template) as connection:
        connection.execute("CREATE TABLE prepared AS SELECT 7 AS value")
    name = template.split("?", maxsplit=1)[0].rpartition("/")[2]
    with psycopg.connect(postgres_server.create_database(name)) as connection:
        assert connection.execute("SELECT value FROM prepared").fetchone() == (7,)


def test_a_dropped_database_is_gone(postgres_server: PostgresServer) -> None:
    """Dropping a database ends the sessions in it; dropping it again does nothing."""
    url = postgres_server.create_database()
    with psycopg.connect(url) as connection:
        postgres_server.drop_database(url)
        with pytest.raises(psycopg.OperationalError):
            connection.execute("SELECT 1")
    with pytest.raises(psycopg.OperationalError):
        psycopg.connect(url)
    postgres_server.drop_database(url)


def test_settings_without_fsync(postgres_server: PostgresServer) -> None:
    """The server of the tests skips fsync, and waits for commits like any other."""
    url = postgres_server.url()
    names = ("fsync", "full_page_writes", "synchronous_commit", "listen_addresses")
    assert [setting(url, name) for name in names] == ["off", "off", "on", ""]


def test_settings_with_fsync(own_server: PostgresServer) -> None:
    """A server for crash tests and benchmarks is as durable as PostgreSQL's defaults."""
    url = own_server.url()
    names = ("fsync", "full_page_writes", "synchronous_commit")
    assert [setting(url, name) for name in names] == ["on", "on", "on"]


def test_the_socket_has_a_short_path(postgres_server: PostgresServer) -> None:
    """The path of the socket fits the kernel's limit."""
    assert (postgres_server.folder / ".s.PGSQL.5432").is_socket()
    assert len(str(postgres_server.folder / ".s.PGSQL.5432").encode()) < 100


def test_a_crash_keeps_what_was_committed(own_server: PostgresServer) -> None:
    """An immediate stop aborts open transactions and loses nothing committed."""
    url = own_server.create_database()
    with psycopg.connect(url) as committed:
        committed.execute("CREATE TABLE kept AS SELECT 1 AS value")
    with psycopg.connect(url) as interrupted:
        interrupted.execute("INSERT INTO kept VALUES (2)")
        own_server.stop("immediate")
        assert not own_server.running
        with pytest.raises(psycopg.OperationalError):
            interrupted.execute("SELECT 1")
    own_server.start()
    with psycopg.connect(url) as connection:
        assert connection.execute("SELECT array_agg(value) FROM kept").fetchone() == ([1],)
    assert "automatic recovery in progress" in (own_server.folder / "log").read_text()


def test_a_restart_is_clean(own_server: PostgresServer) -> None:
    """A restart in mode "fast" needs no recovery, and databases made later have new names."""
    first = own_server.create_database()
    own_server.restart()
    assert own_server.running
    assert own_server.create_database() != first
    assert "automatic recovery" not in (own_server.folder / "log").read_text()


def test_starting_twice_is_refused(own_server: PostgresServer) -> None:
    """A second start of a running server is an error."""
    with pytest.raises(PostgresError, match="runs already"):
        own_server.start()


def test_a_failed_start_shows_the_log() -> None:
    """A server that cannot start reports PostgreSQL's error, and leaves nothing behind."""
    server = PostgresServer(settings={"shared_buffers": "nonsense"})
    with pytest.raises(PostgresError, match='invalid value for parameter "shared_buffers"'):
        server.start()
    folder = server.folder
    server.close()
    assert not folder.exists()


def test_missing_binaries_are_named(tmp_path: Path) -> None:
    """A folder without PostgreSQL is named in the error."""
    with pytest.raises(PostgresError, match="no PostgreSQL in"):
        PostgresServer(binaries=tmp_path).start()


def test_closing_removes_the_folder() -> None:
    """After `close` nothing is left, and closing again does nothing."""
    with PostgresServer() as server:
        folder = server.folder
        assert (folder / "data").is_dir()
    assert not folder.exists()
    server.close()


def test_nothing_outlives_a_killed_process() -> None:
    """When the process that started a server is killed, the server and its folder are removed too."""
    command = [sys.executable, "-c", START_AND_WAIT]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as owner:
        assert owner.stdout is not None
        name, process_id = owner.stdout.readline().split()
        folder, server = Path(name), int(process_id)
        assert folder.is_dir()
        assert is_alive(server)
        owner.send_signal(signal.SIGKILL)
    deadline = time.monotonic() + 20
    while (folder.exists() or is_alive(server)) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not folder.exists()
    assert not is_alive(server)
