"""The causes of dead letters, on both stores: what is one cause, how many letters it has, and in how many steps."""

from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from time import perf_counter
from typing import Any

import apsw
import pytest

from pagefold.engine.events import Reference
from pagefold.engine.stores.dead_letter_causes import MAX_CAUSE_CHARACTERS, cause_key, cause_text
from pagefold.engine.stores.dead_letter_records import (
    FIRST_KEY,
    LAST_KEY,
    MAX_COUNTED,
    DeadLetterFilter,
    NewDeadLetter,
    Resolution,
)
from pagefold.engine.stores.sqlite import SQLiteStore
from pagefold.engine.stores.sqlite.connections import SQL
from pagefold.engine.stores.store import Store
from tests.support.small_shop import a_dead_letter, configured

STREAM = "TSHIRT-M/*/pricing/erp"
PRICE = "payload.amount: '149,90' is not an amount"
DISCARDED = Resolution("discarded", "2026-01-02T12:00:00.000000Z", "ada", "a test")


def a_letter(number: int, error: str = PRICE, **fields: object) -> NewDeadLetter:
    """A dead letter of a moment: one a minute."""
    at = f"2026-01-01T{number // 60 % 24:02}:{number % 60:02}:00.000000Z"
    letter = a_dead_letter(f"S{number}/*/pricing/erp", error=error)._replace(domain="pricing", recorded_at=at)
    return letter._replace(**fields)  # type: ignore[arg-type]  # fields of a dead letter


@pytest.mark.parametrize(
    ("one", "another"),
    [
        (PRICE, "payload.amount: '8' is not an amount"),
        (PRICE, 'payload.amount: "it\'s 8" is not an amount'),
        ("version 17 of TSHIRT-M/*/pricing/erp is stored", "version 9 of TSHIRT-M/*/pricing/erp is stored"),
        ("TSHIRT-M has no parent", "4711 has no parent"),
        ("payload.assets[3].url: expected `str`", "payload.assets[12].url: expected `str`"),
        ("3 of 12 parts, the first: items[1].sku: too long", "items[0].sku: too long"),
        ("http://localhost/products/7.json: answered 500", "https://shop.example/a: answered 500"),
        (f"source: {'a b' * 50!r:.100} is unknown", f"source: {'x y' * 60!r:.100} is unknown"),
        ("row d41d8cd98f00b204e9800998ecf8427e is twice", "row da39a3ee5e6b4b0d3255bfef95601890 is twice"),
        ("“Salbei” has no row", "“Mint” has no row"),
    ],
)
def test_values_make_no_cause(one: str, another: str) -> None:
    """What differs only in values has the same key: quoted text, numbers, ids, addresses, places in lists."""
    assert cause_key("ingest", "pricing", STREAM, one) == cause_key("ingest", "pricing", STREAM, another)


@pytest.mark.parametrize(
    ("one", "another"),
    [
        (PRICE, PRICE.replace("amount:", "compareAt:")),
        ("expected `str`, got `int`", "expected `str`, got `float`"),
        ("the feed answered 422", "the feed answered 500"),
        ("the source's row isn't there", "the source's table isn't there"),
    ],
)
def test_other_faults_are_other_causes(one: str, another: str) -> None:
    """The path, the types and the status of an answer make a cause; so do kind, domain and source."""
    assert cause_key("ingest", "pricing", STREAM, one) != cause_key("ingest", "pricing", STREAM, another)
    assert len({
        cause_key(*place, one)
        for place in (
            ("ingest", "pricing", STREAM),
            ("projection", "pricing", STREAM),
            ("ingest", "", STREAM),
            ("ingest", "pricing", "TSHIRT-M/*/pricing/erp2"),
        )
    }) == 4  # fmt: skip


@pytest.mark.parametrize("error", ["'a" * 500_000, "x'" * 500_000, "“" * 500_000, "'" + "\\" * 500_000, "a." * 500_000])
def test_a_hostile_error_takes_no_time(error: str) -> None:
    """Only its beginning is looked at, and no pattern takes long over it."""
    before = perf_counter()
    assert len(cause_text(f"payload.amount: {error}", STREAM)) <= MAX_CAUSE_CHARACTERS
    assert perf_counter() - before < 1


async def test_causes_are_listed_with_their_newest(store: Store) -> None:
    """With how many there are, the oldest and the newest; a resolved one does not count, nor does it make a cause."""
    other = a_letter(9, "payload.currency: `EUR` is unknown")
    await store.dead_letters.add([a_letter(1), a_letter(2, PRICE.replace("149,90", "1")), a_letter(3), other])
    folding = store.coordination.fold_transaction("pricing")
    async with folding as transaction:
        await transaction.add_dead_letters([a_letter(4, kind="projection")])
    by_kind = {(cause.kind, cause.text): cause for cause in await store.dead_letters.causes()}
    assert [*map(len, by_kind)] == [2, 2, 2]
    prices = by_kind["ingest", "payload.amount: '…' is not an amount"]
    assert (prices.letters, prices.first[14:16], prices.last[14:16]) == (3, "01", "03")
    assert (prices.source, prices.domain, prices.error) == ("erp", "pricing", PRICE)
    newest = await store.dead_letters.get("ingest", prices.number)
    assert newest is not None
    assert (newest.recorded_at, newest.cause, newest.id) == (prices.last, prices.key, prices.newest)
    [letter] = [each for each in await store.dead_letters.newest() if each.error == other.error]
    assert await store.dead_letters.resolve("ingest", letter.number, DISCARDED)
    assert len(await store.dead_letters.causes()) == 2
    assert len(await store.dead_letters.causes(1)) == 1


async def test_the_dead_letters_of_a_cause(store: Store) -> None:
    """They are listed from either end, counted, and found when they are resolved."""
    await store.dead_letters.add([a_letter(1), a_letter(2), a_letter(3, "another"), a_letter(4)])
    [key] = [cause.key for cause in await store.dead_letters.causes() if cause.letters == 3]
    wanted = DeadLetterFilter(cause=key)
    oldest = await store.dead_letters.oldest(wanted, after=FIRST_KEY, limit=2)
    assert [each.recorded_at[14:16] for each in oldest] == ["01", "02"]
    newest = await store.dead_letters.newest(wanted, after=LAST_KEY)
    assert [each.recorded_at[14:16] for each in newest] == ["04", "02", "01"]
    assert await store.dead_letters.newest(wanted._replace(source="pim")) == []
    assert await store.dead_letters.count(wanted) == 3
    assert await store.dead_letters.resolve_open(oldest, DISCARDED) == {each.id for each in oldest}
    assert await store.dead_letters.resolve_open(newest, DISCARDED) == {newest[0].id}
    assert await store.dead_letters.count(wanted) == 0
    resolved = await store.dead_letters.newest(wanted._replace(resolved=True))
    assert {(each.id, each.reason) for each in resolved} == {(each.id, "a test") for each in newest}


async def test_a_bulk_decision_spans_both_kinds(store: Store) -> None:
    """Those of the intake and of the fold are resolved in one call, durably."""
    await store.dead_letters.add([a_letter(1)])
    async with store.coordination.fold_transaction("pricing") as folding:
        await folding.add_dead_letters([a_letter(2, kind="projection")])
    every = await store.dead_letters.newest()
    assert await store.dead_letters.resolve_open(every, DISCARDED) == {each.id for each in every}
    assert await store.dead_letters.resolve_open([], DISCARDED) == set()


async def test_a_new_reason_is_a_new_cause(store: Store) -> None:
    """When it is added again, and when it waits for something else."""
    await store.dead_letters.add([a_letter(1), a_letter(2, "waits for one", kind="waiting", domain="")])
    before = {each.kind: each for each in await store.dead_letters.newest()}
    await store.dead_letters.add([a_letter(1, "another")])
    await store.dead_letters.wait_for(before["waiting"], Reference("gtin", "1"), "waits for another")
    after = {each.kind: each for each in await store.dead_letters.newest()}
    for kind, letter in after.items():
        assert letter.cause == cause_key(kind, letter.domain, letter.originator_id, letter.error)
        assert letter.cause != before[kind].cause


async def test_history_by_ten_minutes(store: Store) -> None:
    """Since a moment, of open ones."""
    await store.dead_letters.add([a_letter(number) for number in (1, 2, 19, 20, 61)])
    [cause] = await store.dead_letters.causes()
    history = await store.dead_letters.cause_history(cause.key, "2026-01-01T00:02:00.000000Z")
    assert history == [("2026-01-01T00:0", 1), ("2026-01-01T00:1", 1), ("2026-01-01T00:2", 1), ("2026-01-01T01:0", 1)]


async def forget_causes(store: Store) -> None:
    """Makes dead letters as those of an older program."""
    forget = "UPDATE dead_letters SET cause = ''"
    if isinstance(store, SQLiteStore):
        for connection in (store._connections.events, store._connections.pages):
            await connection.run(lambda each: each.execute(forget).fetchall())
    else:
        async with store._connections.writer.session() as session:  # type: ignore[attr-defined]  # the other store
            await session.run(forget)


async def test_dead_letters_of_an_older_program_get_their_causes(store: Store) -> None:
    """In steps; the empty key comes first, until they have."""
    await store.dead_letters.add([a_letter(1), a_letter(2), a_letter(3, "another")])
    async with store.coordination.fold_transaction("pricing") as folding:
        await folding.add_dead_letters([a_letter(4, kind="projection")])
    before = await store.dead_letters.causes()
    await forget_causes(store)
    assert (await store.dead_letters.causes())[0].key == ""
    steps = [await store.dead_letters.assign_causes(2) for _ in range(4)]
    assert sum(steps) == 4
    assert max(steps) <= 2
    assert await store.dead_letters.causes() == before


LETTERS = 4 * (MAX_COUNTED + 10)
FILL = f"""
WITH RECURSIVE numbers (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM numbers WHERE i < {LETTERS})
INSERT INTO dead_letters (domain, originator_id, originator_version, revision, digest, error, state, recorded_at, cause)
SELECT 'pricing', 'S' || i || '/*/pricing/erp', 1, 0, x'', 'wrong', zeroblob(50),
       strftime('%Y-%m-%dT%H:%M:%S.000000Z', 1767225600 + i, 'unixepoch'), 'cause' || (i % 4)
FROM numbers
"""  # noqa: S608  # numbers of ours
CAUSE = {"kind": None, "domain": None, "source": None, "resolved": False, "cause": "cause1", "limit": 100}
PLANS: dict[str, Any] = {
    "dead_letter_causes": {"limit": 1000, "counted": MAX_COUNTED + 1, "longest": 1000},
    "newest_dead_letters_of_cause": CAUSE | {**LAST_KEY._asdict(), "after_kind": "~", "longest": 1000},
    "oldest_dead_letters_of_cause": CAUSE | {**FIRST_KEY._asdict(), "after_kind": "", "longest": 1000},
    "count_letters_of_cause": CAUSE,
    "cause_history": {"cause": "cause1", "since": "2026-01-01T00:00:00.000000Z", "counted": MAX_COUNTED},
    "without_cause": (1000, 500),
}


def steps_of(connection: apsw.Connection, statement: str) -> Sequence[str]:
    """The steps of a plan that read something."""
    plan = [row[-1] for row in connection.execute(f"EXPLAIN QUERY PLAN {SQL[statement]}", PLANS[statement])]
    return [step for step in plan if "dead_letters" in step or "each" in step]


@pytest.fixture
async def sqlite_store(tmp_path: Path) -> AsyncIterator[SQLiteStore]:
    """A new store of the embedded kind."""
    store = await SQLiteStore.open(configured(f"sqlite:///{tmp_path}/shop"))
    yield store
    await store.close()


async def test_many_are_read_by_their_cause(sqlite_store: SQLiteStore) -> None:
    """Every step is a search in the index of causes; a cause is counted up to a number. PostgreSQL has its own test."""

    def fill_and_explain(connection: apsw.Connection) -> dict[str, Sequence[str]]:
        connection.execute(FILL).fetchall()
        return {statement: steps_of(connection, statement) for statement in PLANS}

    plans = await sqlite_store._connections.events.run(fill_and_explain)
    for steps in plans.values():
        assert steps
        for step in steps:
            assert step.startswith("SEARCH"), plans
            assert (
                "dead_letters_by_cause (<expr>=? AND" in step
                or "dead_letters_by_cause (<expr>=?)" in step
                or ("PRIMARY KEY" in step)
            ), plans
    causes = await sqlite_store.dead_letters.causes()
    assert [(cause.key, cause.letters) for cause in causes] == [(f"cause{n}", MAX_COUNTED + 1) for n in range(4)]
    assert await sqlite_store.dead_letters.count(DeadLetterFilter(cause="cause1")) == LETTERS // 4


async def test_open_dead_letters_are_counted_by_kind_and_domain(store: Store) -> None:
    """Of a source or of all; resolved ones are not among them."""
    other = a_letter(3)._replace(originator_id="S3/*/pricing/sap")
    await store.dead_letters.add([a_letter(1), a_letter(2), other, a_letter(4, kind="waiting", domain="")])
    wanted = DeadLetterFilter("ingest", "pricing")
    assert await store.dead_letters.count(wanted) == 3
    assert await store.dead_letters.count(wanted._replace(source="sap")) == 1
    assert await store.dead_letters.count(wanted._replace(source="p")) == 0
    assert await store.dead_letters.count(DeadLetterFilter("waiting", "")) == 1
    [letter, *_] = await store.dead_letters.newest(wanted)
    assert await store.dead_letters.resolve("ingest", letter.number, DISCARDED)
    assert await store.dead_letters.count(wanted) == 2
    assert await store.dead_letters.count(wanted._replace(resolved=True)) == 1


def test_answers_of_targets_are_grouped_by_what_they_say() -> None:
    """The texts in JSON say it; numbers, ids and the SKU in them do not."""
    name = "MUG-1/web-de//shop"
    for error, text in (
        ('422 Unprocessable Entity: {"error":"field gtin is required"}', "error: field gtin is required"),
        ('422 Unprocessable Entity: {"error":"too long"}', "error: too long"),
        ('422 Unprocessable Entity: {"sku":"MUG-1","id":"a1b2","error":"too long"}', "sku: …, id: …, error: too long"),
    ):
        assert cause_text(error, name, "delivery") == f"status 422 Unprocessable Entity: {text}"
    assert cause_text('422: {"error":"too long"}', name) == "…: {'…':'…'}"
