"""Naughty strings in paths, queries and bodies: a well-formed 2xx or 4xx, and accepted values come back."""

from urllib.parse import quote

import httpx2
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

import pagefold
from pagefold import Shop
from tests.support.command_line import on_sqlite
from tests.support.http_clients import client_of, service_of
from tests.support.shared_data import data_file
from tests.support.small_shop import catalog, configured, say

PLACES = (
    "/v1/pages/web-de/{}",
    "/v1/pages/{}/A",
    "/v1/pages/{}",
    "/v1/skus/{}/history",
    "/v1/skus/{}/receipts",
    "/v1/targets/{}",
    "/v1/skus/A/history?after={}",
    "/{}",
)


@pytest.fixture
def naughty() -> list[str]:
    """Strings that break software."""
    strings: list[str] = msgspec.json.decode(data_file("naughty", "blns.json").read_bytes())
    assert len(strings) > 500
    return strings


def judge(answer: httpx2.Response) -> None:
    """It is no 5xx, and has the form of all answers."""
    assert 200 <= answer.status_code < 500, answer.text
    assert answer.headers["content-type"].startswith(("application/json", "application/problem+json"))


async def test_naughty_strings_in_every_place(shop: Shop, naughty: list[str]) -> None:
    """As SKU, channel, cursor or route, encoded as a client should: found, not found or refused."""
    async with client_of(service_of(shop, reads_open=True)) as client:
        for text in naughty:
            for place in PLACES:
                judge(await client.get(place.format(quote(text, safe="").replace(".", "%2E"))))
            judge(await client.post("/v1/pages:batchGet", json={"channel": "web-de", "skus": [text]}))


async def test_naughty_skus_come_back(shop: Shop, naughty: list[str]) -> None:
    """Every accepted SKU has its page at its address, and under its name in a batch."""
    taken = [text for text in naughty if (await shop.append([catalog("a", sku=text)]))[0].outcome == "appended"]
    assert len(taken) > 300
    await shop.catch_up()
    async with client_of(service_of(shop, reads_open=True)) as client:
        found = (await client.post("/v1/pages:batchGet", json={"channel": "web-de", "skus": taken[:500]})).json()
        assert found["missing"] == []
        for text in taken:
            answer = await client.get(f"/v1/pages/web-de/{quote(text, safe='').replace('.', '%2E')}")
            assert answer.content == await shop.pages.get_json(text, "web-de")


@on_sqlite
@given(path=st.binary(max_size=40), query=st.binary(max_size=40), place=st.sampled_from(PLACES))
async def test_any_bytes_are_answered(store_url: str, path: bytes, query: bytes, place: str) -> None:
    """Bytes that a parser accepts, in a path or a query, encoded or not."""
    async with pagefold.open(configured(store_url)) as shop, client_of(service_of(shop, reads_open=True)) as client:
        target = place.format(quote(path, safe=":@!$&'()*+,;="))
        mark = "&" if "?" in target else "?"
        judge(await client.get(f"{target}{mark}{quote(query, safe='=&+')}"))
        judge(await client.post("/v1/pages:batchGet", content=query, headers={"content-type": "application/json"}))


async def test_a_page_is_found_beside_an_odd_query(shop: Shop) -> None:
    """The query of a page is ignored: caches add to it."""
    await say(shop, catalog("a"))
    async with client_of(service_of(shop, reads_open=True)) as client:
        assert (await client.get("/v1/pages/web-de/TSHIRT-M?utm=%FF&&=")).status_code == 200
