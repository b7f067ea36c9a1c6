"""CDC over HTTP: Debezium's messages are appended, and columns that they omit keep their values."""

import json
from collections.abc import AsyncIterator
from typing import Any

import httpx2
import pytest

from pagefold import Config, Shop
from tests.support.debezium_messages import CONTRACT, ROW, WORD, envelope
from tests.support.http_clients import client_of, problem_in, service_of
from tests.support.shared_data import data_file
from tests.support.small_shop import Document, append, document, event, everything, section

CDC = "/v1/cdc/erp"
PRICED = ROW | {"item_no": "TSHIRT-M", "tax": "standard"}


@pytest.fixture
def config(store_url: str) -> Config:
    """A shop whose prices and customers are tables."""
    parsed = document(store_url)
    people = {"sku": "id", "catalog": {"family": "first_name"}}
    parsed["sources"]["erp"] = {"domains": ["pricing"], "contract": CONTRACT, "cdc": {}}
    parsed["sources"]["crm"] = {"domains": ["catalog"], "cdc": {"contract": people}}
    return Config.parse(parsed, store=store_url)


@pytest.fixture
async def client(shop: Shop) -> AsyncIterator[httpx2.AsyncClient]:
    """Debezium, with the token of the source erp."""
    async with client_of(service_of(shop, None), "erp") as opened:
        yield opened


async def post(client: httpx2.AsyncClient, *messages: object, url: str = CDC) -> httpx2.Response:
    """The response to some messages, one per line."""
    lines = b"".join(json.dumps(message).encode() + b"\n" for message in messages)
    return await client.post(url, content=lines, headers={"content-type": "application/x-ndjson"})


def outcomes_in(answer: httpx2.Response) -> tuple[int, list[str]]:
    """The status and the outcomes."""
    return answer.status_code, [each["outcome"] for each in answer.json()["results"]]


def written(lsn: int, **row: object) -> Document:
    """A row that was changed."""
    return envelope("u", None, PRICED | row, lsn=lsn)


async def price_of(shop: Shop) -> Any:  # noqa: ANN401  # JSON
    """The price on the page."""
    await shop.catch_up()
    return await section(shop, "pricing")


async def test_rows_are_appended(shop: Shop, client: httpx2.AsyncClient) -> None:
    """Created, changed and deleted, in an array or alone; repeated, they change nothing."""
    messages = [envelope("c", None, PRICED, lsn=1), written(2, price="9.90"), envelope("d", PRICED, None, lsn=3), None]
    answer = await client.post(CDC, json=messages)
    assert outcomes_in(answer) == (202, ["appended", "appended", "appended", "ignored"])
    assert outcomes_in(await post(client, *messages)) == (202, ["duplicate", "duplicate", "duplicate", "ignored"])
    assert outcomes_in(await client.post(CDC, json={"schema": None, "payload": written(4)})) == (202, ["appended"])
    assert (await price_of(shop))["amount"] == "149.90"


async def test_an_unchanged_column_keeps_its_value(shop: Shop, client: httpx2.AsyncClient) -> None:
    """The newest event at or below the version counts, in the log or earlier in the request."""
    assert outcomes_in(await post(client, written(1, tax="low"))) == (202, ["appended"])
    first = await post(client, written(5, tax=WORD, price="5.00"), written(6, tax="high"), written(7, tax=WORD))
    assert outcomes_in(first) == (202, ["appended"] * 3)
    assert (await price_of(shop))["taxClass"] == "high"
    late = written(3, tax=WORD, price="3.00")
    assert outcomes_in(await post(client, late)) == (202, ["appended"])
    assert outcomes_in(await post(client, late, written(7, tax=WORD), written(5, tax=WORD, price="5.00"))) == (
        202,
        ["duplicate"] * 3,
    )
    said = {each.originator_version: json.loads(each.state)["payload"] for each in await everything(shop.store)}
    assert {version: payload["taxClass"] for version, payload in said.items()} == {
        1: "low",
        3: "low",
        5: "low",
        6: "high",
        7: "high",
    }


async def test_an_unknown_unchanged_column_is_an_error(shop: Shop, client: httpx2.AsyncClient) -> None:
    """Without an earlier event, or after a withdrawal or a rejected one, an unchanged column is unknown."""
    answer = await post(client, written(2, tax=WORD))
    assert outcomes_in(answer) == (202, ["kept"])
    assert answer.json()["results"][0]["path"] == "payload.taxClass"
    bad = written(1, price="cheap", tax="x")
    assert outcomes_in(await post(client, bad, written(2, tax=WORD))) == (202, ["kept"] * 2)
    assert outcomes_in(await post(client, envelope("d", PRICED, None, lsn=1), written(2, tax=WORD)))[1] == [
        "appended",
        "kept",
    ]
    assert {(each.originator_version, each.originator_id) for each in await shop.dead_letters.newest()} == {
        (1, "TSHIRT-M/*/pricing/erp"),
        (2, "TSHIRT-M/*/pricing/erp"),
    }


async def test_versions_out_of_range_are_dead_letters(shop: Shop, client: httpx2.AsyncClient) -> None:
    """Also if a column is unchanged: no version is too large for a dead letter."""
    for lsn in (-1, 2**53, 2**63, 10**30):
        for row in (written(lsn, tax=WORD), written(lsn)):
            assert outcomes_in(await post(client, row)) == (202, ["kept"])
    assert {each.originator_id for each in await shop.dead_letters.newest()} == {"///erp"}
    assert await shop.dead_letters.count() == 8


async def test_an_event_that_came_another_way_counts(shop: Shop, client: httpx2.AsyncClient) -> None:
    """The head counts, whichever way it came."""
    await append(shop, event("pricing", {"currency": "EUR", "amount": "1.00", "taxClass": "low"}))
    assert outcomes_in(await post(client, written(9, tax=WORD))) == (202, ["appended"])
    assert (await price_of(shop))["taxClass"] == "low"


async def test_mixed_and_invalid_messages(client: httpx2.AsyncClient) -> None:
    """Each message has its own outcome; a tombstone is ignored, with the reason."""
    assert outcomes_in(await post(client, written(1), {"op": "x", "source": {}}, 7)) == (
        202,
        ["appended", "kept", "kept"],
    )
    for tombstone in (b"null", b'{"schema":null,"payload":null}', b'{"key":{"id":1},"value":null}'):
        answer = await client.post(CDC, content=tombstone, headers={"content-type": "application/json"})
        assert outcomes_in(answer) == (202, ["ignored"])
    answer = await client.post(CDC, content=b"{", headers={"content-type": "application/json"})
    assert outcomes_in(answer) == (202, ["kept"])


async def test_a_token_is_for_its_tables(shop: Shop, client: httpx2.AsyncClient) -> None:
    """403 for another source's tables, 404 for a source without tables, 401 without a token."""
    assert problem_in(await post(client, written(1), url="/v1/cdc/crm"))["status"] == 403
    async with client_of(service_of(shop, None), "all") as everybody:
        for source in ("pim", "nobody", "%00"):
            assert problem_in(await post(everybody, written(1), url=f"/v1/cdc/{source}"))["status"] == 404
    async with client_of(service_of(shop, None)) as anonymous:
        assert problem_in(await post(anonymous, written(1)))["status"] == 401
    assert await everything(shop.store) == []


async def test_the_examples_of_debezium(shop: Shop) -> None:
    """Examples from its documentation: a row created, changed and deleted; a table truncated; and a message."""
    names = ("c_1", "u_2", "d_3", "t_4", "m_5")
    bodies = [data_file("formats", "debezium", f"postgres_{name}.json").read_bytes() for name in names]
    async with client_of(service_of(shop, None), "all") as client:
        outcomes = [
            outcomes_in(await client.post("/v1/cdc/crm", content=body, headers={"content-type": "application/json"}))
            for body in bodies
        ]
    assert outcomes == [
        (202, ["appended"]),
        (202, ["conflict"]),  # the documentation gives both of them the same LSN
        (202, ["appended"]),
        (202, ["ignored"]),
        (202, ["ignored"]),
    ]
