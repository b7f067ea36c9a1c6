"""Snapshots whose records are joined: of one or several files, requests or queries; no group is ever stated in part."""

import json
import random
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import anyio
import orjson
import pytest

import pagefold
from pagefold.engine.configuration.config import Config
from pagefold.engine.errors import ConfigurationError, SourceFailed
from pagefold.engine.events import DomainEvent
from pagefold.engine.snapshots import open_snapshot
from pagefold.engine.snapshots.snapshot import End
from pagefold.engine.sync.delta_sync import DeltaSync
from tests.support.exports import page_of, shop_in
from tests.support.fake_endpoint import Answering, Asked, Reply, Server, serving
from tests.support.rebuild_fixtures import rebuild
from tests.support.small_shop import everything
from tests.support.snapshot_fixtures import Read, configured, parsed, payload_of, written

COMPLETE = End(complete=True)
PRICES = {
    "sku": "sku",
    "versions": "none",
    "join": {"by": "sku", "order": "minimum"},
    "pricing": {
        "amount": {"from": "records", "pick": {"index": 0, "value": "price"}},
        "tiers": {"from": "records", "each": {"members": {"minQuantity": "minimum", "amount": "price"}}},
    },
}
PARTS = {
    "sku": "sku",
    "versions": "none",
    "join": {"keys": {"sku": "sku"}, "with": {"sales": {"from": "sales", "sku": "sku"}}},
    "pricing": {"amount": {"first_of": ["sales.0.price", "price"]}},
}


def rows_of(skus: int, each: int = 3) -> list[dict[str, Any]]:
    """Prices: so many of each SKU."""
    return [
        {"sku": f"S{number:04}", "minimum": place + 1, "price": f"{number}.{place}5"}
        for place in range(each)
        for number in range(skus)
    ]


def lines(rows: Sequence[object], *, marker: bool = True) -> str:
    """The rows as lines, with an end marker."""
    end = [{"snapshot": "end", "count": len(rows)}] if marker else []
    return "".join(json.dumps(row) + "\n" for row in [*rows, *end])


async def read(config: Config) -> Read:
    """Reads the snapshot of erp to its end. Batches may have no rows while records are collected."""
    async with open_snapshot(config, "erp") as snapshot:
        batches = [batch._replace(rows=list(map(parsed, batch.rows))) async for batch in snapshot.batches()]
        assert not snapshot.resumable
        return Read(batches, snapshot.end, snapshot.taken_at)


def said(found: Read) -> dict[str, Any]:
    """The payload of each SKU."""
    return {event.sku: payload_of(event) for event in found.events}


def whole(skus: int) -> dict[str, Any]:
    """What `rows_of` say."""
    return {
        f"S{number:04}": {
            "amount": f"{number}.05",
            "tiers": [{"minQuantity": place + 1, "amount": f"{number}.{place}5"} for place in range(3)],
        }
        for number in range(skus)
    }


# --- files ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(3))
async def test_a_file_in_any_order_makes_the_same_statements(tmp_path: Path, seed: int) -> None:
    """The rows of one SKU may be anywhere in it."""
    rows = rows_of(40)
    random.Random(seed).shuffle(rows)
    file = written(tmp_path / "rows.ndjson", lines(rows))
    found = await read(configured(file=file, contract=PRICES))
    assert (said(found), found.end) == (whole(40), COMPLETE)


async def test_csv_rows_that_continue_the_row_before(tmp_path: Path) -> None:
    """A cell of the key that is blank belongs to the row above; columns of the contract must be there."""
    contract = {**PRICES, "join": {"by": "sku", "continued": True}}
    text = "sku,minimum,price\nA,1,5\n,10,4\nB,1,7\n#end,3\n"
    config = configured(file=written(tmp_path / "rows.csv", text), contract=contract)
    found = await read(config)
    assert {sku: len(price["tiers"]) for sku, price in said(found).items()} == {"A": 2, "B": 1}
    written(tmp_path / "rows.csv", text.replace("sku", "item"))
    with pytest.raises(SourceFailed, match="no record has `sku`, which the contract reads for join"):
        await read(config)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (lines(rows_of(5), marker=False), "has no end marker"),
        (lines(rows_of(5)).replace('"count": 15', '"count": 16'), "its end marker counts 16 rows; it has 15"),
        (lines(rows_of(5)[:-1]) + '{"sku":"S0004","mini', "continues after its end marker"),
        ('{"sku": "S0001", \n' + lines(rows_of(5)), "a row cannot be read"),
        (lines([*rows_of(5), {"sku": {}, "price": 1}]), "a row cannot be read"),
        (lines([*rows_of(5), rows_of(5)[0]]), "1 of its rows repeats an earlier one"),
    ],
    ids=["cut", "short", "more", "damaged", "no key", "repeated"],
)
async def test_of_a_file_that_is_not_whole_nothing_is_stated(tmp_path: Path, text: str, reason: str) -> None:
    """What is missing could belong to any group."""
    found = await read(configured(file=written(tmp_path / "rows.ndjson", text), contract=PRICES))
    assert [row for row in found.rows if isinstance(row.event, DomainEvent)] == []
    assert found.end is not None
    assert not found.end.complete
    assert found.end.reason.startswith(reason)


async def test_rows_that_a_marker_counts_once_are_joined_once(tmp_path: Path) -> None:
    """A row that comes twice does not make a tier twice."""
    rows = rows_of(2)
    text = lines([*rows, rows[0]]).replace('"count": 7', '"count": 6')
    found = await read(configured(file=written(tmp_path / "rows.ndjson", text), contract=PRICES))
    assert (said(found), found.end) == (whole(2), COMPLETE)


async def test_other_files_are_joined(tmp_path: Path) -> None:
    """They end as the snapshot does, unless they say it; the snapshot is incomplete if one of them is."""
    main = written(tmp_path / "rows.ndjson", lines(rows_of(3, 1)))
    sales = written(tmp_path / "sales.ndjson", lines([{"sku": "S0001", "price": "0.50"}, {"sku": "X", "price": 1}]))
    config = configured(file=main, more={"sales": {"file": sales}}, contract=PARTS)
    found = await read(config)
    assert {sku: price["amount"] for sku, price in said(found).items()} == {
        "S0000": "0.05",
        "S0001": "0.5",
        "S0002": "2.05",
    }
    assert found.end == COMPLETE
    written(tmp_path / "sales.ndjson", '{"sku":"S0001","price":"0.50"}\n')
    assert (await read(config)).end == End(complete=False, reason="sales: has no end marker")
    written(tmp_path / "sales.ndjson", lines([{"item": "S0001"}]))
    with pytest.raises(SourceFailed, match=r"no record has a value for join\.with\.sales of the contract"):
        await read(config)


@pytest.mark.parametrize("more", [{}, {"sale": {"file": "x.ndjson"}, "sales": {"file": "y.ndjson"}}])
async def test_parts_and_roles_must_fit(tmp_path: Path, more: dict[str, Any]) -> None:
    """A part that no role joins, and a role without its part, are errors of the configuration."""
    file = written(tmp_path / "rows.ndjson", "")
    for name in ("x.ndjson", "y.ndjson"):
        written(tmp_path / name, "")
    more = {name: {"file": str(tmp_path / part["file"])} for name, part in more.items()}
    with pytest.raises(ConfigurationError, match=r"snapshot\.more\.(sales: is required|sale: is joined by no role)"):
        await read(configured(file=file, more=more, contract=PARTS))


# --- queries ----------------------------------------------------------------------------------------


async def test_rows_of_queries_are_joined(postgres_url: str) -> None:
    """Those of one query by their key, and those of another one to them; decimals keep their digits."""
    contract = {
        "sku": "sku",
        "versions": "none",
        "join": {"keys": {"sku": "sku"}, "with": {"bins": {"from": "bins", "sku": "sku"}}},
        "inventory": {"available": {"from": "bins", "total": "quantity"}},
    }
    bins = "SELECT * FROM (VALUES ('A', 1.5), ('A', 2.5), ('B', NULL), ('X', 1)) AS bins (sku, quantity)"
    config = configured(
        ["inventory"],
        query="SELECT * FROM (VALUES ('A'), ('B')) AS items (sku)",
        database=postgres_url,
        more={"bins": {"query": bins}},
        contract={**contract, "blanks": "refuse"},
    )
    found = await read(config)
    assert [payload_of(row.event) for row in found.rows if isinstance(row.event, DomainEvent)] == [{"available": 4}]
    assert (len(found.refused), found.end) == (1, COMPLETE)
    with pytest.raises(SourceFailed, match="no record has `item`, which the contract reads for join"):
        await read(configured(["inventory"], query="SELECT 'A' AS sku", database=postgres_url, contract=JOINED_BY_ITEM))


JOINED_BY_ITEM = {
    "sku": "sku",
    "versions": "none",
    "join": {"by": "item"},
    "inventory": {"available": {"constant": 1}},
}


# --- endpoints ------------------------------------------------------------------------------------


def pages(rows: Sequence[object], size: int = 4) -> Answering:
    """The rows in pages, with their number."""

    def answer(asked: Asked) -> Reply:
        page = int(asked.query["page"])
        return Reply(orjson.dumps({"rows": rows[page * size - size : page * size], "count": len(rows)}))

    return answer


PAGED = {"items": "rows", "total": "count", "paging": {"parameter": "page"}, "requests_per_second": 1000.0}


def by_path(answers: Mapping[str, Answering]) -> Answering:
    """Each path answers for itself."""
    return lambda asked: answers[asked.path.strip("/")](asked)


def at(server: Server, contract: object = PARTS, **more: object) -> Config:
    """A snapshot of two requests."""
    sales = {"url": f"{server.url}/sales", "items": "rows", "total": "count", "paging": {"parameter": "page"}, **more}
    return configured(url=f"{server.url}/prices", **PAGED, more={"sales": sales}, contract=contract)


async def test_two_requests_make_one_statement() -> None:
    """The second one has its own address, and the pace and the authorization of the first."""
    sales = [{"sku": f"S{number:04}", "price": 1} for number in range(9)]
    async with serving(by_path({"prices": pages(rows_of(10, 1)), "sales": pages(sales)})) as server:
        found = await read(at(server))
    assert [price["amount"] for price in said(found).values()] == ["1"] * 9 + ["9.05"]
    assert found.end == COMPLETE


def cut_on(page: int, answering: Answering) -> Answering:
    """Breaks off on a page."""
    return lambda asked: Reply(b"{}", 404) if asked.query["page"] == str(page) else answering(asked)


@pytest.mark.parametrize("broken", ["prices", "sales"])
async def test_a_request_that_breaks_off_states_nothing(broken: str) -> None:
    """Neither what was read of it, nor of the other one."""
    answers = {"prices": pages(rows_of(10, 1)), "sales": pages([{"sku": "S0001", "price": 1}] * 1 + rows_of(8, 1)[2:])}
    answers[broken] = cut_on(2, answers[broken])
    seen: list[object] = []
    async with serving(by_path(answers)) as server, open_snapshot(at(server), "erp") as snapshot:
        with pytest.raises(SourceFailed):
            seen += [row async for batch in snapshot.batches() for row in batch.rows]
    assert seen == []


async def test_a_row_that_repeats_on_another_page_means_that_one_is_missing() -> None:
    """The number of rows is right, but pages shifted: nothing is stated."""
    rows = rows_of(4, 3)
    rows[-1] = rows[0]
    async with serving(pages(rows)) as server:
        found = await read(configured(url=f"{server.url}/prices", **PAGED, contract=PRICES))
    assert (found.rows, found.end) == ([], End(complete=False, reason="1 of its rows repeats an earlier one"))


async def test_without_a_total_groups_are_stated_and_nothing_is_proven() -> None:
    """An endpoint that was read to its last page may be joined; only withdrawals need a proof."""
    async with serving(lambda _: Reply(orjson.dumps(rows_of(2)))) as server:
        found = await read(configured(url=f"{server.url}/prices", contract=PRICES, requests_per_second=1000.0))
    assert said(found) == whole(2)
    assert found.end == End(complete=False, reason="has neither an end marker nor a total")


# --- rebuilds and deltas, also killed ones --------------------------------------------------------

STOCK = """
[sources.erp]
domains = ["inventory"]
[sources.erp.contract]
sku = "sku"
versions = "none"
join.by = "sku"
inventory.available = { from = "records", total = "n" }
"""
FILE = (
    STOCK
    + """
[sources.erp.snapshot]
file = "FILE"
settle = 0
"""
)
DELTA = (
    STOCK
    + """
[sources.erp.delta]
url = "URL/stock?since={since}"
items = "rows"
total = "count"
paging.parameter = "page"
requests_per_second = 1000.0
"""
)
BINS = 3


def stock(skus: int, pieces: int) -> str:
    """Every SKU has that many pieces in each of three bins; those of one SKU are far apart."""
    return lines([{"sku": f"S{number:04}", "bin": each, "n": pieces} for each in range(BINS) for number in range(skus)])


async def stated(shop: pagefold.Shop) -> list[int]:
    """The stock in every statement of the log."""
    events = [each for each in await everything(shop.store) if each.topic == "inventory"]
    return [orjson.loads(event.state)["payload"]["available"] for event in events]


@pytest.mark.parametrize("trap", [1, 2, 3, 4, 5])
async def test_a_rebuild_that_is_killed_states_no_group_in_part(store_url: str, tmp_path: Path, trap: int) -> None:
    """At each of its writes; what is stated then is whole, and the next run states the rest."""
    file = tmp_path / "stock.ndjson"
    file.write_text(stock(60, 4))
    config = shop_in(tmp_path, store_url, FILE.replace("FILE", str(file)))
    async with pagefold.open(config):
        pass  # makes the store
    command = [sys.executable, "-m", "tests.support.rebuild_process", str(tmp_path / "pagefold.toml"), "erp"]
    killed = await anyio.run_process([*command, "--trap", str(trap), "--rows", "20"], check=False)
    assert killed.returncode in {-signal.SIGKILL, 0}
    async with pagefold.open(config) as shop:
        assert set(await stated(shop)) <= {4 * BINS}
        await rebuild(shop, "erp")
        assert await stated(shop) == [4 * BINS] * 60


async def test_a_delta_of_whole_groups_is_stated_when_it_was_read(store_url: str, tmp_path: Path) -> None:
    """A run that breaks off states nothing; the next one states the groups, in one statement each."""
    rows = [json.loads(line) for line in stock(10, 2).splitlines()[:-1]]
    answers: dict[str, Answering] = {"stock": cut_on(3, pages(rows))}
    async with serving(by_path(answers)) as server:
        config = shop_in(tmp_path, store_url, DELTA.replace("URL", server.url))
        async with pagefold.open(config) as shop:
            with pytest.raises(SourceFailed):
                await DeltaSync(shop).run("erp")
            assert await stated(shop) == []
            answers["stock"] = pages(rows)
            report = await DeltaSync(shop).run("erp")
            assert (report.records, report.appended) == (10, 10)
            assert await stated(shop) == [2 * BINS] * 10
            await shop.catch_up()
            page = await page_of(shop, "S0003", "de")
            assert page["inventory"]["available"] == 2 * BINS


async def test_a_group_that_was_refused_is_read_again_as_a_group(store_url: str, tmp_path: Path) -> None:
    """A dead letter has all of its records, and a repaired contract makes the statement of them."""
    rows = [{"sku": "A", "n": 1.25}, {"sku": "B", "n": 1}, {"sku": "A", "n": 1.25}, {"sku": "A", "n": 2}]
    text = DELTA.replace('total = "n"', 'total = "n", required = true')
    async with serving(
        lambda _: Reply(orjson.dumps({"rows": [*rows[:2], {**rows[2], "bin": 2}, rows[3]], "count": 4}))
    ) as server:
        config = shop_in(tmp_path, store_url, text.replace("URL", server.url))
        async with pagefold.open(config) as shop:
            report = await DeltaSync(shop).run("erp")
            assert (report.appended, report.refused) == (1, 1)
        repaired = text.replace('total = "n"', 'steps = [{ total = "n" }, { round = 0 }]')
        async with pagefold.open(shop_in(tmp_path, store_url, repaired.replace("URL", server.url))) as shop:
            [letter] = await shop.dead_letters.newest()
            assert "4.5" in letter.error
            assert await shop.dead_letters.retry(letter) == "resolved", [
                each.error for each in await shop.dead_letters.newest()
            ]
            assert sorted(await stated(shop)) == [1, 5]


MEASURE = """
import asyncio, resource, sys
from pagefold.engine.snapshots import open_snapshot
from tests.snapshots.test_joined_snapshot import PRICES
from tests.support.snapshot_fixtures import configured

async def main():
    count = 0
    async with open_snapshot(configured(file=sys.argv[1], contract=PRICES), "erp") as snapshot:
        async for batch in snapshot.batches():
            count += len(batch.rows)
        assert snapshot.end.complete, snapshot.end
    print(count, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024)

asyncio.run(main())
"""


def measured(file: Path, skus: int) -> tuple[int, int]:
    """The statements of a file with three rows a SKU, and the MiB that reading it took."""
    with file.open("w") as out:
        for place in range(3):
            for number in range(skus):
                print(f'{{"sku":"S{number}","minimum":{place + 1},"price":"1.{place}0"}}', file=out)
        print(f'{{"snapshot":"end","count":{skus * 3}}}', file=out)
    done = subprocess.run([sys.executable, "-c", MEASURE, str(file)], check=True, capture_output=True, text=True)
    count, megabytes = map(int, done.stdout.split())
    file.unlink()
    return count, megabytes


def test_memory_does_not_grow_with_the_records(tmp_path: Path) -> None:
    """A hundred times as many records take little more: they are on disk."""
    few, many = measured(tmp_path / "few.ndjson", 1_500), measured(tmp_path / "many.ndjson", 150_000)
    assert (few[0], many[0]) == (1_500, 150_000)
    assert many[1] < few[1] + 40, (few, many)
