"""The explanation of a page over HTTP."""

import msgspec

from pagefold import Shop
from pagefold.engine.explanations.explanation import PageExplanation
from pagefold.engine.explanations.selection import explanation_of
from tests.support.http_clients import client_of, service_of
from tests.support.small_shop import SKU, catalog, price, say, stock

ADDRESS = f"/v1/pages/web-de/{SKU}/why"


async def test_the_answer_is_that_of_the_library(shop: Shop) -> None:
    """Whole, and of one place; of a product without a page, too. An unknown channel is 404, an impossible SKU 422."""
    await say(shop, catalog("A"), price("9.90"), stock(3))
    async with client_of(service_of(shop), "reader") as client:
        whole = await client.get(ADDRESS)
        assert whole.status_code == 200
        expected = await shop.why(SKU, "web-de")
        assert msgspec.json.decode(whole.content, type=PageExplanation) == expected
        part = await client.get(ADDRESS, params={"path": "pricing.amount"})
        assert msgspec.json.decode(part.content, type=PageExplanation) == explanation_of(expected, "pricing.amount")
        nobody = (await client.get("/v1/pages/web-de/NOBODY/why")).json()
        assert (nobody["status"], nobody["events"]) == ("absent", [])
        assert (await client.get(f"/v1/pages/nowhere/{SKU}/why")).status_code == 404
        assert (await client.get(f"/v1/pages/web-de/{'x' * 129}/why")).status_code == 422
        assert (await client.get(ADDRESS, params={"path": ""})).status_code == 422
