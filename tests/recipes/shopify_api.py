"""An imitation of Shopify: bulk operations, pages of the REST API, limits, faults, and the sender of its webhooks."""

import base64
import hashlib
import hmac
import json
import random
import re
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple, TypeAlias

import orjson

from tests.recipes.recipe_shop import Delivery
from tests.support.fake_endpoint import Asked, Reply

Line: TypeAlias = dict[str, Any]

SECRETS = {"SHOPIFY_CLIENT_SECRET": "hush", "SHOPIFY_ACCESS_TOKEN": "shpat-1"}
THROTTLED = Reply(b'{"errors":[{"message":"Throttled","extensions":{"code":"THROTTLED"}}]}')


class _Operation(NamedTuple):
    """A bulk operation: its lines as they were when it was done, and whether only a part of them is there."""

    lines: Sequence[Line]
    failed: bool = False


class Shopify:
    """A shop. `products` and `items` are the lines of its bulk operations, `pages` the recorded answers of REST.

    An operation is done when it has been asked for `polls` times; `running` is called each time. `throttle` requests
    are refused first, and `fail` operations fail, with a part of their lines.
    """

    def __init__(self, url: Callable[[], str]) -> None:
        self._url = url
        self.products: list[Line] = []
        self.items: list[Line] = []
        self.pages: Sequence[Reply] = ()
        self.polls = 1
        self.running: Callable[[], None] = lambda: None
        self.throttle = self.fail = self.busy = 0
        self.asked_since: list[str] = []
        self._operations: list[_Operation | None] = []
        self._kinds: list[str] = []
        self._polled = 0

    @property
    def address(self) -> str:
        """Where it is."""
        return self._url()

    def __call__(self, asked: Asked) -> Reply:
        """An answer."""
        if asked.path.startswith("/files/"):
            assert "x-shopify-access-token" not in asked.headers
            return self._file(int(asked.path.removeprefix("/files/")))
        if asked.headers.get("x-shopify-access-token") != "shpat-1":
            return Reply(b'{"errors":"[API] Invalid API key or access token"}', 401)
        if self.throttle:
            self.throttle -= 1
            is_rest = asked.method == "GET"
            return (
                Reply(b'{"errors":"Exceeded 2 calls per second"}', 429, {"retry-after": "0"}) if is_rest else THROTTLED
            )
        if asked.method == "GET":
            return self.pages["page_info" in asked.query]
        body = orjson.loads(asked.body)
        if "bulkOperationRunQuery" in body["query"]:
            return self._start(body["query"])
        return self._poll(int(body["variables"]["id"].rpartition("/")[2]))

    def _start(self, query: str) -> Reply:
        if self.busy:
            self.busy -= 1
            problem = "A bulk query operation for this app and shop is already in progress"
            return _answer({"bulkOperationRunQuery": {"bulkOperation": None, "userErrors": [{"message": problem}]}})
        since = re.search(r"updated_at:>='([^']+)'", query)
        self.asked_since += [since[1]] if since else []
        self._operations.append(None)
        self._kinds.append("items" if "inventoryItems" in query else f"products {since[1] if since else ''}".strip())
        self._polled = 0
        name = f"gid://shopify/BulkOperation/{len(self._operations) - 1}"
        return _answer({"bulkOperationRunQuery": {"bulkOperation": {"id": name}, "userErrors": []}})

    def _poll(self, number: int) -> Reply:
        self._polled += 1
        self.running()
        operation = self._operations[number]
        if operation is None and self._polled >= self.polls:
            operation = self._operations[number] = self._done(self._kinds[number])
        if operation is None:
            node: Line = {"status": "RUNNING", "url": None, "partialDataUrl": None, "objectCount": "0"}
        else:
            file = f"{self._url().replace('127.0.0.1', 'localhost')}/files/{number}"
            node = {"status": "FAILED", "url": None, "partialDataUrl": file, "objectCount": str(len(operation.lines))}
            if not operation.failed:
                node |= {"status": "COMPLETED", "url": file if operation.lines else None, "partialDataUrl": None}
        return _answer({"node": node})

    def _done(self, kind: str) -> _Operation:
        if kind == "items":
            return _Operation(json.loads(json.dumps(self.items)))
        since = kind.removeprefix("products").strip()
        roots = {
            line["id"] for line in self.products if line.get("updatedAt", "") >= since and "__parentId" not in line
        }
        lines = [line for line in self.products if line["id"] in roots or line.get("__parentId") in roots]
        if self.fail:
            self.fail -= 1
            return _Operation(json.loads(json.dumps(lines[: len(lines) // 2])), failed=True)
        return _Operation(json.loads(json.dumps(lines)))

    def _file(self, number: int) -> Reply:
        operation = self._operations[number]
        assert operation is not None
        return Reply(b"".join(orjson.dumps(line) + b"\n" for line in operation.lines))


def _answer(data: Line) -> Reply:
    return Reply(orjson.dumps({"data": data, "extensions": {"cost": {"requestedQueryCost": 10}}}))


def delivery(topic: str, body: object, triggered: str = "2026-03-05T08:00:00.000000001Z") -> Delivery:
    """A signed webhook, as Shopify sends it."""
    text = json.dumps(body).encode()
    signature = base64.b64encode(hmac.digest(SECRETS["SHOPIFY_CLIENT_SECRET"].encode(), text, hashlib.sha256)).decode()
    headers = {
        "content-type": "application/json",
        "x-shopify-topic": topic,
        "x-shopify-hmac-sha256": signature,
        "x-shopify-triggered-at": triggered,
    }
    return Delivery("/v1/webhooks/shop", headers, text, {})


def product_lines(number: int, variants: int, luck: random.Random) -> Iterator[Line]:
    """The lines of one product, and of its variants."""
    product = f"gid://shopify/Product/{number}"
    yield {
        "id": product,
        "handle": f"product-{number}",
        "title": f"Product {number}",
        "vendor": "Nord",
        "status": "ACTIVE",
        "updatedAt": "2026-03-02T09:15:00Z",
        "translations": [{"locale": "de", "key": "title", "value": f"Produkt {number}"}],
    }
    for place in range(variants):
        yield {
            "id": f"gid://shopify/ProductVariant/{number}{place}",
            "sku": f"P-{number}-{place}",
            "barcode": None,
            "price": f"{luck.randrange(100, 9_999) / 100:.2f}",
            "compareAtPrice": None,
            "selectedOptions": [{"name": "Size", "value": str(place)}],
            "inventoryItem": {"id": f"gid://shopify/InventoryItem/{number}{place}", "tracked": True},
            "__parentId": product,
        }


def update_of(lines: Sequence[Line]) -> Line:
    """The body of products/update: the product of these lines as REST has it."""
    product, *variants = lines
    number = int(product["id"].rpartition("/")[2])
    return {
        "id": number,
        "title": product["title"],
        "handle": product["handle"],
        "vendor": product["vendor"],
        "status": product["status"].lower(),
        "updated_at": product["updatedAt"],
        "images": [],
        "options": [{"name": "Size", "values": []}],
        "variants": [
            {
                "sku": each["sku"],
                "price": each["price"],
                "compare_at_price": each["compareAtPrice"],
                "barcode": each["barcode"],
                "option1": each["selectedOptions"][0]["value"],
                "inventory_item_id": int(each["inventoryItem"]["id"].rpartition("/")[2]),
            }
            for each in variants
        ],
    }
