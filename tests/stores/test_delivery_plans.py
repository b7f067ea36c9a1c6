"""Plans of the statements of deliveries: by index in both stores, and bounded, however many rows a target has."""

import json
from collections.abc import AsyncIterator, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple

import anyio
import apsw
import pytest

from pagefold.engine.stores import open_store
from pagefold.engine.stores.delivery_records import Wanted
from pagefold.engine.stores.postgres.connections import SQL as POSTGRES
from pagefold.engine.stores.postgres.connections import Session
from pagefold.engine.stores.sqlite.connections import DELIVERIES, connect
from pagefold.engine.stores.sqlite.connections import SQL as SQLITE
from tests.support.databases import opened
from tests.support.query_plans import nodes
from tests.support.small_shop import configured

ROWS = 40_000
TARGETS = 2
FEW_ROWS = 3_000
WAITING = 20
"""Every such row waits; every second of them is due. The others are dead."""

VALUES = f"""
'shop' || i % {TARGETS}, 'S' || i, 'de',
CASE WHEN i % {WAITING} > 1 THEN 'current' WHEN i % {WAITING} = 0 THEN 'waiting' ELSE 'dead' END,
'v1', i, 'v1', 1, CASE WHEN i % {WAITING} < 2 THEN i END,
CASE WHEN i % {WAITING} = 0 THEN CASE WHEN i % (4 * {WAITING}) = 0 THEN i ELSE 4000000000000000 + i END END,
CASE WHEN i % {WAITING} = 1 THEN i END, CASE WHEN i % {WAITING} = 1 THEN i END,
CASE WHEN i % {WAITING} = 1 THEN 'c' || i / {WAITING} % 4 END
"""
INTO = """
INSERT INTO deliveries (
    target, sku, channel, state, wanted_tag, wanted_position, acked_tag, epoch, since, due_at, letter, died_at, cause
)
"""
FILL_POSTGRES = f"{INTO} SELECT {VALUES} FROM generate_series(1, {ROWS}) AS i"  # noqa: S608  # numbers of ours
FILL_SQLITE = f"""
WITH RECURSIVE numbers (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM numbers WHERE i < {ROWS})
{INTO} SELECT {VALUES} FROM numbers
"""  # noqa: S608  # numbers of ours
NAMES = [f"S{number}" for number in range(1_000, 1_100, 2)]


class Hot(NamedTuple):
    """A statement with its bindings in each store, and the blocks that it may touch in PostgreSQL."""

    name: str
    postgres: str
    sqlite: tuple[Any, ...]
    blocks: int


def array(values: list[str], kind: str = "text") -> str:
    """A PostgreSQL array."""
    return "ARRAY[" + ",".join(f"'{value}'" for value in values) + f"]::{kind}[]"


def items(*rows: object) -> str:
    """A JSON array."""
    return json.dumps(rows)


CHANNELS = ["de"] * len(NAMES)
KEYS = f"{array(NAMES)}, {array(CHANNELS)}"
PAIRS = items(*([name, "de"] for name in NAMES))
MARKS = items(*([name, "de", "v2", 5] for name in NAMES))
SETTLED = items(*([name, "de", "delivered", "v1", "v1", 5, "", 0, None] for name in NAMES))
ZEROS = array(["0"] * len(NAMES), "bigint")
FAR = 4 * 10**15
MANY = 30 * len(NAMES)
"""Blocks for changes of some rows, of which each index gets an entry; and of the counts."""

HOT = [
    Hot(
        "mark_deliveries",
        f"'shop0', {KEYS}, {array(['v2'] * len(NAMES))}, 1, false, false, {ZEROS}",
        ("shop0", MARKS, 5, 1, False, False),
        MANY,
    ),
    Hot(
        "mark_deliveries",
        f"'shop0', {KEYS}, {array(['v1'] * len(NAMES))}, 1, false, false, {ZEROS}",
        ("shop0", MARKS, 5, 1, False, False),
        6 * len(NAMES),
    ),
    Hot(
        "claim_deliveries",
        "'shop0', -4611686018427387904, 0, 50, 9, 7, 'w'",
        ("shop0", 0, 10**14, 50, 9, 7, "w"),
        MANY,
    ),
    Hot("claim_deliveries", "'none', -4611686018427387904, 0, 50, 9, 7, 'w'", ("none", 0, 9, 50, 9, 7, "w"), 15),
    Hot("renew_deliveries", f"'shop0', 7, 'w', {KEYS}, 9", ("shop0", 7, "w", PAIRS, 9), 6 * len(NAMES)),
    Hot(
        "settle_deliveries",
        f"'shop0', 7, 'w', {KEYS}, {array(['delivered'] * len(NAMES))}, {array(CHANNELS)}, {array(CHANNELS)}, "
        f"{ZEROS}, {array(CHANNELS)}, {ZEROS}, array_fill(NULL::bytea, ARRAY[{len(NAMES)}]), "
        f"array_fill(NULL::text, ARRAY[{len(NAMES)}])",
        ("shop0", 7, "w", SETTLED, 5),
        8 * len(NAMES),
    ),
    Hot("overtake_deliveries", f"'shop0', {KEYS}", ("shop0", PAIRS, 5), MANY),
    Hot("next_due_delivery", "'shop0', 1000", ("shop0", 5, 1000), 12),
    Hot("move_deliveries", f"'shop0', {KEYS}, '{{dead}}', 'waiting'", ("shop0", PAIRS, '["dead"]', "waiting", 5), MANY),
    Hot("edit_delivery", "'shop0', 'S1000', 'de', ''", ("shop0", "S1000", "de", b"", 5), 40),
    Hot("redeliver_deliveries", f"'shop0', {KEYS}, 1", ("shop0", PAIRS, 1, 5), MANY),
    Hot("reset_deliveries", "'shop0', 'S1', 'de', NULL, 1, 50", ("shop0", "S1", "de", None, 1, 50), 120),
    Hot("forget_deliveries", "'shop0', 50", ("shop0", 50), 20 * 50),
    Hot("deliveries_of_skus", f"{array(NAMES[:3])}, NULL", (apsw.carray(tuple(NAMES[:3])), None), 40),
    Hot("deliveries_of_skus", f"{array(NAMES[:3])}, 'shop0'", (apsw.carray(tuple(NAMES[:3])), "shop0"), 30),
    Hot("deliveries_by_key", "'shop0', 'S1', 'de', 50", ("shop0", "S1", "de", 50), 120),
    Hot("oldest_deliveries", "'shop1', 'dead', 500, '', '', 50", ("shop1", "dead", 500, "", "", 50), 120),
    Hot("waiting_since", "", (), 20),
    Hot("newest_delivery_letters", "'dead', 4000000000000000, 0, 50", ("dead", FAR, 0, 50), 120),
    Hot("oldest_delivery_letters", "'dead', 500, 0, 50", ("dead", 500, 0, 50), 120),
    Hot("newest_delivery_letters_of_target", f"'dead', {FAR}, 0, 50, 'shop1'", ("dead", FAR, 0, 50, "shop1"), 120),
    Hot("oldest_delivery_letters_of_target", "'dead', 500, 0, 50, 'shop1'", ("dead", 500, 0, 50, "shop1"), 120),
    Hot("newest_delivery_letters_of_cause", f"'dead', {FAR}, 0, 50, 'c1', NULL", ("dead", FAR, 0, 50, "c1", None), 120),
    Hot("oldest_delivery_letters_of_cause", "'dead', 500, 0, 50, 'c1', NULL", ("dead", 500, 0, 50, "c1", None), 120),
    Hot("get_delivery_letter", "1001", (1001,), 10),
    Hot("count_delivery_letters_of_cause", "'dead', NULL, 'c1'", ("dead", None, "c1"), 600),
    Hot("delivery_letter_causes", "3, 100", (3, 100), 500),
    Hot("delivery_letter_history", "'c1', 500, 50", ("c1", 500, 50), 120),
    Hot("retry_delivery_letters", "'{1001,1021}', '{}'", ("[1001,1021]", "{}", 5), 200),
    Hot("discard_delivery_letters", "'{1001,1021}', '{}'", ("[1001,1021]", "{}"), 200),
    Hot("edit_delivery_letter", "1001, '{}', ''", (1001, "{}", b"", 5), 60),
]


COUNTED = [f"(subquery-{number})" for number in range(20)]
"""A bounded number of entries of an index."""


SORTED = ("deliveries_of_skus", "delivery_letter_causes")
"""Statements that sort what they return: some SKUs, a bounded number of causes."""


@pytest.fixture
async def session(postgres_url: str) -> AsyncIterator[Session]:
    """A session of a store with many rows, whose statements were prepared while its tables were empty."""
    async with opened(configured(postgres_url)) as store, store._connections.delivery_writers.session() as session:
        await session.run("ALTER TABLE deliveries SET (autovacuum_enabled = off)")
        await session.run("INSERT INTO delivery_cursors (target) VALUES ('shop0'), ('shop1')")
        for number, hot in enumerate(HOT):
            await session.run(f"PREPARE hot_{number} AS {POSTGRES[hot.name]}")
            await explained(session, hot, number)
        await session.run(FILL_POSTGRES)
        yield session


async def explained(session: Session, hot: Hot, number: int) -> dict[str, Any]:
    """The plan of a statement that is executed and rolled back."""
    bindings = f"({hot.postgres})" if hot.postgres else ""
    await session.run("BEGIN")
    try:
        [row] = await session.connection.fetch(
            f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) EXECUTE hot_{number}{bindings}"
        )
    finally:
        await session.run("ROLLBACK")
    plan: dict[str, Any] = json.loads(row[0])[0]["Plan"]
    return plan


@pytest.mark.parametrize("statistics", [False, True])
async def test_postgres_reads_by_index(session: Session, *, statistics: bool) -> None:
    """Whatever the statistics say, and touches blocks in proportion to what is asked for."""
    if statistics:
        await session.run("ANALYZE")
    for number, hot in enumerate(HOT):
        plan = await explained(session, hot, number)
        read = [
            node for node in nodes(plan) if node.get("Relation Name") == "deliveries" and "Scan" in node["Node Type"]
        ]
        assert read, hot
        assert {node["Node Type"] for node in read} <= {"Index Scan", "Index Only Scan"}, hot
        touched = plan["Shared Hit Blocks"] + plan["Shared Read Blocks"]
        assert touched <= hot.blocks, f"{hot.name} touched {touched} blocks"


async def test_postgres_reads_by_key_while_a_table_grows(postgres_url: str) -> None:
    """Without statistics, no statement about many rows compares each with all rows of the target."""
    names = [f"S{number}" for number in range(FEW_ROWS, FEW_ROWS + 1_000)]
    keys = f"{array(names)}, {array(['de'] * len(names))}"
    zeros, texts = array(["0"] * len(names), "bigint"), array(["de"] * len(names))
    settled = f"{array(['delivered'] * len(names))}, {texts}, {texts}, {zeros}, {texts}, {zeros}"
    nulls = ", ".join(f"array_fill(NULL::{kind}, ARRAY[{len(names)}])" for kind in ("bytea", "text"))
    statements = {
        "mark_deliveries": f"'shop0', {keys}, {texts}, 1, false, false, {zeros}",
        "renew_deliveries": f"'shop0', 7, 'w', {keys}, 9",
        "settle_deliveries": f"'shop0', 7, 'w', {keys}, {settled}, {nulls}",
        "overtake_deliveries": f"'shop0', {keys}",
        "move_deliveries": f"'shop0', {keys}, '{{dead}}', 'waiting'",
        "redeliver_deliveries": f"'shop0', {keys}, 1",
    }
    async with opened(configured(postgres_url)) as store, store._connections.delivery_writers.session() as session:
        await session.run("ALTER TABLE deliveries SET (autovacuum_enabled = off)")
        await session.run("INSERT INTO delivery_cursors (target) VALUES ('shop0'), ('shop1')")
        await session.run(FILL_POSTGRES.replace(str(ROWS), str(FEW_ROWS)))
        for number, (name, bindings) in enumerate(statements.items()):
            await session.run(f"PREPARE hot_{number} AS {POSTGRES[name]}")
            plan = await explained(session, Hot(name, bindings, (), 0), number)
            removed = [node.get("Rows Removed by Join Filter", 0) for node in nodes(plan)]
            assert max(removed) <= len(names), name


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Iterator[apsw.Connection]:
    """A `deliveries.db` with many rows."""
    folder: Path = tmp_path_factory.mktemp("shop")

    async def make() -> None:
        store = await open_store(configured(f"sqlite:///{folder}"))
        for target in ("shop0", "shop1"):
            await store.deliveries.mark(target, "", "1", [Wanted("none", "de", "v1", 1)])
        await store.close()

    anyio.run(make)
    with closing(connect(folder / DELIVERIES, synchronous="OFF")) as connection:
        connection.execute(FILL_SQLITE)
        yield connection


@pytest.mark.parametrize("statistics", [False, True])
@pytest.mark.parametrize("number", range(len(HOT)))
def test_sqlite_reads_by_index(file: apsw.Connection, number: int, *, statistics: bool) -> None:
    """No table is scanned but the few rows of cursors, and what is given; nor all rows of a target, without a limit."""
    if statistics:
        file.execute("ANALYZE")
    hot = HOT[number]
    plan = [row[-1] for row in file.execute(f"EXPLAIN QUERY PLAN {SQLITE[hot.name]}", hot.sqlite)]
    scans = {step.split()[1] for step in plan if step.startswith("SCAN")}
    given = {"json_each", "carray", "named", "wanted", "judged", "settled", "next", "last", "CONSTANT"}
    small = {*given, "delivery_cursors", "known", "causes", "found", *COUNTED}
    assert scans <= small, plan
    assert not any("TEMP B-TREE FOR ORDER BY" in step for step in plan if hot.name not in SORTED), plan
    if "LIMIT" not in SQLITE[hot.name]:
        assert not any("autoindex_deliveries" in step and step.endswith("(target=?)") for step in plan), plan
