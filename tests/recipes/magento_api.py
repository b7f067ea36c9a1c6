"""An imitation of Magento's REST API: signed requests, filters, sorting, pages, store views, and faults."""

import base64
import hashlib
import hmac
import random
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias
from urllib.parse import quote, unquote

import orjson

from tests.support.fake_endpoint import Asked, Reply

Product: TypeAlias = dict[str, Any]

SECRETS = {
    "MAGENTO_CONSUMER_KEY": "key-1",
    "MAGENTO_CONSUMER_SECRET": "secret-1",
    "MAGENTO_ACCESS_TOKEN": "token-1",
    "MAGENTO_ACCESS_TOKEN_SECRET": "secret-2",
}
"""The four secrets of an integration, by the variables of the recipe."""

NOT_FOUND = Reply(b'{"message":"Request does not match any route."}', 404)


class Magento:
    """A shop. `views` are the products of store views, by their code; `special_prices` those of single SKUs.

    Before each page, `between` may change the shop; every request in `fault_rate` fails with 503.
    """

    def __init__(self, url: Callable[[], str]) -> None:
        self._url = url
        self.views: dict[str, list[Product]] = {"default": []}
        self.stock: list[Product] = []
        self.options: Mapping[str, Sequence[object]] = {}
        self.special_prices: list[Product] = []
        self.between: Callable[[], None] = lambda: None
        self.fault_rate = 0
        self._luck = random.Random(1)
        self.faults = 0

    def __call__(self, asked: Asked) -> Reply:
        """An answer."""
        if not self._is_signed(asked):
            return Reply(b'{"message":"The consumer isn\'t authorized to access %resources."}', 401)
        if self.fault_rate and self._luck.randrange(self.fault_rate) == 0:
            self.faults += 1
            return Reply(b"<html>Service Temporarily Unavailable</html>", 503, {"retry-after": "0"})
        found = re.fullmatch(r"/rest/(\w+)/V1/(.+)", asked.path)
        if found is None:
            return NOT_FOUND
        return self._answer(asked, *found.groups())

    def _answer(self, asked: Asked, view: str, route: str) -> Reply:
        if route == "products":
            self.between()
            return self._page(asked.query, self.views[view], "entity_id", "id")
        if route == "inventory/source-items":
            return self._page(asked.query, self.stock, "source_item_id", "sku")
        if route == "products/special-price-information" and asked.method == "POST":
            skus = orjson.loads(asked.body)["skus"]
            return Reply(orjson.dumps([each for each in self.special_prices if each["sku"] in skus]))
        options = re.fullmatch(r"products/attributes/(\w+)/options", route)
        return NOT_FOUND if options is None else Reply(orjson.dumps(self.options[options[1]]))

    def _page(self, query: Mapping[str, str], rows: Sequence[Product], sorted_by: str, key: str) -> Reply:
        """A page as a server before 2.4 gives it: beyond the last one, the last one."""
        place = "searchCriteria[filterGroups][0][filters][0]"
        assert query["searchCriteria[sortOrders][0][field]"] == sorted_by
        if f"{place}[field]" in query:
            assert (query[f"{place}[field]"], query[f"{place}[conditionType]"]) == (sorted_by, "gt")
            rows = [each for each in rows if each[key] > int(query[f"{place}[value]"])]
        rows = sorted(rows, key=lambda each: each[key])
        size, page = int(query["searchCriteria[pageSize]"]), int(query.get("searchCriteria[currentPage]", "1"))
        start = min(page - 1, max((len(rows) - 1) // size, 0)) * size
        found = rows[start : start + size]
        return Reply(orjson.dumps({"items": found, "search_criteria": {"page_size": size}, "total_count": len(rows)}))

    def _is_signed(self, asked: Asked) -> bool:
        """Whether the request has the signature that its method, address, parameters and secrets make."""
        given = re.findall(r'(\w+)="([^"]*)"', asked.headers.get("authorization", ""))
        parts = {name: unquote(value) for name, value in given if name != "realm"}
        signature = parts.pop("oauth_signature", "")
        if parts.get("oauth_consumer_key") != "key-1" or parts.get("oauth_token") != "token-1":
            return False
        pairs = sorted((_quoted(name), _quoted(value)) for name, value in (*asked.query.items(), *parts.items()))
        parameters = "&".join(f"{name}={value}" for name, value in pairs)
        text = "&".join([asked.method, _quoted(self._url() + asked.path), _quoted(parameters)])
        return hmac.compare_digest(
            signature, base64.b64encode(hmac.digest(b"secret-1&secret-2", text.encode(), hashlib.sha256)).decode()
        )


def _quoted(text: str) -> str:
    return quote(text, safe="-._~")
