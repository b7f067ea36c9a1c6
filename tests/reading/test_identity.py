"""A page is ready if it has every domain that its channel requires, and never without a catalog section."""

from collections.abc import Mapping

import httpx2
import msgspec
import orjson
import pytest

from pagefold import Config, DomainEvent, Shop
from pagefold.domains import DOMAINS
from pagefold.projections import Splicer
from tests.support.databases import query
from tests.support.http_clients import client_of, service_of
from tests.support.small_shop import configured, event, media, price, say, stock, withdrawn

SHIRT = {"attributes": {"name": "Shirt"}}
FOUND: Mapping[str, tuple[str, bool]] = {
    "stock alone": ("live", False),
    "all but a catalog": ("live", False),
    "catalog withdrawn": ("disabled", False),
    "catalog disabled": ("disabled", False),
    "catalog alone": ("live", True),
    "catalog and stock": ("live", True),
}
"""Whether the page of each SKU is ready in a channel that requires nothing, or only what its SKU has."""

EVENTS: Mapping[str, list[DomainEvent]] = {
    "stock alone": [stock(3)],
    "all but a catalog": [price("5.00"), stock(3), media("a.jpg")],
    "catalog withdrawn": [event("catalog", SHIRT), stock(3), withdrawn("catalog", version=2)],
    "catalog disabled": [event("catalog", SHIRT | {"enabled": False}), stock(3)],
    "catalog alone": [event("catalog", SHIRT)],
    "catalog and stock": [event("catalog", SHIRT), stock(3)],
}


@pytest.fixture
def config(store_url: str) -> Config:
    """Two channels: one without `requires`, and one that names every domain but the catalog."""
    plain = {"locale": "de", "currency": "EUR"}
    return configured(store_url, channels={"free": plain, "odd": plain | {"requires": ["inventory"]}})


@pytest.fixture
async def known(shop: Shop) -> Shop:
    """The shop with a page of each kind, whose SKU names it."""
    replace = msgspec.structs.replace
    await say(shop, *[replace(each, sku=sku) for sku, some in EVENTS.items() for each in some])
    return shop


def expected(channel: str) -> dict[str, tuple[str, bool]]:
    """Whether each page of a channel is ready."""
    return {
        sku: (status, ready and (channel == "free" or sku == "catalog and stock"))
        for sku, (status, ready) in FOUND.items()
    }


@pytest.mark.parametrize("channel", ["free", "odd"])
async def test_no_page_is_ready_without_a_catalog(known: Shop, channel: str) -> None:
    """Read alone, counted or listed: whatever the channel requires."""
    listed = await known.pages.list_pages(channel, "", 100)
    assert {each.sku: (each.status, each.ready) for each in listed} == expected(channel)
    for sku, (status, ready) in expected(channel).items():
        page = await known.pages.get(sku, channel, disabled=True)
        assert page is not None
        assert (page.status, page.ready) == (status, ready)
        assert page.readiness["inventory"] == (sku != "catalog alone")
    many = await known.pages.get_many_json(list(FOUND), channel)
    live = {sku: ready for sku, (status, ready) in expected(channel).items() if status == "live"}
    assert {sku: orjson.loads(page)["ready"] for sku, page in many.items()} == live


@pytest.mark.parametrize("channel", ["free", "odd"])
@pytest.mark.parametrize("ready", [True, False])
async def test_pages_are_listed_by_readiness(known: Shop, channel: str, *, ready: bool) -> None:
    """The list agrees with the pages themselves."""
    async with client_of(service_of(known)) as client:
        answer = await client.get(f"/v1/pages/{channel}", params={"ready": str(ready).lower()})
        assert isinstance(answer, httpx2.Response)
        assert {each["sku"] for each in answer.json()["items"]} == {
            sku for sku, (_, is_ready) in expected(channel).items() if is_ready == ready
        }


@pytest.mark.parametrize("kind", ["postgres"])
@pytest.mark.parametrize("channel", ["free", "odd"])
async def test_the_database_says_the_same(known: Shop, config: Config, channel: str) -> None:
    """Byte for byte, and whatever an earlier release has stored about a channel."""
    ask = "SELECT sku, pagefold.page(sku, %s)::text FROM unnest(%s::text[]) AS sku"
    for requires in (None, {"free": [], "odd": ["inventory"]}):
        if requires is not None:
            await known.store.pages.publish_layout([domain.name for domain in DOMAINS], "catalog", requires)
        for sku, page in query(config.store.url, ask, channel, list(FOUND)):
            shown = await known.pages.get_json(sku, channel)
            assert page == (None if shown is None else shown.decode())


def test_required_domains_include_the_catalog(config: Config) -> None:
    """In every channel, as the splicer has it."""
    assert Splicer(DOMAINS, config.resolved_channels).requires == {"free": {"catalog"}, "odd": {"catalog", "inventory"}}
