"""An imitation of WooCommerce: its REST API (wc/v3) with its paging and faults, and webhooks that it turns off."""

import base64
import hmac
import html
import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

from tests.recipes.recipe_shop import Delivery, RecipeShop
from tests.support.fake_endpoint import Asked, Reply

KEY, SECRET = "ck_test", "cs_test"
VARIABLES = {"WOO_CONSUMER_KEY": KEY, "WOO_CONSUMER_SECRET": SECRET, "WOO_WEBHOOK_SECRET": 'n&l "woo" secret'}
ROOT = "/wp-json/wc/v3"
MAX_PER_PAGE, MAX_FAILURES = 100, 5
START = datetime(2026, 3, 1, tzinfo=UTC)

Record = dict[str, Any]


def gmt(moment: datetime) -> str:
    """A moment as WordPress writes it, without an offset."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S")


def product(number: int, **members: Any) -> Record:  # noqa: ANN401  # JSON
    """A product as the API answers it."""
    return {
        "id": number,
        "name": f"Product {number}",
        "slug": f"product-{number}",
        "permalink": f"https://shop.example/p/{number}/",
        "date_modified": gmt(START + timedelta(hours=1)),
        "date_modified_gmt": gmt(START),
        "type": "simple",
        "status": "publish",
        "description": "<p>text</p>",
        "sku": f"SKU-{number}",
        "price": "9.9",
        "regular_price": "9.9",
        "sale_price": "",
        "date_on_sale_from_gmt": None,
        "date_on_sale_to_gmt": None,
        "on_sale": False,
        "manage_stock": True,
        "stock_quantity": 3,
        "stock_status": "instock",
        "backorders": "no",
        "weight": "",
        "parent_id": 0,
        "categories": [{"id": 1, "name": "All", "slug": "all"}],
        "images": [],
        "attributes": [],
        "variations": [],
        **members,
    }


def variation(number: int, **members: Any) -> Record:  # noqa: ANN401  # JSON
    """A variation as the API answers it: with fewer members than a product."""
    own = product(number, **{"image": None, "attributes": [], **members})
    for name in ("name", "slug", "type", "categories", "images", "parent_id", "variations"):
        own.pop(name)
    return own


class WooCommerce:
    """One shop. `products` and `variations` by product are by id; `before` is called before each request is answered.

    `webhook` is whether its webhook is active, as it is after its ping was answered 200; it is turned off for good
    after more than five failures in a row.
    """

    def __init__(self, *products: Record) -> None:
        self.products = {each["id"]: each for each in products}
        self.variations: dict[int, dict[int, Record]] = {}
        self.before: Callable[[Asked, int], Reply | None] = lambda _asked, _number: None
        self.answered = 0
        self.webhook = False
        self.statuses: list[int] = []
        self._failures = 0

    def add_variations(self, parent: int, *variations: Record) -> None:
        """Adds variations to a product, which lists their ids."""
        self.variations.setdefault(parent, {}).update({each["id"]: each for each in variations})
        self.products[parent]["variations"] = list(self.variations[parent])

    def trash(self, number: int) -> None:
        """Removes a product and its variations."""
        self.products.pop(number, None)
        self.variations.pop(number, None)

    # --- the API ----------------------------------------------------------------------------------

    def __call__(self, asked: Asked) -> Reply:
        """The response to a request."""
        self.answered += 1
        if (fault := self.before(asked, self.answered)) is not None:
            return fault
        expected = "Basic " + base64.b64encode(f"{KEY}:{SECRET}".encode()).decode()
        if asked.headers.get("authorization") != expected:
            return _error(401, "woocommerce_rest_cannot_view")
        names = asked.path.removeprefix(f"{ROOT}/products").strip("/").split("/")
        if names == [""]:
            return self._listed(asked, list(self.products.values()))
        found = self.products.get(int(names[0]))
        if found is None:
            return _error(404, "woocommerce_rest_product_invalid_id")
        if names[1:] == ["variations"]:
            return self._listed(asked, list(self.variations.get(found["id"], {}).values()))
        return Reply(json.dumps(found).encode())

    def _listed(self, asked: Asked, rows: list[Record]) -> Reply:
        query = asked.query
        size, page = int(query.get("per_page", 10)), int(query.get("page", 1))
        first = int(query.get("offset", (page - 1) * size))
        if not 1 <= size <= MAX_PER_PAGE or page < 1:
            return _error(400, "rest_invalid_param")
        if (after := query.get("modified_after")) is not None:
            assert query["dates_are_gmt"] == "true"
            since = datetime.fromisoformat(after)
            rows = [row for row in rows if datetime.fromisoformat(f"{row['date_modified_gmt']}Z") > since]
        if query.get("orderby") == "id":
            rows.sort(key=lambda row: row["id"], reverse=query.get("order", "desc") == "desc")
        pages = -(-len(rows) // size)
        headers = {"X-WP-Total": str(len(rows)), "X-WP-TotalPages": str(pages)}
        if page < pages:
            headers["Link"] = f'<https://shop.example{asked.path}?page={page + 1}>; rel="next"'
        return Reply(json.dumps(rows[first : first + size]).encode(), headers=headers)

    # --- webhooks ---------------------------------------------------------------------------------

    async def save_webhook(self, at: RecipeShop) -> None:
        """Sends the ping, which is a form without a signature. Only a 200 turns the webhook on."""
        headers = {"content-type": "application/x-www-form-urlencoded"}
        answer = await at.deliver(Delivery("/v1/webhooks/woo", headers, b"webhook_id=5", {}))
        self.webhook = answer.status_code == 200

    async def send(self, at: RecipeShop, topic: str, body: Record) -> None:
        """Delivers an event, once, if the webhook is active. A failure is never repeated."""
        if not self.webhook:
            return
        answer = await at.deliver(self.delivery(topic, body))
        self.statuses.append(answer.status_code)
        self._failures = 0 if 200 <= answer.status_code <= 302 else self._failures + 1
        self.webhook = self._failures <= MAX_FAILURES

    @staticmethod
    def delivery(topic: str, body: Record) -> Delivery:
        """A signed delivery: by the secret after its entities are decoded, with `/` escaped, as PHP writes JSON."""
        text = json.dumps(body, separators=(",", ":")).replace("/", "\\/").encode()
        key = html.unescape(html.escape(VARIABLES["WOO_WEBHOOK_SECRET"])).encode()
        headers = {
            "content-type": "application/json",
            "x-wc-webhook-topic": topic,
            "x-wc-webhook-signature": base64.b64encode(hmac.digest(key, text, "sha256")).decode(),
            "x-wc-webhook-delivery-id": hmac.digest(b"id", text, "sha256").hex()[:24],
        }
        return Delivery("/v1/webhooks/woo", headers, text, {})


def body_of(parent: Record, own: Record) -> Record:
    """A variation as a webhook has it: as a product of the type `variation`, without what its parent has."""
    empty = {"categories": [], "images": [], "variations": [], "description": "", "sku": own["sku"] or parent["sku"]}
    name = f"{parent['name']} - {own['id']}"
    return product(own["id"], **own) | {"type": "variation", "parent_id": parent["id"], "name": name} | empty


def _error(status: int, code: str) -> Reply:
    return Reply(json.dumps({"code": code, "message": "no", "data": {"status": status}}).encode(), status)


def busy_now_and_then(every: int) -> Callable[[Asked, int], Reply | None]:
    """A server that answers some requests with 503 or 429, or cuts them off."""
    faults: Iterator[Reply]

    def before(_asked: Asked, number: int) -> Reply | None:
        nonlocal faults
        return next(faults) if number % every == 0 else None

    def all_faults() -> Iterator[Reply]:
        while True:
            yield Reply(b"<html>", 503, {"retry-after": "0"})
            yield Reply(b"", 429, {"retry-after": "0"})
            yield Reply(b"[" + b" " * 5_000 + b"]", cut=100)

    faults = all_faults()
    return before
