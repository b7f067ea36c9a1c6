"""`?at=`: pages, batches and histories as they were, over HTTP."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import httpx2
import pytest

import pagefold
from pagefold import Config, Shop
from pagefold.engine.reading.page_tags import etag_of
from tests.support.http_clients import client_of, problem_in, service_of
from tests.support.rebuild_fixtures import with_new_channel, without_channel
from tests.support.small_shop import SKU, append, apply_file, catalog, event, price, say, withdrawn

PAGE = f"/v1/pages/web-de/{SKU}"


@pytest.fixture
async def client(shop: Shop) -> AsyncIterator[httpx2.AsyncClient]:
    """A storefront's client, with open reads."""
    async with client_of(service_of(shop, reads_open=True)) as opened:
        yield opened


async def test_a_page_is_served_as_it_was(shop: Shop, client: httpx2.AsyncClient) -> None:
    """The bytes of then, with their tag, for ever; the position is named."""
    await say(shop, catalog("a"), price("1.00"))
    before, end = await client.get(PAGE), await shop.store.log.end()
    await say(shop, price("2.00", version=2))
    answer = await client.get(f"{PAGE}?at={end}")
    assert answer.status_code == 200
    assert answer.content == before.content != (await client.get(PAGE)).content
    assert answer.headers["etag"] == etag_of(answer.content).decode()
    assert answer.headers["cache-control"] == "public, max-age=31536000, immutable"
    assert answer.headers["pagefold-position"] == str(end)
    assert "frame-ancestors 'none'" in answer.headers["content-security-policy"]
    head = await client.head(f"{PAGE}?at={end}")
    assert (head.headers, head.content) == (answer.headers, b"")
    same = await client.get(f"{PAGE}?at={end}", headers={"if-none-match": answer.headers["etag"]})
    assert (same.status_code, same.headers["cache-control"]) == (304, answer.headers["cache-control"])


async def test_what_may_still_change_is_not_cached(shop: Shop, client: httpx2.AsyncClient) -> None:
    """A position that the log has not reached, or a time that has just passed: the page as it is, not to be kept."""
    await say(shop, catalog("a"))
    end = await shop.store.log.end()
    now = datetime.now(UTC)
    for at in (
        end + 1,
        2**62,
        now.isoformat().replace("+00:00", "Z"),
        (now + timedelta(days=1)).isoformat()[:19] + "Z",
    ):
        answer = await client.get(PAGE, params={"at": str(at)})
        assert answer.status_code == 200, at
        assert answer.content == (await client.get(PAGE)).content
        assert answer.headers["cache-control"] == "no-store"
        assert answer.headers["pagefold-position"] == str(end)


async def test_a_time_that_is_past_is_cached(shop: Shop, client: httpx2.AsyncClient) -> None:
    """A time before the first event has no page, and says where the log begins."""
    await say(shop, catalog("a"))
    for at in ("0", "2020-01-01T00:00:00Z"):
        problem = problem_in(await client.get(PAGE, params={"at": at}))
        assert problem["status"] == 404
        assert problem["detail"] == "the log begins at position 1: it has nothing of that moment"


@pytest.mark.parametrize(
    "query", ["at=", "at=yesterday", "at=-1", "at=2026-01-01T00:00:00", "at=1&at=2", "at=2026-01-01T00:00:00+01:00"]
)
async def test_what_is_no_moment_is_refused(shop: Shop, client: httpx2.AsyncClient, query: str) -> None:
    """With what is allowed; a `+` that was not encoded is named."""
    await say(shop, catalog("a"))
    problem = problem_in(await client.get(f"{PAGE}?{query}"))
    assert problem["status"] == 400
    assert problem["detail"].startswith("at: ")
    if query.endswith("+01:00"):
        assert "%2B" in problem["detail"]


async def test_other_parameters_are_ignored(shop: Shop, client: httpx2.AsyncClient) -> None:
    """As before: storefronts add some to get around caches."""
    await say(shop, catalog("a"))
    assert (await client.get(f"{PAGE}?v=7")).headers["cache-control"] == "public, max-age=60, must-revalidate"
    many = "&".join(f"p{number}=1" for number in range(200))
    assert problem_in(await client.get(f"{PAGE}?{many}"))["status"] == 400


async def test_a_page_that_was_disabled_is_gone_then(shop: Shop, client: httpx2.AsyncClient) -> None:
    """410 where it had been live by then, else 404; later and earlier do not count."""
    await append(shop, event("catalog", {"enabled": False}, version=1), catalog("a", version=2))
    await append(shop, withdrawn("catalog", version=3))
    await shop.catch_up()
    statuses = [(await client.get(f"{PAGE}?at={position}")).status_code for position in (1, 2, 3)]
    assert statuses == [404, 200, 410]


async def test_channels_are_those_of_the_time(config: Config) -> None:
    """A channel that was added later is unknown before, and one that is gone has its pages."""
    async with pagefold.open(config) as shop:
        await say(shop, catalog("a"))
    later = with_new_channel(without_channel(config, "outlet-de"), "web-new")
    async with pagefold.open(later) as shop, client_of(service_of(shop)) as client:
        end = await shop.store.log.end()
        await apply_file(shop)
        await shop.catch_up()
        assert (await client.get(f"/v1/pages/outlet-de/{SKU}?at={end}")).status_code == 200
        assert (await client.get(f"/v1/pages/outlet-de/{SKU}")).status_code == 404
        problem = problem_in(await client.get(f"/v1/pages/web-new/{SKU}?at={end}"))
        assert problem["detail"] == "unknown channel at that moment"
        assert problem_in(await client.get(f"/v1/pages/none/{SKU}?at={end}"))["detail"] == "unknown channel"


async def test_a_token_is_needed_as_for_any_page(shop: Shop) -> None:
    """Without one, the past is not shown either, not even whether a moment is valid."""
    await say(shop, catalog("a"))
    async with client_of(service_of(shop, None)) as client:
        assert problem_in(await client.get(f"{PAGE}?at=1"))["status"] == 401
        assert problem_in(await client.get(f"{PAGE}?at=x"))["status"] == 401


async def test_several_pages_as_they_were(shop: Shop, client: httpx2.AsyncClient) -> None:
    """A batch with `at` has the pages of then, and none that came later."""
    await say(shop, catalog("a"))
    before = await client.get(PAGE)
    await say(shop, catalog("b", version=2), catalog("later", sku="L"))
    wanted = {"channel": "web-de", "skus": [SKU, "L"]}
    moments: list[object] = [1, "1"]
    for at in moments:
        found = (await client.post("/v1/pages:batchGet", json=wanted | {"at": at})).json()
        assert found == {"found": {SKU: before.json()}, "missing": ["L"]}
    assert len((await client.post("/v1/pages:batchGet", json=wanted)).json()["found"]) == 2
    wrong: list[object] = ["x", -1, 1.5]
    for at in wrong:
        assert problem_in(await client.post("/v1/pages:batchGet", json=wanted | {"at": at}))["status"] == 422


async def test_the_history_as_it_was(shop: Shop, client: httpx2.AsyncClient) -> None:
    """With the heads of then, in chunks as well."""
    path = f"/v1/skus/{SKU}/history"
    await append(shop, catalog("a"), price("1.00"), catalog("b", version=2))
    before = (await client.get(path)).json()
    await append(shop, catalog("c", version=3), price("2.00", version=2), price("0.50", version=0))
    assert (await client.get(path, params={"at": "3"})).json() == before
    items, after = [], None
    while True:
        chunk = (await client.get(path, params={"at": "3", "limit": "1"} | ({"after": after} if after else {}))).json()
        items += chunk["items"]
        if (after := chunk["next"]) is None:
            break
    assert items == before["items"]
    assert problem_in(await client.get(path, params={"at": "x"}))["status"] == 422


async def test_the_differences_of_a_product(shop: Shop, client: httpx2.AsyncClient) -> None:
    """Between two positions, or a position and now, with both values of each field; of this product alone."""
    path = f"/v1/skus/{SKU}/diff"
    await say(shop, catalog("a"), price("1.00", channel="web-de"))
    before = await shop.store.log.end()
    await say(shop, price("2.00", version=2, channel="web-de"), catalog("other", sku="L"))
    found = (await client.get(path, params={"from": str(before)})).json()
    [change] = found.pop("changes")
    assert found == {"from": before, "to": await shop.store.log.end()}
    assert (change["sku"], change["channel"], change["domains"]) == (SKU, "web-de", ["pricing"])
    assert change["fields"] == [{"path": "pricing.amount", "before": "1.00", "after": "2.00"}]
    assert (await client.get(path, params={"from": str(before), "to": str(before)})).json()["changes"] == []
    for wrong in ({}, {"from": "x"}, {"from": "1", "to": "x"}, {"from": "1", "bogus": "1"}):
        assert problem_in(await client.get(path, params=wrong))["status"] == 422
    assert problem_in(await client.get(f"/v1/skus/{'x' * 200}/diff?from=1"))["status"] == 422
