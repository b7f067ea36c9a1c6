"""The recipe for Shopify: what its webhooks say becomes the pages that are meant."""

import base64
import hashlib
import hmac
import json
from pathlib import Path

from tests.recipes.recipe_shop import Delivery, recipe_shop

SECRET = "hush"  # noqa: S105  # of this test


def delivery(topic: str, body: object) -> Delivery:
    """A signed webhook."""
    text = json.dumps(body).encode()
    signature = base64.b64encode(hmac.digest(SECRET.encode(), text, hashlib.sha256)).decode()
    headers = {
        "content-type": "application/json",
        "x-shopify-topic": topic,
        "x-shopify-hmac-sha256": signature,
        "x-shopify-triggered-at": "2026-03-05T08:00:00.000000001Z",
    }
    return Delivery("/v1/webhooks/shop", headers, text, {})


PRODUCT = {
    "id": 700,
    "title": "Kanne",
    "handle": "kanne",
    "vendor": "Nord",
    "status": "active",
    "updated_at": "2026-03-03T10:30:00+01:00",
    "variants": [
        {"sku": "KANNE-S", "price": "12.90", "compare_at_price": None, "barcode": "1", "inventory_item_id": 71},
        {"sku": None, "price": "13.90", "compare_at_price": None, "barcode": "2", "inventory_item_id": 72},
    ],
}


async def test_a_new_product_its_stock_and_its_end(tmp_path: Path, store_url: str) -> None:
    """A product comes with its price, its stock under another id, and goes by the id of the product alone."""
    async with recipe_shop("shopify", tmp_path, store_url, variables={"SHOPIFY_CLIENT_SECRET": SECRET}) as made:
        assert (await made.deliver(delivery("products/create", PRODUCT))).status_code == 202
        await made.shop.catch_up()
        level = {
            "inventory_item_id": 71,
            "location_id": 70110020030,
            "available": 4,
            "updated_at": "2026-03-03T09:31:15Z",
        }
        assert (await made.deliver(delivery("inventory_levels/update", level))).status_code == 202
        page = await made.page("KANNE-S", "web-de")
        assert (page["pricing"]["amount"], page["inventory"]["available"]) == ("12.90", 4)
        assert page["catalog"]["attributes"]["title"] == "Kanne"
        await made.deliver(delivery("products/delete", {"id": 700}))
        assert await made.page("KANNE-S", "web-de") is None
