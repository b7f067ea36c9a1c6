"""Batches of pages, the list of a channel, and the history of an SKU over HTTP."""

from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import quote

import httpx2
import pytest

from pagefold import Shop
from pagefold.engine.http.routes.pages import MAX_SKUS
from tests.support.http_clients import client_of, problem_in, service_of
from tests.support.small_shop import SKU, catalog, event, price, say, stock, withdrawn

BATCH = "/v1/pages:batchGet"
HISTORY = f"/v1/skus/{SKU}/history"


@pytest.fixture
async def client(shop: Shop) -> AsyncIterator[httpx2.AsyncClient]:
    """A client with every scope."""
    async with client_of(service_of(shop)) as opened:
        yield opened


def asked(*skus: str, channel: str = "web-de") -> dict[str, object]:
    """A request for some pages."""
    return {"channel": channel, "skus": list(skus)}


# --- several pages --------------------------------------------------------------------------------


async def test_pages_are_found_or_missing(shop: Shop, client: httpx2.AsyncClient) -> None:
    """A page that exists has the bytes of the single read; one that is absent or hidden is missing, once."""
    await say(shop, *(catalog("a", sku=sku) for sku in ("A", "B/C", "D")), price("1.00", sku="B/C"))
    await say(shop, withdrawn("catalog", version=2, sku="D"))
    answer = await client.post(BATCH, json=asked("B/C", "x", "A", "D", "A", "x"))
    assert answer.status_code == 200
    assert answer.headers["cache-control"] == "no-store"
    document = answer.json()
    assert list(document["found"]) == ["B/C", "A"]
    assert document["missing"] == ["x", "D"]
    for sku in document["found"]:
        body = await shop.pages.get_json(sku, "web-de")
        assert body is not None
        assert body in answer.content


async def test_pages_have_their_requested_names(shop: Shop, client: httpx2.AsyncClient) -> None:
    """An SKU in another normal form finds its page under the requested name."""
    await say(shop, catalog("a", sku="Ä"))
    found = (await client.post(BATCH, json=asked("A\u0308", "Ä", " "))).json()
    assert set(found["found"]) == {"A\u0308", "Ä"}
    assert {page["sku"] for page in found["found"].values()} == {"Ä"}
    assert found["missing"] == [" "]


async def test_a_batch_has_a_maximum_size(shop: Shop, client: httpx2.AsyncClient) -> None:
    """Five hundred are answered; one more is refused."""
    await say(shop, *(catalog("a", sku=f"S{number}") for number in range(0, MAX_SKUS, 5)))
    answer = await client.post(BATCH, json=asked(*(f"S{number}" for number in range(MAX_SKUS))))
    assert len(answer.json()["found"]) == MAX_SKUS / 5
    assert len(answer.json()["missing"]) == MAX_SKUS * 4 / 5
    answer = await client.post(BATCH, json=asked(*(f"S{number}" for number in range(MAX_SKUS + 1))))
    assert problem_in(answer)["errors"][0]["path"] == "skus"


@pytest.mark.parametrize(
    ("body", "status", "path"),
    [
        ({"channel": "web-de"}, 422, "skus"),
        ({"channel": "web-de", "skus": []}, 422, "skus"),
        ({"channel": "web-de", "skus": [7]}, 422, "skus[0]"),
        ({"channel": "web-de", "skus": ["A"], "limit": 1}, 422, "limit"),
        ([], 422, ""),
        ({"channel": "nowhere", "skus": ["A"]}, 404, None),
    ],
)
async def test_an_invalid_batch_is_refused(
    client: httpx2.AsyncClient, body: object, status: int, path: str | None
) -> None:
    """The problem names the path of the error."""
    answer = await client.post(BATCH, json=body)
    assert answer.status_code == status
    problem = problem_in(answer)
    if path is not None:
        assert [fault["path"] for fault in problem["errors"]] == [path]


@pytest.mark.parametrize(
    ("body", "headers", "status"),
    [
        (b"{", {}, 400),
        (b"", {}, 400),
        (b"\xff", {}, 400),
        (b'{"channel":"web-de","channel":"web-de","skus":["A"]}', {}, 400),
        (b"[" * 100_000, {}, 422),
        (b"{}", {"content-type": "text/plain"}, 415),
        (b"{}", {"content-type": ""}, 415),
        (b"{}", {"content-encoding": "gzip"}, 415),
        (b"{}", {"content-encoding": "identity"}, 422),
        (b" " * 1_048_577, {}, 413),
    ],
)
async def test_bodies_have_a_form(
    client: httpx2.AsyncClient, body: bytes, headers: dict[str, str], status: int
) -> None:
    """No JSON, another media type, compressed, too large: each has its own status."""
    answer = await client.post(
        BATCH, content=body, headers={"content-type": "application/json; charset=utf-8"} | headers
    )
    assert problem_in(answer)["status"] == status


async def test_a_chunked_body_is_counted(client: httpx2.AsyncClient) -> None:
    """Without a length, the chunks are counted as they arrive."""

    async def pieces() -> AsyncIterator[bytes]:
        for _ in range(2_000):
            yield b" " * 1_000

    answer = await client.post(BATCH, content=pieces(), headers={"content-type": "application/json"})
    assert answer.status_code == 413


# --- the list of a channel ------------------------------------------------------------------------


async def walk(client: httpx2.AsyncClient, path: str, **parameters: Any) -> list[Any]:  # noqa: ANN401  # JSON
    """All items of a list, and no more per call than requested."""
    items: list[Any] = []
    while True:
        document = (await client.get(path, params=parameters)).json()
        assert len(document["items"]) <= parameters.get("limit", 100)
        items += document["items"]
        if document["next"] is None:
            return items
        parameters["after"] = document["next"]


async def test_the_pages_of_a_channel_are_listed(shop: Shop, client: httpx2.AsyncClient) -> None:
    """By SKU, chunk by chunk: the state of each, and each exactly once."""
    skus = [f"S{number}" for number in range(7)]
    await say(shop, *(catalog("a", sku=sku) for sku in skus), catalog("b", sku="T", channel="web-us"))
    await say(shop, price("1.00", sku="S1"), stock(1, sku="S1"), withdrawn("catalog", version=2, sku="S2"))
    for limit in (1, 2, 3, 7, 100):
        items = await walk(client, "/v1/pages/web-de", limit=limit)
        assert [item["sku"] for item in items] == skus
    assert [item["ready"] for item in items] == [False, True, False, False, False, False, False]
    assert [item["status"] for item in items].count("disabled") == 1
    page = await shop.pages.get("S1", "web-de")
    assert page is not None
    assert items[1]["readiness"] == page.readiness
    assert items[1]["updatedAt"] == page.updated_at.isoformat().replace("+00:00", "Z")


@pytest.mark.parametrize("looked_at", [1, 2, 2_000])
async def test_a_list_has_what_matches(
    shop: Shop, client: httpx2.AsyncClient, monkeypatch: pytest.MonkeyPatch, looked_at: int
) -> None:
    """Ready or not, live or disabled: all that match and no others, however few are read per step."""
    monkeypatch.setattr("pagefold.engine.http.routes.pages.MAX_EXAMINED", looked_at)
    for sku in ("A", "B", "C", "D"):
        await say(shop, catalog("a", sku=sku))
    await say(shop, price("1.00", sku="B"), stock(1, sku="B"), price("1.00", sku="C"), stock(1, sku="C"))
    await say(shop, withdrawn("catalog", version=2, sku="D"))
    of = {"ready": "true"}, {"ready": "false"}, {"status": "disabled"}, {"status": "live", "ready": "false"}
    found = [[item["sku"] for item in await walk(client, "/v1/pages/web-de", limit=1, **each)] for each in of]
    assert found == [["B", "C"], ["A", "D"], ["D"], ["A"]]


@pytest.mark.parametrize(
    "query", ["limit=0", "limit=501", "limit=x", "ready=maybe", "ready=true&ready=false", "colour=red", "after=%FF"]
)
async def test_parameters_have_a_form(client: httpx2.AsyncClient, query: str) -> None:
    """A parameter that is invalid, unknown or repeated is refused, and named if possible."""
    problem = problem_in(await client.get(f"/v1/pages/web-de?{query}"))
    assert problem["status"] == 422
    assert problem["errors"][0]["path"] in (query.partition("=")[0], "")


async def test_an_unknown_channel_has_no_list(client: httpx2.AsyncClient) -> None:
    """It is not found, which is not the same as empty."""
    assert (await client.get("/v1/pages/web-fr")).status_code == 404
    assert (await client.get("/v1/pages/web-de")).json() == {"items": [], "next": None}


# --- the history of an SKU ------------------------------------------------------------------------


async def four_streams(shop: Shop) -> None:
    """A history of four streams."""
    await say(shop, *(price(f"{version}.00", version=version) for version in range(1, 6)))
    await say(
        shop, catalog("a"), catalog("b", version=2), price("9.00", channel="web-de"), stock(3), catalog("c", sku="X")
    )
    await say(shop, withdrawn("pricing", version=6))


@pytest.mark.parametrize("limit", [1, 2, 3, 100])
async def test_the_history_is_the_librarys(shop: Shop, client: httpx2.AsyncClient, limit: int) -> None:
    """In chunks of any size it equals the library's: every entry once, with the same changes and heads."""
    await four_streams(shop)
    entries = [entry async for entry in shop.history(SKU)]
    items = await walk(client, HISTORY, limit=limit)
    assert [(item["position"], item["head"], item["withdrawn"]) for item in items] == [
        (entry.position, entry.head, entry.withdrawn) for entry in entries
    ]
    assert [[(each["path"], each["before"], each["after"]) for each in item["changes"]] for item in items] == [
        [(each.path, each.before, each.after) for each in entry.changes] for entry in entries
    ]


@pytest.mark.parametrize("bytes_", [0, 500, 10**9])
async def test_a_page_of_a_history_is_bounded_in_bytes(
    shop: Shop, client: httpx2.AsyncClient, monkeypatch: pytest.MonkeyPatch, bytes_: int
) -> None:
    """It ends before it is too large, but has at least one entry, so that the next calls return the rest, each once."""
    monkeypatch.setattr("pagefold.engine.reading.history.MAX_BYTES", bytes_)
    await four_streams(shop)
    entries = [entry async for entry in shop.history(SKU)]
    first = (await client.get(HISTORY)).json()["items"]
    assert (len(first) == 1) is (bytes_ == 0)
    assert (len(first) == len(entries)) is (bytes_ == 10**9)
    assert [item["position"] for item in await walk(client, HISTORY)] == [entry.position for entry in entries]


@pytest.mark.parametrize("looked_at", [1, 2, 5_000])
async def test_the_history_has_what_matches(
    shop: Shop, client: httpx2.AsyncClient, monkeypatch: pytest.MonkeyPatch, looked_at: int
) -> None:
    """Of one channel, of `*`, or of one domain; however few entries are read per step."""
    monkeypatch.setattr("pagefold.engine.reading.history.MAX_EVENTS", looked_at)
    await four_streams(shop)
    domains = [item["domain"] for item in await walk(client, HISTORY, domain="catalog", limit=1)]
    assert domains == ["catalog"] * 2
    channels = [item["channel"] for item in await walk(client, HISTORY, channel="*", limit=2)]
    assert channels == ["*"] * 9
    assert len(await walk(client, HISTORY, channel="web-de", domain="pricing")) == 1
    assert await walk(client, HISTORY, channel="web-us") == []


async def test_an_unknown_sku_has_no_history(client: httpx2.AsyncClient) -> None:
    """Its history is empty."""
    assert (await client.get("/v1/skus/nothing/history")).json() == {"items": [], "next": None}


async def test_a_cursor_leads_into_no_other_history(shop: Shop, client: httpx2.AsyncClient) -> None:
    """A cursor of another SKU starts the history from its beginning."""
    await four_streams(shop)
    cursor = (await client.get(HISTORY, params={"limit": 1})).json()["next"]
    items = (await client.get("/v1/skus/X/history", params={"after": cursor})).json()["items"]
    assert [item["domain"] for item in items] == ["catalog"]
    assert items[0]["changes"]


@pytest.mark.parametrize("query", ["after=x", "after=%2B", "after=W10", "domain=price", "limit=1000", "channel="])
async def test_invalid_history_parameters_are_refused(client: httpx2.AsyncClient, query: str) -> None:
    """An invalid cursor, an unknown domain, a limit too large: refused, and named."""
    problem = problem_in(await client.get(f"{HISTORY}?{query}"))
    assert problem["status"] == 422
    assert problem["errors"][0]["path"] == query.partition("=")[0]


async def test_the_history_of_an_sku_with_a_slash(shop: Shop, client: httpx2.AsyncClient) -> None:
    """Encoded, it is one segment of the path."""
    await say(shop, event("catalog", {"attributes": {"a": 1}}, sku="A/B %"))
    items = (await client.get(f"/v1/skus/{quote('A/B %', safe='')}/history")).json()["items"]
    assert [item["domain"] for item in items] == ["catalog"]
    assert (await client.get("/v1/skus/%00/history")).status_code == 422
