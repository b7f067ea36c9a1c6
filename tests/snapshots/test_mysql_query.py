"""Snapshots and changes by queries against MariaDB: one transaction, values of every type; skipped without a server."""

import resource
import shutil
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime
from typing import Any

import anyio
import pymysql
import pytest

import pagefold
from pagefold import Config
from pagefold.engine.configuration.addresses import MySQLAddress, database_url_error
from pagefold.engine.configuration.toml_tables import redacted
from pagefold.engine.errors import SourceFailed
from pagefold.engine.events import DomainEvent
from pagefold.engine.snapshots import open_snapshot, query_reading
from pagefold.engine.snapshots.snapshot import End
from pagefold.engine.sync.delta_sync import DeltaSync
from tests.support.mariadb import MISSING, PASSWORD, MariaDBServer, mariadb_program
from tests.support.small_shop import document, section
from tests.support.snapshot_fixtures import Read, configured, payload_of, read

needs_server = pytest.mark.skipif(mariadb_program() is None or shutil.which("openssl") is None, reason=MISSING)
EURO = "1 AS `payload.amount`, 'EUR' AS `payload.currency`"
REST = f"1 AS `sourceVersion`, '2026-01-01T00:00:00Z' AS `occurredAt`, {EURO}"
CONTRACT = {
    "sku": "sku",
    "versions": "none",
    "catalog": {"attributes": {"value": "value"}},
}


@pytest.fixture(scope="module")
def server() -> Iterator[MariaDBServer]:
    """A server."""
    with MariaDBServer() as started:
        yield started


@pytest.fixture
def database(server: MariaDBServer) -> str:
    """A database."""
    return server.database()


async def selected(url: str, select: str, **settings: object) -> Read:
    """The rows of a query."""
    return await read(configured(["pricing"], query=select, database=url, **settings))


def select(columns: str, table: str) -> str:
    """A query."""
    return f"SELECT {columns} FROM {table}"  # noqa: S608  # of a test


async def value(server: MariaDBServer, database: str, kind: str, literal: str) -> object:
    """What a contract makes of a value of a column, or why it refuses it."""
    server.execute(database, f"CREATE TABLE v (value {kind})", f"INSERT INTO v VALUES ({literal})")  # noqa: S608
    query = select("'A' AS sku, value", "v")
    config = configured(["catalog"], query=query, database=server.url(database), contract=CONTRACT)
    [row] = (await read(config)).rows
    if not isinstance(row.event, DomainEvent):
        return str(row.event)
    found: Any = payload_of(row.event)
    return found.get("attributes", {}).get("value")


@needs_server
async def test_every_row_comes_once(server: MariaDBServer, database: str) -> None:
    """In batches, numbered, in the order of the query; the end of the rows is the end of the snapshot."""
    sku = "concat('SKU-', lpad(seq, 5, '0')) AS sku"
    found = await selected(server.url(database), select(f"{sku}, {REST}", "seq_1_to_12000"))
    assert [len(batch.rows) for batch in found.batches] == [10_000, 2_000]
    assert [row.number for row in found.rows] == list(range(1, 12_001))
    assert found.end == End(complete=True)
    assert payload_of(found.events[-1]) == {"currency": "EUR", "amount": 1}


VALUES = [
    ("decimal(40,10)", "12345.0123456789", 12345.0123456789),
    ("decimal(5,0) unsigned zerofill", "7", 7),
    ("bigint unsigned", "9007199254740991", 9007199254740991),
    ("bigint", "-9007199254740991", -9007199254740991),
    ("tinyint(1)", "true", 1),
    ("double", "0.1", 0.1),
    ("float", "0.1", 0.1),
    ("bit(1)", "1", 1),
    ("bit(10)", "b'1000000001'", 513),
    ("date", "'2026-02-28'", "2026-02-28"),
    ("date", "'0000-00-00'", None),
    ("datetime", "'0000-00-00 00:00:00'", None),
    ("timestamp(3) NULL", "'2026-02-28 23:59:59.123'", "2026-02-28T23:59:59.123000Z"),
    ("time", "'-25:00:01'", "-25:00:01"),
    ("year", "2026", 2026),
    ("varchar(20)", "'Größe 😀'", "Größe 😀"),
    ("varchar(20) CHARACTER SET latin1", "'Größe'", "Größe"),
    ("char(5)", "'a'", "a"),
    ("enum('x','y')", "'y'", "y"),
    ("set('x','y')", "'x,y'", "x,y"),
    ("text", "NULL", None),
]


@needs_server
@pytest.mark.parametrize(("kind", "literal", "expected"), VALUES, ids=[f"{kind} {text}" for kind, text, _ in VALUES])
async def test_values_keep_their_type(
    server: MariaDBServer, database: str, kind: str, literal: str, expected: object
) -> None:
    """Decimals have every digit, moments the zone that the contract gives, or UTC; a date of zeros is none."""
    found = await value(server, database, kind, literal)
    assert found == expected


@needs_server
async def test_a_moment_without_a_zone_needs_one(server: MariaDBServer, database: str) -> None:
    """A DATETIME is not taken for UTC."""
    found = await value(server, database, "datetime(6)", "'2026-02-28 23:59:59.123456'")
    assert "2026-02-28T23:59:59.123456 has no offset from UTC; give its `zone`" in str(found)


@needs_server
async def test_numbers_keep_every_digit(server: MariaDBServer, database: str) -> None:
    """Where a value cannot have them, it is refused, and not rounded."""
    found = await value(server, database, "bigint unsigned", "18446744073709551615")
    assert "18446744073709551615" in str(found)
    long = "12345678901234567890.0123456789"
    price = select(f"'A' AS sku, {REST.replace('1 AS `payload', f'{long} AS `payload')}", "seq_1_to_1")
    [event] = (await selected(server.url(database), price)).events
    assert payload_of(event) == {"currency": "EUR", "amount": long}


@needs_server
async def test_a_moment_of_a_column_with_a_zone_is_that_moment(server: MariaDBServer, database: str) -> None:
    """Whatever zone the server and its sessions have."""
    server.execute(
        database,
        "CREATE TABLE t (sku varchar(9), at timestamp)",
        "SET time_zone = '+05:00'",
        "INSERT INTO t VALUES ('A', '2026-01-01 05:00:00')",
    )
    query = select(f"sku, at AS `occurredAt`, 1 AS `sourceVersion`, {EURO}", "t")
    [event] = (await selected(server.url(database), query)).events
    assert event.occurred_at == datetime(2026, 1, 1, tzinfo=UTC)


@needs_server
async def test_rows_are_of_one_moment(server: MariaDBServer, database: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is committed while rows are read is not among them."""
    monkeypatch.setattr(query_reading, "FETCH_ROWS", 100)
    monkeypatch.setattr(query_reading, "BATCH_ROWS", 100)
    server.execute(database, "CREATE TABLE t (n int) ENGINE InnoDB", "INSERT INTO t SELECT seq FROM seq_1_to_500")
    query = select(f"concat('S', n) AS sku, {REST}", "t WHERE (SELECT count(*) FROM t) = 500")
    config = configured(["pricing"], query=query, database=server.url(database))
    async with open_snapshot(config, "erp") as snapshot:
        rows = 0
        async for batch in snapshot.batches():
            rows += len(batch.rows)
            server.execute(database, "DELETE FROM t WHERE n > 400")
    assert rows == 500


@needs_server
@pytest.mark.parametrize(
    ("query", "problem"),
    [
        ("SELECT 1; DROP TABLE t", "the query is not one SELECT, according to the database: "),
        ("DELETE FROM t", "the query is not one SELECT, according to the database: "),
        ("SELECT nothing FROM t", "Unknown column 'nothing'"),
        ("DO 1", "the query is not one SELECT: it has no columns"),
        ("SELECT 'A' AS sku", "sourceVersion"),
    ],
)
async def test_queries_that_cannot_be_read(server: MariaDBServer, database: str, query: str, problem: str) -> None:
    """Each says why, and changes nothing."""
    server.execute(database, "CREATE TABLE t (n int)", "INSERT INTO t VALUES (1)")
    with pytest.raises(SourceFailed, match=problem):
        await selected(server.url(database), query)
    assert server.execute(database, "SELECT * FROM t") == [(1,)]


@needs_server
async def test_a_query_that_ends_early_frees_the_server(
    server: MariaDBServer, database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody reads the rest of its rows."""
    monkeypatch.setattr(query_reading, "BATCH_ROWS", 1_000)
    query = select(f"concat('S', seq) AS sku, {REST}", "seq_1_to_100000000")
    config = configured(["pricing"], query=query, database=server.url(database))
    async with open_snapshot(config, "erp") as snapshot:
        async for _batch in snapshot.batches():
            break
    with closing(pymysql.connect(unix_socket=str(server.socket), user="shop", password=PASSWORD)) as connection:
        cursor = connection.cursor()
        for _ in range(200):
            cursor.execute("SELECT count(*) FROM information_schema.processlist WHERE info LIKE 'EXECUTE %'")
            if cursor.fetchone() == (0,):
                break
            await anyio.sleep(0.05)
        else:
            pytest.fail("the query still runs")


@needs_server
async def test_memory_does_not_grow_with_the_rows(server: MariaDBServer, database: str) -> None:
    """A hundred thousand rows are not held."""
    query = select(f"concat('S', seq) AS sku, {REST}, repeat('x', 200) AS id", "seq_1_to_100000")
    config = configured(["pricing"], query=query, database=server.url(database))
    before, rows = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, 0
    async with open_snapshot(config, "erp") as snapshot:
        async for batch in snapshot.batches():
            rows += len(batch.rows)
    assert rows == 100_000
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100 * 1024


@needs_server
async def test_connections_that_are_refused(server: MariaDBServer, database: str) -> None:
    """A wrong password, and a server that is not there; neither shows a password."""
    wrong = server.url(database, password="s3cret")  # noqa: S106  # it is wrong
    with pytest.raises(SourceFailed, match="Access denied") as caught:
        await selected(wrong, "SELECT 1")
    assert "s3cret" not in str(caught.value)
    with pytest.raises(SourceFailed, match="Can't connect") as caught:
        await selected("mysql://shop:s3cret@127.0.0.1:1/shop", "SELECT 1")
    assert "s3cret" not in str(caught.value)


@needs_server
async def test_connections_by_tls(server: MariaDBServer, database: str) -> None:
    """The server proves who it is by a certificate that is known, or need not; without it, nothing is asked."""
    query = select(f"'A' AS sku, {REST}", "seq_1_to_1")
    for options in ({"ssl": "required"}, {"ssl": "verify", "ssl_ca": str(server.certificate)}):
        url = server.url(database, **options)
        assert len((await selected(url, query)).events) == 1
    with pytest.raises(SourceFailed, match="certificate"):
        await selected(server.url(database, ssl="verify"), query)


@needs_server
async def test_changes_by_a_query(server: MariaDBServer, database: str, tmp_path: Any) -> None:  # noqa: ANN401
    """A delta asks since the newest change, as of the database's own times."""
    server.execute(
        database,
        "CREATE TABLE prices (sku varchar(20), changed datetime, price decimal(10,2))",
        "INSERT INTO prices VALUES ('A', '2026-07-01 10:00:00', 1), ('B', '2026-07-02 10:00:00', 2)",
    )
    tables = document(f"sqlite:///{tmp_path}/shop")
    tables["sources"]["erp"] |= {
        "delta": {
            "query": "SELECT * FROM prices WHERE changed >= '{since}'",
            "database": server.url(database),
            "since_format": "datetime",
            "start": "2026-07-01T00:00:00Z",
        },
        "contract": {
            "sku": "sku",
            "versions": "moment",
            "sourceVersion": "changed",
            "zone": "UTC",
            "pricing": {"amount": "price", "currency": {"constant": "EUR"}},
        },
    }
    async with pagefold.open(Config.parse(tables)) as shop:
        assert (await DeltaSync(shop).run("erp")).appended == 2
        server.execute(database, "UPDATE prices SET price = 3, changed = '2026-07-02 10:01:00' WHERE sku = 'A'")
        report = await DeltaSync(shop).run("erp")
        assert (report.since, report.appended, report.duplicate) == ("2026-07-02T09:55:00.000000Z", 1, 1)
        await shop.catch_up()
        assert (await section(shop, "pricing", sku="A"))["amount"] == "3.00"


def test_the_parts_of_a_url() -> None:
    """Percent signs are decoded; what is left out has the server's defaults."""
    found = MySQLAddress.parse("mysql://a%40b:p%2Fw@db.example:3307/shop?ssl_ca=/ca.pem")
    assert found.connection["user"] == "a@b"
    assert found.connection["password"] == "p/w"  # noqa: S105  # likewise
    assert [found.connection[name] for name in ("host", "port", "db")] == ["db.example", 3307, "shop"]
    assert (found.tls, found.ca_file) == ("verified", "/ca.pem")
    plain = MySQLAddress.parse("mariadb://localhost")
    assert (plain.connection["port"], plain.connection["db"], plain.tls) == (3306, None, "off")


@pytest.mark.parametrize(
    ("url", "problem"),
    [
        ("mysql://x/shop?ssl=maybe", "may have socket, ssl"),
        ("mysql://x/shop?charset=latin1", "and nothing else"),
        ("mysql://x:0/shop", "has a port 0 that is not a number"),
        ("oracle://x/shop", "is not a URL such as postgresql://… or mysql://…"),
        ("mysql://[x/shop", "is not an IPv6 address"),
    ],
)
def test_urls_that_are_none(url: str, problem: str) -> None:
    """Each says what is wrong."""
    assert problem in str(database_url_error(url))


def test_a_password_is_not_shown() -> None:
    """Nor are options that may be secrets."""
    assert redacted("mysql://shop:secret@db/shop?ssl_ca=/ca.pem") == "mysql://shop:***@db/shop?ssl_ca=***"
