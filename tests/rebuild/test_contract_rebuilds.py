"""Rebuilds of snapshots that a contract reads: versions, sources, end markers, refusals, and paths that are missing."""

from datetime import datetime
from pathlib import Path

import orjson
import pytest

import pagefold
from pagefold import DomainEvent
from pagefold.engine.errors import SourceFailed
from tests.support.exports import at, page_of, refusals_of, shop_in
from tests.support.fake_endpoint import Asked, Reply, serving
from tests.support.rebuild_fixtures import rebuild

RENAMED = """
[sources.x]
domains = ["catalog"]
snapshot = {{ file = "{file}", ends = "file", settle = 0 }}
contract = {{ sku = "code", sourceVersion = "rev", occurredAt = "@taken", catalog.attributes.name = "title" }}
"""


async def test_a_path_that_no_record_has_changes_nothing(store_url: str, tmp_path: Path) -> None:
    """The run stops before it compares, and says what records have instead; the run is recorded as failed."""
    file = tmp_path / "rows.ndjson"
    config = shop_in(tmp_path, store_url, RENAMED.format(file=file))
    async with pagefold.open(config) as shop:
        file.write_text('{"code":"A","rev":1,"title":"Tee"}\n{"code":"B","rev":1,"title":"Mug"}\n')
        assert (await rebuild(shop, "x")).counts.missing == 2
        before = await shop.store.log.end()
        file.write_text('{"code":"A","rev":2,"titel":"Tea"}\n{"code":"C","rev":1,"titel":"Cup"}\n')
        with pytest.raises(SourceFailed, match=r"no record has `title`.*did you mean `titel`.*code, rev, titel"):
            await rebuild(shop, "x")
        assert at(await page_of(shop, "A", "de"), "catalog.attributes.name") == "Tee"
        assert await page_of(shop, "C", "de") is None
        events = await shop.store.records.notifications(before + 1, 2**53, (), 100)
        assert not [each for each in events if each.topic == "catalog"]


async def test_a_filter_on_a_path_that_no_record_has_withdraws_nothing(store_url: str, tmp_path: Path) -> None:
    """Every record would be left out, and everything be an orphan."""
    file = tmp_path / "rows.ndjson"
    text = RENAMED.replace("sku =", "only = {{ kind = [1] }}, sku =").format(file=file)
    config = shop_in(tmp_path, store_url, text)
    async with pagefold.open(config) as shop:
        file.write_text('{"code":"A","rev":1,"title":"Tee","kind":1}\n{"snapshot":"end","count":1}\n')
        assert (await rebuild(shop, "x")).counts.missing == 1
        file.write_text('{"code":"A","rev":1,"title":"Tee","typ":1}\n{"snapshot":"end","count":1}\n')
        with pytest.raises(SourceFailed, match="no record has `kind`"):
            await rebuild(shop, "x")


def said(moment: str, name: str) -> DomainEvent:
    """What a webhook says of a product, at the version of its moment."""
    occurred_at = datetime.fromisoformat(moment)
    return DomainEvent(
        type="catalog",
        sku="TEE",
        channel="*",
        source="x",
        source_version=int(occurred_at.timestamp()) * 1_000_000,
        occurred_at=occurred_at,
        payload={"attributes": {"name": name}},
    )


async def test_an_export_without_versions_beside_events_with_them(store_url: str, tmp_path: Path) -> None:
    """The moment of the export is the version: newer than what was sent before it, and older than what came later."""
    file = tmp_path / "products.csv"
    contract = 'sku = "sku", versions = "moment", sourceVersion = "@taken", catalog.attributes.name = "name"'
    source = f'[sources.x]\ndomains = ["catalog"]\nsnapshot.file = "{file}"\ncontract = {{ {contract} }}\n'
    async with pagefold.open(shop_in(tmp_path, store_url, source)) as shop:
        file.write_text("sku,name\n#begin,2026-01-02T02:00:00Z\nTEE,B\n#end,1\n")
        for moment, name, newest in (("2026-01-01T00:00:00Z", "A", "B"), ("2026-01-03T00:00:00Z", "C", "C")):
            await shop.append([said(moment, name)])
            await rebuild(shop, "x")
            assert at(await page_of(shop, "TEE", "de"), "catalog.attributes.name") == newest


STOCK = """
[sources.hub]
domains = ["inventory"]
snapshot = {{ file = "{file}", settle = 0, duration = 0 }}
[sources.north]
domains = ["inventory"]
[sources.south]
domains = ["inventory"]
[sources.pim]
domains = ["catalog"]
[sources.hub.contract]
sku = "sku"
versions = "none"
source = {source}
inventory.available = "qty"
"""
BY_TABLE = '{ from = "place", lookup = { values = { 1 = "north", 2 = "south" } } }'


@pytest.mark.parametrize(("source", "withdrawn"), [(BY_TABLE, {"north"}), ('"place"', set())], ids=["table", "any"])
async def test_rows_of_several_sources(source: str, withdrawn: set[str], store_url: str, tmp_path: Path) -> None:
    """They are compared with the streams of their sources; an absent one is withdrawn if the contract names the source.

    A source that has not the domain, or is none, is a refusal with its value.
    """
    file = tmp_path / "stock.csv"
    config = shop_in(tmp_path, store_url, STOCK.format(file=file, source=source))
    one, two = ("1", "2") if source == BY_TABLE else ("north", "south")
    async with pagefold.open(config) as shop:
        file.write_text(f"sku,place,qty\nA,{one},1\nA,{two},2\nB,{one},3\n#end,3\n")
        assert (await rebuild(shop, "hub")).counts.missing == 3
        locations = at(await page_of(shop, "A", "de"), "inventory.locations")
        assert {each["source"]: each["available"] for each in locations} == {"north": 1, "south": 2}
        file.write_text(f"sku,place,qty\nA,{one},5\nA,{two},2\n#end,2\n")
        report = await rebuild(shop, "hub")
        assert (report.counts.changed, report.counts.equal, report.counts.withdrawn) == (1, 1, len(withdrawn))
        assert at(await page_of(shop, "A", "de"), "inventory.available") == 7
        assert (at(await page_of(shop, "B", "de"), "inventory") is None) == bool(withdrawn)
        file.write_text(f"sku,place,qty\nA,{one},5\nA,pim,2\n#end,2\n")
        report = await rebuild(shop, "hub")
        assert (report.counts.refused, report.counts.withdrawn) == (1, 0)
        assert "pim" in str(report.refusals[0])


VERSIONLESS = """
[sources.x]
domains = ["pricing"]
snapshot = {{ file = "{file}", settle = 0, duration = 0 }}
contract = {{ sku = "sku", versions = "none", pricing = {{ amount = "price", currency = {{ constant = "EUR" }} }} }}
"""


async def test_records_without_versions(store_url: str, tmp_path: Path) -> None:
    """Content decides: equal, changed, back to what it was, gone, and there again: each is the next revision."""
    file = tmp_path / "prices.csv"
    config = shop_in(tmp_path, store_url, VERSIONLESS.format(file=file))
    steps = [
        ({"A": "1.00", "B": "2.00"}, {"missing": 2}, "1.00"),
        ({"A": "1.00", "B": "2.00"}, {"equal": 2}, "1.00"),
        ({"A": "3.00", "B": "2.00"}, {"changed": 1, "equal": 1}, "3.00"),
        ({"A": "1.00", "B": "2.00"}, {"changed": 1, "equal": 1}, "1.00"),
        ({"B": "2.00"}, {"withdrawn": 1, "equal": 1}, None),
        ({"B": "2.00"}, {"equal": 1}, None),
        ({"A": "1.00", "B": "2.00"}, {"changed": 1, "equal": 1}, "1.00"),
        ({"A": "1.00", "B": "2.00"}, {"equal": 2}, "1.00"),
    ]
    async with pagefold.open(config) as shop:
        for prices, counts, amount in steps:
            rows = [f"{sku},{price}" for sku, price in prices.items()]
            file.write_text("\n".join(["sku,price", *rows, f"#end,{len(rows)}"]))
            found = (await rebuild(shop, "x")).counts.as_dict()
            assert {name: found.get(name) for name in counts} == counts
            assert at(await page_of(shop, "A", "de"), "pricing.amount") == amount
        [head] = await shop.store.log.heads(["A/*/pricing/x"])
        assert (head.originator_version, head.revision) == (0, 4)


@pytest.mark.parametrize(
    ("rows", "count", "complete"),
    [
        (["A,1", "B,2", "C,3"], 3, True),
        (["A,1", "B,2", "C,3"], 4, False),
        (["A,1", "A,1", "B,2", "C,3"], 3, True),
        (["A,1", "A,1", "B,2", "C,3"], 4, False),
        (["A,1", ",9", ",9", "B,2", "C,3"], 4, True),
        (["A,1", ",9", ",9", "B,2", "C,3"], 5, False),
    ],
)
async def test_an_end_marker_counts_rows_and_not_statements(
    rows: list[str],
    count: int,
    complete: bool,  # noqa: FBT001  # a parameter
    store_url: str,
    tmp_path: Path,
) -> None:
    """Each row makes two statements, or none; a row that equals another does not count."""
    file = tmp_path / "rows.csv"
    contract = """
[[pricing]]
channel = { constant = "de" }
amount = "price"
currency = { constant = "EUR" }
[[pricing]]
amount = "price"
currency = { constant = "EUR" }
"""
    source = f'[sources.x]\ndomains = ["pricing"]\nsnapshot = {{ file = "{file}", settle = 0, duration = 0 }}\n'
    text = f'{source}[sources.x.contract]\nsku = "sku"\nversions = "none"\n'
    tables = contract.replace("[[pricing]]", '[[sources.x.contract.pricing]]\nonly = { price = ["1", "2", "3"] }')
    async with pagefold.open(shop_in(tmp_path, store_url, text + tables)) as shop:
        file.write_text("sku,price\nGONE,1\n#end,1\n")
        await rebuild(shop, "x")
        file.write_text("\n".join(["sku,price", *rows, f"#end,{count}"]))
        report = await rebuild(shop, "x")
        assert (report.complete, report.counts.withdrawn) == (complete, 2 if complete else 0)
        assert report.counts.left_out == 2 * sum(row.startswith(",") for row in rows)


async def test_a_refusal_does_not_withdraw_its_stream(store_url: str, tmp_path: Path) -> None:
    """Its SKU is known: the newest good price stays, and others that are gone are withdrawn all the same."""
    file = tmp_path / "prices.csv"
    config = shop_in(tmp_path, store_url, VERSIONLESS.format(file=file))
    async with pagefold.open(config) as shop:
        file.write_text("sku,price\nA,1.00\nB,2.00\nC,3.00\n#end,3\n")
        await rebuild(shop, "x")
        file.write_text("sku,price\nA,n/a\nB,2.00\n#end,2\n")
        report = await rebuild(shop, "x")
        assert (report.counts.refused, report.counts.withdrawn) == (1, 1)
        assert at(await page_of(shop, "A", "de"), "pricing.amount") == "1.00"
        assert at(await page_of(shop, "C", "de"), "pricing") is None
        [(row, reason)] = refusals_of(report)
        assert row == 1
        start = f"pricing.amount: `price`: 'n/a' is not a number (decimal); SKU A, {tmp_path}/pagefold.toml:"
        assert reason.startswith(start)


async def test_rows_of_another_shop_hinder_nothing(store_url: str, tmp_path: Path) -> None:
    """A channel that is none here is counted, and what is gone is withdrawn all the same."""
    file = tmp_path / "prices.csv"
    text = VERSIONLESS.format(file=file).replace('versions = "none"', 'versions = "none", channel = "shop"')
    async with pagefold.open(shop_in(tmp_path, store_url, text)) as shop:
        file.write_text("sku,shop,price\nA,de,1.00\nB,de,2.00\n#end,2\n")
        await rebuild(shop, "x")
        file.write_text("sku,shop,price\nA,de,1.00\nA,fr,1.00\n#end,2\n")
        report = await rebuild(shop, "x")
        assert (report.complete, report.counts.elsewhere, report.counts.withdrawn) == (True, 1, 1)
        assert report.counts.refused == 0
        assert at(await page_of(shop, "B", "de"), "pricing") is None


async def test_the_later_row_of_one_version_counts_where_the_contract_says_so(store_url: str, tmp_path: Path) -> None:
    """With `tie = "replace"`; else the first row counts, and the other is refused."""
    file = tmp_path / "prices.csv"
    file.write_text("sku,rev,price\nA,7,1.00\nA,7,2.00\n#end,2\n")
    for tie, amount, refused in (("replace", "2.00", 0), ("keep", "1.00", 1)):
        contract = f'sku = "sku", sourceVersion = "rev", tie = "{tie}"'
        text = VERSIONLESS.format(file=file).replace('sku = "sku", versions = "none"', contract)
        async with pagefold.open(shop_in(tmp_path, store_url, text)) as shop:
            report = await rebuild(shop, "x")
            assert report.counts.refused == refused
            assert at(await page_of(shop, "A", "de"), "pricing.amount") == amount


async def test_an_endpoint_with_shifting_pages(store_url: str, tmp_path: Path) -> None:
    """A record that comes twice, changed or not, means that another was skipped: nothing is withdrawn."""
    lists = [["A", "B", "C", "D"], ["A", "B", "C", "D"], ["A", "B", "B", "D"]]

    def answer(asked: Asked) -> Reply:
        page = int(asked.query["page"])
        rows = [{"sku": sku, "price": page} for sku in lists[0][page * 2 - 2 : page * 2]]
        return Reply(orjson.dumps({"rows": rows, "total": 4}))

    async with serving(answer) as server:
        source = VERSIONLESS.replace(
            'file = "{file}", settle = 0, duration = 0',
            f'url = "{server.url}", settle = 0, '
            'items = "rows", total = "total", paging = {{ parameter = "page" }}, requests_per_second = 1000',
        )
        async with pagefold.open(shop_in(tmp_path, store_url, source.format())) as shop:
            for complete in (True, True, False):
                report = await rebuild(shop, "x")
                assert report.complete is complete
                lists.append(lists.pop(0))
            assert "repeats an earlier one" in report.reason
