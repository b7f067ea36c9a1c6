"""The completeness of a channel over HTTP."""

import pagefold
from tests.reading.test_completeness import PRODUCTS, asking
from tests.support.http_clients import client_of, service_of
from tests.support.small_shop import event, say


async def test_the_counts_of_a_channel(store_url: str) -> None:
    """As the command shows them; a channel without requirements has none."""
    async with pagefold.open(asking(store_url)) as shop:
        await say(shop, *PRODUCTS)
        async with client_of(service_of(shop), "reader") as client:
            answer = await client.get("/v1/channels/web-de/completeness")
            assert answer.status_code == 200
            found = answer.json()
            assert (found["requirements"], found["pages"], found["blocked"]) == (["shop@2"], 6, 4)
            assert found["attributes"][0] | {"families": {}} == {
                "attribute": "gtin",
                "pages": 3,
                "missing": 2,
                "invalid": 1,
                "unmapped": 0,
                "blocks": 3,
                "completes": 2,
                "unblocks": 2,
                "families": {},
            }
            for channel in ("market-at", "nowhere"):
                assert (await client.get(f"/v1/channels/{channel}/completeness")).status_code == 404


async def test_a_selection_of_pages(store_url: str) -> None:
    """By family, category and attribute, as the command has them; what cannot be is named."""
    async with pagefold.open(asking(store_url)) as shop:
        await say(shop, *PRODUCTS)
        async with client_of(service_of(shop), "reader") as client:
            answer = await client.get("/v1/channels/web-de/completeness?family=clothing&attribute=care=cold")
            found = answer.json()
            assert (found["pages"], found["selection"]) == (1, {"family": "clothing", "attribute": "care=cold"})
            for query in (
                "attribute=a..b",
                "category=%3E",
                "attribute=@family",
                f"attribute={'a.' * 20}a",
                "color=red",
            ):
                answer = await client.get(f"/v1/channels/web-de/completeness?{query}")
                assert answer.status_code == 422
                assert query.partition("=")[0] in answer.text


async def test_a_hidden_page_is_not_there_yet(store_url: str) -> None:
    """404, where a page that its source disabled is gone: it may be complete tomorrow."""
    off = event("catalog", {"enabled": False}, sku="FULL", version=2)
    async with pagefold.open(asking(store_url, incomplete="hide")) as shop:
        await say(shop, *PRODUCTS)
        async with client_of(service_of(shop), "reader") as client:
            codes = [(await client.get(f"/v1/pages/web-de/{sku}")).status_code for sku in ("FULL", "NO-GTIN")]
            assert codes == [200, 404]
            await say(shop, off)
            assert (await client.get("/v1/pages/web-de/FULL")).status_code == 410
