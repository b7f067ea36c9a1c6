"""Page reads over HTTP: the body, the cache headers, and the answer if there is no page."""

from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime, timedelta
from urllib.parse import quote

import httpx2
import pytest

from pagefold import Shop
from pagefold.engine.errors import StoreUnavailable
from pagefold.engine.http.cache_control import CachePolicy, matches, seconds_to_change
from pagefold.engine.reading.page_tags import etag_of
from tests.support.http_clients import client_of, problem_in, service_of
from tests.support.small_shop import SKU, catalog, configured, event, price, say, withdrawn

PAGE = f"/v1/pages/web-de/{SKU}"


@pytest.fixture
async def client(shop: Shop) -> AsyncIterator[httpx2.AsyncClient]:
    """A storefront's client, with open reads."""
    async with client_of(service_of(shop, reads_open=True)) as opened:
        yield opened


async def test_a_page_is_served_as_it_is_stored(shop: Shop, client: httpx2.AsyncClient) -> None:
    """The same bytes as in the library, with their entity tag, length and freshness."""
    await say(shop, catalog("a"), price("1.00"))
    answer = await client.get(PAGE)
    body = await shop.pages.get_json(SKU, "web-de")
    assert answer.status_code == 200
    assert answer.content == body
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["content-length"] == str(len(answer.content))
    assert answer.headers["etag"] == etag_of(answer.content).decode()
    assert answer.headers["cache-control"] == "public, max-age=60, must-revalidate"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert "frame-ancestors 'none'" in answer.headers["content-security-policy"]


async def test_head_is_get_without_the_page(shop: Shop, client: httpx2.AsyncClient) -> None:
    """The same headers, and no body."""
    await say(shop, catalog("a"))
    head, get = await client.head(PAGE), await client.get(PAGE)
    assert head.status_code == 200
    assert head.headers == get.headers
    assert head.content == b""


async def test_a_cached_page_is_not_sent_again(shop: Shop, client: httpx2.AsyncClient) -> None:
    """A matching entity tag gives 304 with the freshness; a change gives another tag."""
    await say(shop, catalog("a"))
    tag = (await client.get(PAGE)).headers["etag"]
    for condition in (tag, f"W/{tag}", "*", f'"other", {tag}', f'W/"x" ,{tag}'):
        answer = await client.get(PAGE, headers={"if-none-match": condition})
        assert answer.status_code == 304, condition
        assert answer.content == b""
        assert answer.headers["etag"] == tag
        assert "max-age=60" in answer.headers["cache-control"]
    several = await client.get(PAGE, headers=[("if-none-match", '"x"'), ("if-none-match", tag)])
    assert several.status_code == 304
    await say(shop, catalog("b", version=2))
    answer = await client.get(PAGE, headers={"if-none-match": tag})
    assert answer.status_code == 200
    assert answer.headers["etag"] != tag


@pytest.mark.parametrize(
    ("condition", "expected"),
    [(b'"a"', True), (b'W/"a"', True), (b"*", True), (b'"b"', False), (b'"b", "a"', True), (b"a", False), (b"", False)],
)
def test_tags_are_compared_weakly(condition: bytes, *, expected: bool) -> None:
    """A tag is found in a list, weak or strong; an invalid tag matches nothing."""
    assert matches(condition, b'"a"') is expected


@pytest.mark.parametrize("sku", ["A/B", "A%2FB", "Ä ß", "A+B", "A?B#C", "..", "%", "🎽", "a:b", "A\\B;c=1"])
async def test_any_sku_has_an_address(shop: Shop, client: httpx2.AsyncClient, sku: str) -> None:
    """Percent-encoded, any SKU is one segment of the path."""
    await say(shop, catalog("a", sku=sku))
    answer = await client.get(f"/v1/pages/web-de/{quote(sku, safe='').replace('.', '%2E')}")
    assert answer.status_code == 200
    assert answer.json()["sku"] == sku


async def test_an_sku_is_found_in_any_normal_form(shop: Shop, client: httpx2.AsyncClient) -> None:
    """An SKU with combining characters is the same as the composed one."""
    await say(shop, catalog("a", sku="Ä"))
    answer = await client.get("/v1/pages/web-de/A%CC%88")
    assert answer.json()["sku"] == "Ä"


@pytest.mark.parametrize(
    "path", ["/v1/pages/web-de/x", "/v1/pages/nowhere/x", "/v1/pages/%2A/x", "/v1/pages/web-de/%20"]
)
async def test_unknown_pages_are_not_found(client: httpx2.AsyncClient, path: str) -> None:
    """No page, an unknown channel, or an invalid SKU: 404."""
    answer = await client.get(path)
    assert answer.status_code == 404
    assert problem_in(answer)["title"] == "Not Found"


async def test_a_path_that_is_not_utf8_is_refused(client: httpx2.AsyncClient) -> None:
    """Bytes that are not UTF-8 are refused."""
    assert problem_in(await client.get("/v1/pages/web-de/%FF"))["status"] == 400


async def test_a_hidden_page_that_was_live_is_gone(shop: Shop, client: httpx2.AsyncClient) -> None:
    """A product that was live and is withdrawn or disabled is 410; enabled again, it is 200."""
    await say(shop, catalog("a"))
    await say(shop, withdrawn("catalog", version=2))
    assert problem_in(await client.get(PAGE))["status"] == 410
    await say(shop, event("catalog", {"enabled": False}, version=3))
    assert (await client.get(PAGE)).status_code == 410
    await say(shop, catalog("b", version=4))
    assert (await client.get(PAGE)).status_code == 200


async def test_a_hidden_page_that_was_never_live_is_not_found(shop: Shop, client: httpx2.AsyncClient) -> None:
    """A product that was disabled since its first event was never there: 404."""
    await say(shop, event("catalog", {"enabled": False}), price("1.00"))
    assert (await client.get(PAGE)).status_code == 404
    await say(shop, withdrawn("catalog", version=2))
    assert (await client.get(PAGE)).status_code == 404


async def test_a_late_event_counts_as_in_time(shop: Shop, client: httpx2.AsyncClient) -> None:
    """Whether a product was live does not depend on the arrival order of its versions."""
    await say(shop, withdrawn("catalog", version=2))
    await say(shop, catalog("a", version=1))
    assert (await client.get(PAGE)).status_code == 410


async def test_a_page_without_its_catalog_is_served(shop: Shop, client: httpx2.AsyncClient) -> None:
    """Before the first catalog event, a page exists, and says what it lacks."""
    await say(shop, price("1.00"))
    answer = await client.get(PAGE)
    assert answer.json()["readiness"]["catalog"] is False


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS", "BREW"])
async def test_pages_are_only_read(client: httpx2.AsyncClient, method: str) -> None:
    """Any other method is 405, with the allowed ones."""
    answer = await client.request(method, PAGE)
    assert problem_in(answer)["status"] == 405
    assert answer.headers["allow"] == "GET, HEAD"


async def test_an_unavailable_store_is_not_a_missing_page(
    shop: Shop, client: httpx2.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An unavailable store is 503 with `Retry-After`, never 404, and does not say where the store is."""

    async def fail(*_: object, **__: object) -> bytes:
        raise StoreUnavailable("postgresql://me@secret-host/db", OSError("gone"))

    service = service_of(shop, reads_open=True)
    monkeypatch.setattr(service.shop.pages, "get_json", fail)
    async with client_of(service) as other:
        answer = await other.get(PAGE)
    assert problem_in(answer)["status"] == 503
    assert answer.headers["retry-after"] == "1"
    assert b"secret-host" not in answer.content


async def test_an_unexpected_error_has_no_details(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    """An unexpected error is 500, without details."""

    async def fail(*_: object, **__: object) -> bytes:
        raise RuntimeError("secret")

    service = service_of(shop, reads_open=True)
    monkeypatch.setattr(service.shop.pages, "get_json", fail)
    async with client_of(service) as client:
        answer = await client.get(PAGE)
    assert problem_in(answer)["status"] == 500
    assert b"secret" not in answer.content


# --- freshness ------------------------------------------------------------------


def scheduled(*spans: tuple[float | None, float | None]) -> dict[str, object]:
    """A price, and scheduled ones, each from and until that many seconds from now."""
    prices = [
        {"amount": "1.00"} | {name: in_seconds(each) for name, each in named(span) if each is not None}
        for span in spans
    ]
    return {"currency": "EUR", "amount": "2.00", "scheduled": prices}


def named(span: tuple[float | None, float | None]) -> Iterator[tuple[str, float | None]]:
    """The start and end of a period, by name."""
    yield from zip(("from", "until"), span, strict=True)


def in_seconds(seconds: float) -> str:
    """That many seconds from now."""
    return (datetime.now(UTC) + timedelta(seconds=seconds)).isoformat()


@pytest.mark.parametrize(
    ("spans", "expected"),
    [
        ([(30.0, 3_600.0)], range(25, 31)),
        ([(-30.0, 20.0)], range(15, 21)),
        ([(None, 10.0), (500.0, None)], range(5, 11)),
        ([(-100.0, -50.0)], range(60, 61)),
        ([(3_600.0, None)], range(60, 61)),
    ],
)
async def test_no_page_is_fresh_beyond_its_prices(
    shop: Shop, client: httpx2.AsyncClient, spans: list[tuple[float | None, float | None]], expected: range
) -> None:
    """A page is fresh at most until the next scheduled price begins or ends; past ones do not matter."""
    await say(shop, catalog("a"), event("pricing", scheduled(*spans)))
    control = (await client.get(PAGE)).headers["cache-control"]
    assert int(control.partition("max-age=")[2].partition(",")[0]) in expected


async def test_channels_have_their_own_times(shop: Shop) -> None:
    """A channel's settings count for it, the server's for the others; a scheduled price shortens both."""
    channels = {
        "own": {"locale": "de", "currency": "EUR", "cache_seconds": 300, "stale_while_revalidate_seconds": 30},
        "usual": {"locale": "de", "currency": "EUR"},
        "never": {"locale": "de", "currency": "EUR", "cache_seconds": 0},
    }
    config = configured("sqlite:///nowhere", channels=channels, http={"cache_seconds": 5})
    policy = CachePolicy(config, public=False)
    assert policy.header("own", b"{}")[1] == b"private, max-age=300, stale-while-revalidate=30"
    assert policy.header("usual", b"{}")[1] == b"private, max-age=5, must-revalidate"
    assert policy.header("never", b"{}")[1] == b"private, max-age=0, must-revalidate"
    soon = (datetime.now(UTC) + timedelta(seconds=310.9)).isoformat().encode()
    page = b'{"pricing":{"scheduled":[{"amount":"1","from":"%b"}]}}' % soon
    assert policy.header("own", page)[1] == b"private, max-age=300, stale-while-revalidate=10"


@pytest.mark.parametrize("page", [b'{"pricing":null,"catalog":{"scheduled":1}}', b'{"pricing":{"scheduled":7}}', b"{}"])
def test_lookalikes_of_scheduled_prices_change_nothing(page: bytes) -> None:
    """The same word elsewhere, or of another form, is no scheduled price."""
    assert seconds_to_change(page, datetime.now(UTC)) is None
