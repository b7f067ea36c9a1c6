"""Endpoints whose rows a contract reads, whose pages are numbered, and that need headers of their own."""

import json

import orjson
import pytest

from pagefold.engine.configuration.config import Config
from pagefold.engine.errors import ConfigurationError
from pagefold.engine.events import DomainEvent
from pagefold.engine.snapshots.snapshot import End
from tests.support.fake_endpoint import Answering, Asked, Reply, Server, serving
from tests.support.snapshot_fixtures import TAKEN_AT, Read, configured, end, payload_of, prices, read

COMPLETE = End(complete=True)
ROWS = prices(25)
HEADER = "X-Shop-Access-Token"


def at(server: Server, **settings: object) -> Config:
    """A snapshot at the server, without limits of pace."""
    return configured(**{"url": f"{server.url}/prices", "requests_per_second": 1000.0} | settings)


async def taken(answering: Answering, **settings: object) -> Read:
    """The rows read of a server with these responses."""
    async with serving(answering) as server:
        return await read(at(server, **settings))


# --- contracts ----------------------------------------------------------------------------------------


async def test_records_are_read_by_the_contract() -> None:
    """Values of any JSON type; null and absent ones are left out, others ignored; a refusal names its SKU."""
    rows = [
        {"no": 4711, "rev": "7", "at": TAKEN_AT, "price": "1.50", "was": None, "incl": 1, "note": {"x": 1}},
        {"no": "B", "rev": 8.0, "at": TAKEN_AT, "price": 2.50, "tiers": [{"minQuantity": 2, "amount": "2.00"}]},
        {"no": "C", "rev": 1.5, "at": TAKEN_AT, "price": "1"},
        {"no": "D", "rev": 1, "at": TAKEN_AT, "price": "n/a"},
        b'{"no":"E","no":"F"}',
        b'{"no":"\\ud800","rev":1}',
        7,
    ]
    body = (
        b"[" + b",".join(row if isinstance(row, bytes) else json.dumps(row).encode() for row in [*rows, end(7)]) + b"]"
    )
    prices = {
        "amount": {"from": "price", "money": "EUR"},
        "compareAt": "was",
        "taxIncluded": "incl",
        "tiers": "tiers",
        "currency": {"constant": "EUR"},
    }
    contract = {"sku": "no", "sourceVersion": "rev", "occurredAt": "at", "pricing": prices}
    found = await taken(lambda _: Reply(body), contract=contract)
    assert found.end == COMPLETE
    first, second = (row.event for row in found.rows[:2])
    assert isinstance(first, DomainEvent)
    assert isinstance(second, DomainEvent)
    assert (first.sku, first.source_version) == ("4711", 7)
    assert payload_of(first) == {"amount": "1.50", "taxIncluded": True, "currency": "EUR"}
    assert (second.source_version, payload_of(second)["amount"]) == (8, "2.50")
    assert payload_of(second)["tiers"] == [{"minQuantity": 2, "amount": "2.00"}]
    assert found.refused == {
        3: "pricing.sourceVersion: `rev`: 1.5 has a fraction; `round` says how to round it (integer); SKU C",
        4: "pricing.amount: `price`: 'n/a' is not a number (money); SKU D",
        5: "the key 'no' is repeated in one object",
        6: "must not contain a lone surrogate",
        7: "pricing.sku: `no` is blank, and a value is required",
    }


async def test_a_price_that_is_a_number_is_read_digit_by_digit() -> None:
    """A number with a fraction is the amount that is written."""
    body = b'[{"sku":"A","price":19.90},{"snapshot":"end","count":1}]'
    contract = {"sku": "sku", "versions": "none", "pricing": {"amount": "price"}}
    [found] = (await taken(lambda _: Reply(body), contract=contract)).events
    assert found.payload == b'{"amount":"19.9"}'


# --- numbered pages -----------------------------------------------------------------------------------


def by_page(asked: Asked) -> Reply:
    """Ten rows per page, from page 1 on, and their number."""
    page = int(asked.query["page"])
    return Reply(orjson.dumps({"products": ROWS[page * 10 - 10 : page * 10], "count": len(ROWS)}))


def by_offset(asked: Asked) -> Reply:
    """Ten rows per page after those before, and their number."""
    offset = int(asked.query["offset"])
    return Reply(orjson.dumps({"products": ROWS[offset : offset + 10], "count": len(ROWS)}))


def without_total(asked: Asked) -> Reply:
    """The same by page, without the number of rows."""
    return Reply(orjson.dumps({"products": orjson.loads(by_page(asked).body)["products"]}))


PAGED = {"items": "products", "total": "count", "paging": {"parameter": "page"}}


@pytest.mark.parametrize(
    ("answering", "settings", "asked"),
    [
        (by_page, {}, ["1", "2", "3"]),
        (by_page, {"paging": {"parameter": "page", "first": 1, "step": 1}}, ["1", "2", "3"]),
        (by_offset, {"paging": {"parameter": "offset", "step": "rows"}}, ["0", "10", "20"]),
        (by_offset, {"paging": {"parameter": "offset", "first": 0, "step": 10}}, ["0", "10", "20"]),
    ],
    ids=["page", "first page", "offset", "offset in steps"],
)
async def test_numbered_pages_end_with_the_total(
    answering: Answering, settings: dict[str, object], asked: list[str]
) -> None:
    """Every row is read once, numbered; no page after the last one is requested; each page can be resumed."""
    async with serving(answering) as server:
        config = at(server, **(PAGED | settings))
        parsed = await read(config)
        assert [next(iter(each.query.values())) for each in server.asked] == asked
        assert [each.sku for each in parsed.events] == [row["sku"] for row in ROWS]
        assert [row.number for row in parsed.rows] == list(range(1, 26))
        assert parsed.end == COMPLETE
        for number, batch in enumerate(parsed.batches, 1):
            rest = await read(config, batch.cursor)
            assert rest.rows == [row for later in parsed.batches[number:] for row in later.rows]
            assert rest.end == COMPLETE


async def test_numbered_pages_without_a_total_end_with_an_empty_one() -> None:
    """All rows are read, but nothing shows that they are complete."""
    found = await taken(without_total, **PAGED)
    assert len(found.events) == 25
    assert found.end == End(complete=False, reason="has neither an end marker nor a total")


async def test_a_server_that_ignores_the_number_of_a_page() -> None:
    """It would send its first page for ever: the snapshot is incomplete."""
    found = await taken(lambda _: Reply(orjson.dumps({"products": ROWS[:10]})), **PAGED)
    assert found.end is not None
    assert "a page has the rows of the page before it" in found.end.reason


async def test_the_total_of_a_shop_in_its_header() -> None:
    """WordPress has a header of its own for the number of all rows."""
    reply = Reply(orjson.dumps(ROWS), headers={"x-wp-total": "25"})
    assert (await taken(lambda _: reply, paging={"parameter": "page"})).end == COMPLETE


# --- headers ------------------------------------------------------------------------------------------


async def test_headers_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """They are sent to the endpoint alone; a missing or invalid one is an error that does not show it."""
    async with serving(lambda _: Reply(orjson.dumps(ROWS), headers={"x-total-count": "25"})) as server:
        config = at(server, header_variables={HEADER: "SHOP_TOKEN"})
        for value in ("", "Größe"):
            monkeypatch.setenv("SHOP_TOKEN", value)
            with pytest.raises(ConfigurationError) as caught:
                await read(config)
            assert caught.value.key == f"sources.erp.snapshot.header_variables.{HEADER}"
            assert not value or value not in str(caught.value)
        monkeypatch.setenv("SHOP_TOKEN", "s3cr3t key")
        assert (await read(config)).end == COMPLETE
        assert [asked.headers[HEADER.lower()] for asked in server.asked] == ["s3cr3t key"]


async def test_another_host_gets_no_headers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Even if pages may be there."""
    monkeypatch.setenv("SHOP_TOKEN", "s3cr3t")
    async with serving(lambda _: Reply(b"[]")) as other:

        def leading(_asked: Asked) -> Reply:
            return Reply(orjson.dumps(ROWS[:1]), headers={"link": f"<{other.url}/next>; rel=next"})

        async with serving(leading) as server:
            settings = {"header_variables": {HEADER: "SHOP_TOKEN"}, "hosts": [other.url]}
            await read(at(server, **settings))
            assert HEADER.lower() in server.asked[0].headers
            assert HEADER.lower() not in other.asked[0].headers
