"""An imitation of Akeneo's REST API: tokens of an hour, pages behind a cursor, filters, and limits."""

import base64
import random
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias
from urllib.parse import urlencode

import orjson

from tests.support.fake_endpoint import Asked, Reply

Product: TypeAlias = dict[str, Any]

SECRETS = {
    "AKENEO_CLIENT_ID": "1_client",
    "AKENEO_CLIENT_SECRET": "secret-1",
    "AKENEO_USER": "pagefold_7",
    "AKENEO_PASSWORD": "pass-1",
    "AKENEO_WEBHOOK_SECRET": "nordlicht-akeneo-secret",
}
PREFIX = "/api/rest/v1/"
TOKEN_REQUESTS = 60
"""So many requests a token is good for."""


class Akeneo:
    """A PIM. Before each page, `between` may change it; one in `limit_rate` requests is answered 429."""

    def __init__(self, url: Callable[[], str]) -> None:
        self._url = url
        self.products: dict[str, Product] = {}
        self.models: dict[str, Product] = {}
        self.between: Callable[[], None] = lambda: None
        self.limit_rate = 0
        self.limited = self.tokens = 0
        self.asked: list[str] = []
        self._uses = 0
        self._luck = random.Random(1)

    def __call__(self, asked: Asked) -> Reply:
        """An answer."""
        if asked.path == "/api/oauth/v1/token":
            return self._token(asked)
        if asked.headers.get("authorization") != f"Bearer token-{self.tokens}" or self._uses >= TOKEN_REQUESTS:
            return _error(401, "The access token provided has expired.")
        self._uses += 1
        if self.limit_rate and self._luck.randrange(self.limit_rate) == 0:
            self.limited += 1
            return _error(429, "Too many requests", {"retry-after": "0"})
        kind, _, identifier = asked.path.removeprefix(PREFIX).partition("/")
        rows = {"products-uuid": self.products, "product-models": self.models}.get(kind)
        if rows is None:
            return _error(404, "No route found")
        self.asked.append(f"{kind}/{identifier}" if identifier else kind)
        if not identifier:
            return self._page(kind, rows, asked.query)
        return _json(rows[identifier]) if identifier in rows else _error(404, "does not exist")

    def _token(self, asked: Asked) -> Reply:
        client = base64.b64encode(b"1_client:secret-1").decode()
        fields = orjson.loads(asked.body)
        person = (fields.get("username"), fields.get("password")) == ("pagefold_7", "pass-1")
        refreshed = fields.get("refresh_token") == f"refresh-{self.tokens}"
        if asked.headers.get("authorization") != f"Basic {client}" or not (person or refreshed):
            return _error(422, "Parameter is missing or no match is found")
        self.tokens += 1
        self._uses = 0
        names = {"access_token": f"token-{self.tokens}", "refresh_token": f"refresh-{self.tokens}"}
        return _json({**names, "expires_in": 3600, "token_type": "bearer", "scope": None})

    def _page(self, kind: str, rows: Mapping[str, Product], query: Mapping[str, str]) -> Reply:
        limit = int(query.get("limit", "10"))
        if limit > 100 or query.get("pagination_type") != "search_after":
            return _error(422, "You cannot request more than 100 items.")
        self.between()
        after = query.get("search_after", "")
        found = [row for key, row in sorted(rows.items()) if key > after and _matches(row, query.get("search"))]
        items = found[:limit]
        links = {"self": {"href": self._href(kind, query)}}
        if len(found) > limit:
            key = "uuid" if kind == "products-uuid" else "code"
            links["next"] = {"href": self._href(kind, {**query, "search_after": items[-1][key]})}
        return _json({"_links": links, "_embedded": {"items": items}})

    def _href(self, kind: str, query: Mapping[str, str]) -> str:
        return f"{self._url()}{PREFIX}{kind}?{urlencode(query)}"


def _matches(row: Product, search: str | None) -> bool:
    """Whether a search of one filter finds a product."""
    for name, filters in (orjson.loads(search) if search else {}).items():
        [given] = filters
        if given["operator"] == "=":
            return bool(row[name] == given["value"])
        assert (name, given["operator"]) == ("updated", ">")
        return bool(row["updated"][:19].replace("T", " ") > given["value"])
    return True


def _json(value: object) -> Reply:
    return Reply(orjson.dumps(value))


def _error(status: int, message: str, headers: Mapping[str, str] | None = None) -> Reply:
    return Reply(orjson.dumps({"code": status, "message": message}), status, headers or {})


def products_of(rows: Sequence[Product]) -> dict[str, Product]:
    """Products by their uuid."""
    return {row["uuid"]: row for row in rows}
