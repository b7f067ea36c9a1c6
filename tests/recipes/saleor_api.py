"""An imitation of Saleor: its GraphQL API with pages, errors in good responses and limits, and its signed events."""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from operator import itemgetter
from typing import Any

import orjson

from tests.support.fake_endpoint import Asked, Reply

TOKEN = "sal30r-t0k3n"  # noqa: S105  # it opens nothing
MAX_FIRST = 100


class Saleor:
    """A shop with products and their variants. `fault` answers at times; `between` is called after each page."""

    def __init__(self) -> None:
        self.products: dict[str, dict[str, Any]] = {}
        self.variants: dict[str, dict[str, Any]] = {}
        self.clock = datetime(2026, 3, 2, 9, 15, 0, 123456, tzinfo=UTC)
        self.fault: Callable[[Asked], Reply | None] = lambda _: None
        self.between: Callable[[], None] = lambda: None
        self.key_set: dict[str, Any] = {"keys": []}

    # --- what people do in it ---

    def later(self, seconds: int = 60) -> None:
        """Time passes."""
        self.clock += timedelta(seconds=seconds)

    def product(self, number: str, name: str, **values: Any) -> None:  # noqa: ANN401  # fields of any kind
        """Makes or changes a product."""
        usual: dict[str, Any] = {"id": number, "slug": name.lower(), "de": None, "productType": {"slug": "shirt"}}
        usual |= {"category": {"slug": "apparel"}, "attributes": [], "media": []}
        usual["channelListings"] = [{"channel": {"slug": slug}, "isPublished": True} for slug in ("eu", "us")]
        known = self.products.get(number, {})
        self.products[number] = usual | known | {"name": name, "updatedAt": self.clock.isoformat()} | values

    def variant(self, number: str, product: str, sku: str | None, **values: Any) -> None:  # noqa: ANN401  # likewise
        """Makes or changes a variant."""
        usual: dict[str, Any] = {"id": number, "name": "one", "de": None, "attributes": [], "media": []}
        usual |= {"trackInventory": True, "channelListings": [], "stocks": []}
        own = {"sku": sku, "of": product, "updatedAt": self.clock.isoformat()}
        self.variants[number] = usual | self.variants.get(number, {}) | own | values

    def event(self, name: str, **body: Any) -> tuple[dict[str, str], bytes]:  # noqa: ANN401  # likewise
        """The headers and the body of an event, as a subscription with the root `event` asks for it."""
        headers = {"content-type": "application/json", "saleor-event": name, "saleor-domain": "shop.example"}
        return headers, orjson.dumps({"issuedAt": self.clock.isoformat(), **body})

    # --- what is asked ---

    def __call__(self, asked: Asked) -> Reply:
        """The response to a request."""
        if asked.path == "/.well-known/jwks.json":
            return Reply(orjson.dumps(self.key_set))
        if (reply := self.fault(asked)) is not None:
            return reply
        assert (asked.path, asked.method) == ("/graphql/", "POST")
        if asked.headers.get("authorization") != f"Bearer {TOKEN}":
            return failure("Signature has expired")
        body = orjson.loads(asked.body)
        reply = self._answer(body["query"], body["variables"])
        self.between()
        return reply

    def _answer(self, query: str, given: dict[str, Any]) -> Reply:
        if "productVariants(" in query:
            page = self._page([*self.variants.values()], given)
            return data("productVariants", {**page, "nodes": [*map(self._shown, page["nodes"])]})
        if "products(" in query:
            since = datetime.fromisoformat(given["since"])
            found = [each for each in self.products.values() if datetime.fromisoformat(each["updatedAt"]) >= since]
            return data("products", self._page(found, given))
        if "productVariant(" in query:
            variant = self.variants.get(given["id"])
            return data("productVariant", None if variant is None else self._shown(variant))
        product = self.products.get(given["id"])
        return data("product", None if product is None else {"variants": [*self._variants_of(given["id"])]})

    def _page(self, found: list[dict[str, Any]], given: dict[str, Any]) -> dict[str, Any]:
        """A page of records in the order of their ids, after the one that the cursor names."""
        after = given.get("after") or ""
        rest = sorted((each for each in found if each["id"] > after), key=itemgetter("id"))
        nodes = rest[:MAX_FIRST]
        end = nodes[-1]["id"] if nodes else None
        return {"nodes": nodes, "pageInfo": {"endCursor": end, "hasNextPage": len(rest) > len(nodes)}}

    def _variants_of(self, product: str) -> Iterator[dict[str, Any]]:
        for variant in self.variants.values():
            if variant["of"] == product:
                yield self._shown(variant)

    def _shown(self, variant: dict[str, Any]) -> dict[str, Any]:
        """A variant with its product."""
        return {**variant, "product": self.products[variant["of"]]}


def data(name: str, value: object) -> Reply:
    """A response of GraphQL."""
    cost = {"cost": {"requestedQueryCost": 1, "maximumAvailable": 50_000}}
    return Reply(orjson.dumps({"data": {name: value}, "extensions": cost}))


def failure(message: str) -> Reply:
    """Errors, whose status is 200."""
    return Reply(
        orjson.dumps({"errors": [{"message": message, "extensions": {"exception": {"code": "X"}}}], "data": None})
    )
