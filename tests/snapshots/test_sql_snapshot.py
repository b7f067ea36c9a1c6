"""Snapshots by a query: one transaction of the source's database, and values of every type, converted."""

import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psycopg
import pytest

from pagefold.engine.errors import ConfigurationError, Rejected, SourceFailed
from pagefold.engine.events import DomainEvent
from pagefold.engine.intake.event_validator import EventValidator
from pagefold.engine.snapshots import open_snapshot, query_reading
from pagefold.engine.snapshots.snapshot import End
from tests.support.databases import query
from tests.support.snapshot_fixtures import Read, configured, covered_in, payload_of, read, written

COMPLETE = End(complete=True)
ALL = """
SELECT sku, version AS "sourceVersion", changed AS "occurredAt", 'EUR' AS "payload.currency", price AS "payload.amount"
FROM prices ORDER BY sku
"""
REST = '1 AS "sourceVersion", now() AS "occurredAt"'


@pytest.fixture
def prices(postgres_url: str) -> str:
    """A database with 12,000 prices."""
    query(
        postgres_url,
        "CREATE TABLE prices AS SELECT 'SKU-' || lpad(n::text, 5, '0') AS sku, 1 AS version, "
        "timestamptz '2026-01-01T00:00:00Z' AS changed, n + 0.50 AS price FROM generate_series(1, 12000) AS n",
    )
    return postgres_url


async def selected(url: str, select: str, *, domain: str = "pricing", **settings: object) -> Read:
    """The rows of a query."""
    return await read(configured([domain], query=select, database=url, **settings))


async def value(url: str, expression: str, path: str, domain: str = "catalog") -> object:
    """An expression's value in the payload, or why it is rejected."""
    select = f"""SELECT 'A' AS sku, {REST}, {expression} AS "payload.{path}" """
    [row] = (await selected(url, select, domain=domain)).rows
    if isinstance(row.event, Rejected):
        return str(row.event)
    assert isinstance(row.event, DomainEvent)
    found: object = payload_of(row.event)
    for name in path.split("."):
        found = found.get(name) if isinstance(found, dict) else None
    return found


async def test_every_row_comes_once(prices: str) -> None:
    """In batches, numbered; the end of the cursor is the end of the snapshot. It cannot be resumed."""
    found = await selected(prices, ALL)
    assert [len(batch.rows) for batch in found.batches] == [10_000, 2_000]
    assert [row.number for row in found.rows] == list(range(1, 12_001))
    first = found.events[0]
    assert (first.sku, first.source_version, first.type, first.channel) == ("SKU-00001", 1, "pricing", "*")
    assert payload_of(first) == {"currency": "EUR", "amount": "1.50"}
    assert (found.end, found.batches[0].cursor, found.batches[-1].done) == (COMPLETE, None, 12_000)
    with pytest.raises(SourceFailed, match="starts over"):
        await read(configured(query=ALL, database=prices), {"row": 7})
    nothing = "SELECT * FROM (SELECT 1 AS sku, 2 AS price) AS a WHERE false"
    assert (await selected(prices, nothing, contract=PRICES)).rows == []


PRICES = {"sku": "sku", "versions": "none", "pricing": {"amount": "price"}}
"""A contract for prices without versions."""


async def test_one_transaction_is_read(prices: str) -> None:
    """Changes that are committed after the first batch are not in this pass, but in the next."""
    async with open_snapshot(configured(query=ALL, database=prices), "erp") as snapshot:
        batches = snapshot.batches()
        rows = (await anext(batches)).rows
        query(prices, "INSERT INTO prices VALUES ('SKU-99999', 1, now(), 1)")
        query(prices, "DELETE FROM prices WHERE sku = 'SKU-12000'")
        query(prices, "UPDATE prices SET version = 2")
        rows += [row async for batch in batches for row in batch.rows]
        assert len(rows) == 12_000
        assert {row.event.source_version for row in rows if isinstance(row.event, DomainEvent)} == {1}
        again = [row.event async for batch in snapshot.batches() for row in batch.rows]
        assert isinstance(again[-1], DomainEvent)
        assert (len(again), again[-1].sku, again[-1].source_version) == (12_000, "SKU-99999", 2)


async def test_the_identity_of_a_query(prices: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The query and its database, without the password, which may come from the environment."""
    monkeypatch.setenv("ERP_DATABASE", "postgresql://me:secret@db/erp")
    config = configured(query=ALL, database_variable="ERP_DATABASE")
    async with open_snapshot(config, "erp") as snapshot:
        assert (snapshot.name, snapshot.unit, snapshot.written_at) == ("postgresql://me:***@db/erp", "rows", None)
        assert "secret" not in snapshot.identity
        async with open_snapshot(configured(query="SELECT 1", database_variable="ERP_DATABASE"), "erp") as other:
            assert snapshot.identity != other.identity
    for url in ("", "oracle://me:secret@db/erp"):
        monkeypatch.setenv("ERP_DATABASE", url)
        with pytest.raises(ConfigurationError) as caught:
            await read(config)
        assert caught.value.key == "sources.erp.snapshot.database_variable"
        assert "secret" not in str(caught.value)
    monkeypatch.setenv("ERP_DATABASE", prices)
    assert (await read(config)).end == COMPLETE


@pytest.mark.parametrize(
    ("expression", "path", "expected"),
    [
        ("1.50::numeric(10, 2)", "attributes.a", "1.50"),
        ("1e-7::numeric", "attributes.a", "0.0000001"),
        ("'NaN'::numeric", "attributes.a", "payload.attributes.a: NaN is not a JSON number"),
        ("'Infinity'::float8", "attributes.a", "payload.attributes.a: inf is not a JSON number"),
        ("0.5::float8", "attributes.a", 0.5),
        ("7::bigint", "attributes.a", 7),
        ("true", "attributes.a", True),
        ("''", "attributes.a", ""),
        ("NULL::text", "attributes.a", None),
        ("timestamptz '2026-01-01T00:00:00+02'", "attributes.a", "2025-12-31T22:00:00Z"),
        ("date '2026-01-01'", "attributes.a", "2026-01-01"),
        ("'6a2f41a3-c54c-fce8-32d2-0324e1c32e22'::uuid", "attributes.a", "6a2f41a3-c54c-fce8-32d2-0324e1c32e22"),
        ("ARRAY['a', NULL, 'b']", "attributes.a", ["a", None, "b"]),
        ("ARRAY['a', 'b']", "categories", ["a", "b"]),
        ("""'["a", "b"]'""", "categories", ["a", "b"]),
        ("'{\"a\": 1}'::bytea", "attributes.a", "payload.attributes.a: a value of type bytes has no JSON form"),
        ("interval '1 day'", "attributes.a", "payload.attributes.a: a value of type timedelta has no JSON form"),
        ("""'{"de": "Hemd"}'::jsonb""", "localized.name", {"de": "Hemd"}),
        ("'true'", "enabled", True),
    ],
)
async def test_values_of_every_type(expression: str, path: str, expected: object, postgres_url: str) -> None:
    """Decimals become plain text, timestamps RFC 3339, JSON stays JSON, NULL is left out; bytes have no form."""
    found = await value(postgres_url, expression, path)
    if isinstance(found, str) and isinstance(expected, str):
        assert found.startswith(expected)
    else:
        assert (found, type(found)) == (expected, type(expected))


async def test_a_timestamp_needs_its_offset(postgres_url: str) -> None:
    """A timestamp without time zone is rejected."""
    select = """SELECT 'A' AS sku, 1 AS "sourceVersion", localtimestamp AS "occurredAt", '{}'::json AS payload"""
    assert "occurredAt: needs its offset from UTC" in (await selected(postgres_url, select)).refused[1]
    assert "payload.attributes.a: needs its offset" in str(await value(postgres_url, "localtimestamp", "attributes.a"))


@pytest.mark.parametrize(
    ("expression", "path", "expected"),
    [("12.000", "available", 12), ("7::int2", "available", 7), ("true", "backorderable", True)],
)
async def test_whole_numbers_of_numeric_columns(
    expression: str, path: str, expected: object, postgres_url: str
) -> None:
    """A decimal without a fraction is an integer if the domain requires one."""
    assert await value(postgres_url, expression, path, "inventory") == expected


async def test_integers_in_json_are_exact(postgres_url: str) -> None:
    """JSON columns are passed on as text, so that the validator sees every digit."""
    digits = "9" * 30
    for kind in ("json", "jsonb"):
        given = f"""'{{"a":{digits}}}'::{kind} AS "payload.attributes" """
        found = await selected(postgres_url, f"SELECT 17 AS sku, {REST}, {given}", domain="catalog")
        [event] = found.events
        assert event.sku == "17"
        assert isinstance(event.payload, bytes)
        assert digits.encode() in event.payload
        with pytest.raises(Rejected, match=r"payload.attributes.a: is beyond"):
            EventValidator(configured(["catalog"], query="SELECT 1", database=postgres_url)).validate(event)


async def test_a_payload_that_is_null_withdraws(postgres_url: str) -> None:
    """NULL, and JSON's null, in the column of the complete payload; NULL in a field's column only leaves it out."""
    select = """
        SELECT 'A' AS sku, 1.0 AS "sourceVersion", now() AS "occurredAt", payload FROM (VALUES
            (NULL::jsonb), ('null'::jsonb), ('{"currency": "EUR", "amount": "1.00"}'::jsonb)) AS rows (payload)"""
    null, json_null, price = (await selected(postgres_url, select)).events
    assert (null.payload, json_null.payload) == (None, None)
    assert payload_of(price) == {"currency": "EUR", "amount": "1.00"}


@pytest.mark.parametrize(
    ("select", "problem"),
    [
        ("SELECT 1; SELECT 2", "the query is not one SELECT"),
        ("DELETE FROM prices", "the query is not one SELECT: it has no columns"),
        (
            f"WITH prices AS (DELETE FROM prices RETURNING *) {ALL}",  # noqa: S608  # all rows are in this batch
            "the query is not one SELECT, according to the database: cannot execute SELECT in a read-only",
        ),
        ("TRUNCATE prices", "the query is not one SELECT: it has no columns"),
        ("SELEKT 1", "the query is not one SELECT"),
        ("SET search_path = x", "the query is not one SELECT: it has no columns"),
        ("SELECT sku FROM prices WHERE sku = $1", "the query has parameters"),
        ("SELECT sku FROM nowhere", 'relation "nowhere" does not exist'),
        ("SELECT sku FROM prices", "has no column 'sourceVersion'; it has sku"),
        ("SELECT 1 / (version - 1) AS sku FROM prices", "has no column 'sourceVersion'"),
        (ALL.replace("version AS", "1 / (version - 1) AS"), "division by zero"),
    ],
)  # fmt: skip
async def test_invalid_queries(select: str, problem: str, prices: str) -> None:
    """Anything but one SELECT with the fields of an event fails, and changes nothing."""
    with pytest.raises(SourceFailed) as caught:
        await selected(prices, select)
    assert problem in caught.value.problem
    assert query(prices, "SELECT count(*) FROM prices") == [(12_000,)]


async def test_unknown_columns_are_named(prices: str) -> None:
    """A column of the contract that is not in the result, or twice, is an error."""
    with pytest.raises(SourceFailed, match="no record has `price`, which the contract reads for pricing; records"):
        await selected(prices, "SELECT sku, version FROM prices", contract=PRICES)
    with pytest.raises(SourceFailed, match="has two columns named 'sku'"):
        await selected(prices, "SELECT sku, sku, price FROM prices", contract=PRICES)


TYPED = [
    ("1.50::numeric(10, 2)", "attributes.a", 1.5, "1.50"),
    ("12.000", "attributes.a", 12, "12.000"),
    ("7::bigint", "attributes.a", 7, "7"),
    ("0.1::numeric + 0.2", "attributes.a", 0.3, "0.3"),
    ("true", "attributes.a", True, "true"),
    ("NULL::text", "attributes.a", None, "null"),
    ("'  '", "attributes.a", None, '"  "'),
    ("timestamptz '2026-01-01T00:00:00+02'", "attributes.a", "2025-12-31T22:00:00Z", '"2025-12-31T22:00:00Z"'),
    ("date '2026-01-01'", "attributes.a", "2026-01-01", '"2026-01-01"'),
    ("time '10:30'", "attributes.a", "10:30:00", '"10:30:00"'),
    (
        "'6a2f41a3-c54c-fce8-32d2-0324e1c32e22'::uuid",
        "attributes.a",
        "6a2f41a3-c54c-fce8-32d2-0324e1c32e22",
        '"6a2f41a3-c54c-fce8-32d2-0324e1c32e22"',
    ),
    ("ARRAY['a', 'b']", "categories", ["a", "b"], '["a", "b"]'),
    ("""'["a", "b"]'""", "categories", ["a", "b"], '["a", "b"]'),
    ("""'{"b": 19.90, "n": null}'::jsonb""", "attributes.a", {"b": 19.9, "n": None}, '{"b": 19.90, "n": null}'),
    ("""ARRAY['{"b": 1.0}'::jsonb]""", "attributes.a", [{"b": 1}], '[{"b": 1.0}]'),
    ("1::int", "enabled", True, "1"),
    ("""'{"de_DE": "Hemd"}'::jsonb""", "localized.a", {"de-DE": "Hemd"}, '{"de_DE": "Hemd"}'),
]


@pytest.mark.parametrize(("expression", "path", "expected", "text"), TYPED)
async def test_a_typed_value_gives_the_event_of_its_json(
    expression: str, path: str, expected: object, text: str, postgres_url: str, tmp_path: Path
) -> None:
    """A contract reads a column's value as it reads the same value in JSON."""
    outer, _, inner = path.partition(".")
    contract = {"sku": "sku", "versions": "none", "catalog": {outer: {inner: "value"} if inner else "value"}}
    found = await selected(
        postgres_url, f"SELECT 'A' AS sku, {expression} AS value", domain="catalog", contract=contract
    )
    file = written(tmp_path / "rows.ndjson", f'{{"sku":"A","value":{text}}}\n{{"snapshot":"end","count":1}}\n')
    [from_json] = (await read(configured(["catalog"], file=file, contract=contract))).events
    [from_sql] = found.events
    assert from_sql.payload == from_json.payload
    wanted = {outer: {inner: expected} if inner else expected} if expected is not None else {}
    assert payload_of(from_sql) == wanted


MOMENTS = [
    ("timestamptz '2026-01-01T01:00:00+01'", "2026-01-01T00:00:00Z", None),
    ("timestamp '2026-03-30T03:30:00'", "2026-03-30T01:30:00Z", None),
    ("timestamp '2026-03-29T02:30:00'", None, "does not exist in Europe/Berlin"),
    ("timestamptz 'infinity'", None, None),
    ("timestamp 'infinity'", None, None),
    ("date 'infinity'", None, None),
    ("NULL::timestamptz", None, None),
]


@pytest.mark.parametrize(("expression", "moment", "problem"), MOMENTS)
async def test_moments_of_a_database(
    expression: str, moment: str | None, problem: str | None, postgres_url: str
) -> None:
    """Without an offset, the contract's zone counts; infinity is an open end."""
    contract = {"sku": "sku", "versions": "none", "zone": "Europe/Berlin", "inventory": STOCK}
    select = f"SELECT 'A' AS sku, 1 AS stock, {expression} AS due"
    found = await selected(postgres_url, select, domain="inventory", contract=contract)
    if problem is not None:
        assert problem in found.refused[1]
        return
    [event] = found.events
    assert payload_of(event) == {"available": 1} | ({} if moment is None else {"restockAt": moment})


STOCK = {"available": "stock", "restockAt": "due"}


async def test_a_padded_sku_is_trimmed(postgres_url: str) -> None:
    """The padding of CHAR(n) means nothing, nor does the fraction of a number without one."""
    select = "SELECT '4711'::char(10) AS sku, 12.0::numeric AS stock, 3.0::float8 AS version, now() AS at"
    contract = {"sku": "sku", "sourceVersion": "version", "occurredAt": "at", "inventory": {"available": "stock"}}
    [event] = (await selected(postgres_url, select, domain="inventory", contract=contract)).events
    assert (event.sku, event.source_version, payload_of(event)) == ("4711", 3, {"available": 12})


async def test_an_unreachable_database(tmp_path: object) -> None:
    """It is an error of the source, without its password."""
    with pytest.raises(SourceFailed) as caught:
        await selected(f"postgresql://me:secret@/x?host={tmp_path}", ALL)
    assert "secret" not in str(caught.value)


async def test_a_session_that_is_ended_fails(prices: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The rows before are given; there is no end. The session has an application name."""
    monkeypatch.setattr(query_reading, "FETCH_ROWS", 100)
    monkeypatch.setattr(query_reading, "BATCH_ROWS", 100)
    async with open_snapshot(configured(query=ALL, database=prices), "erp") as snapshot:
        batches = snapshot.batches()
        await anext(batches)
        ended = query(
            prices,
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
            "WHERE application_name = 'pagefold rebuild' AND datname = current_database()",
        )
        assert ended == [(True,)]
        with pytest.raises(SourceFailed):
            [batch async for batch in batches]
        assert snapshot.end is None


@contextmanager
def limited(url: str) -> Iterator[None]:
    """The database's sessions have short timeouts."""
    with psycopg.connect(url, autocommit=True) as connection:
        name = connection.info.dbname
        for setting in ("statement_timeout", "idle_in_transaction_session_timeout"):
            connection.execute(f"ALTER DATABASE {name} SET {setting} = '200ms'".encode())
    yield


async def test_the_timeouts_of_the_database_do_not_apply(prices: str) -> None:
    """A snapshot may take longer than the database's statement timeouts, and be idle in between."""
    with limited(prices):
        select = ALL.replace("FROM prices", "FROM prices, (SELECT pg_sleep(0.4)) AS slow")
        async with open_snapshot(configured(query=select, database=prices), "erp") as snapshot:
            batches = snapshot.batches()
            rows = (await anext(batches)).rows
            time.sleep(0.4)  # noqa: ASYNC251  # no rows are fetched meanwhile
            rows += [row async for batch in batches for row in batch.rows]
            assert (len(rows), snapshot.end) == (12_000, COMPLETE)


async def test_no_connection_is_left_open(prices: str) -> None:
    """When a pass is left in the middle, its connection is closed."""
    async with open_snapshot(configured(query=ALL, database=prices), "erp") as snapshot:
        await anext(snapshot.batches())
    deadline = time.monotonic() + 5
    while query(prices, "SELECT 1 FROM pg_stat_activity WHERE application_name = 'pagefold rebuild'"):
        assert time.monotonic() < deadline


async def test_large_rows_make_short_batches(postgres_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A batch is bounded by its bytes too."""
    monkeypatch.setattr(query_reading, "FETCH_ROWS", 10)
    monkeypatch.setattr(query_reading, "MAX_BATCH_BYTES", 100_000)
    large = """repeat('x', 5000) AS "payload.family" FROM generate_series(1, 100) AS n"""
    select = f"SELECT n::text AS sku, {REST}, {large}"  # all rows are in this batch
    found = await selected(postgres_url, select, domain="catalog")
    assert (len(found.rows), max(len(batch.rows) for batch in found.batches)) == (100, 20)


@pytest.mark.parametrize(
    ("select", "settings", "covered"),
    [
        ("SELECT 1 AS sku", {}, set()),
        (ALL, {}, {"*"}),
        (ALL.replace("SELECT", "SELECT 'web' AS channel,", 1), {}, {"*", "web"}),
        (ALL, {"constants": {"channel": "web"}}, {"web"}),
        ("SELECT 1 AS sku, 2 AS price", {"contract": PRICES}, {"*"}),
    ],
)
async def test_coverage_of_a_query(prices: str, select: str, settings: dict[str, object], covered: set[str]) -> None:
    """The channels that its columns can name, once they are known; without rows, too."""
    nothing = f"SELECT * FROM ({select}) AS everything WHERE false"  # noqa: S608  # the test's own
    async with open_snapshot(configured(query=nothing, database=prices, **settings), "erp") as snapshot:
        with suppress(SourceFailed):  # with too few columns
            assert [batch async for batch in snapshot.batches()] == []
        assert covered_in(snapshot) == covered
