"""An imitation of commercetools' HTTP API: tokens that expire, predicates, sorting, pages, and overload."""

import random
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

import orjson

from tests.support.fake_endpoint import Asked, Reply

Resource: TypeAlias = dict[str, Any]

SECRETS = {"COMMERCETOOLS_CLIENT_ID": "client-1", "COMMERCETOOLS_CLIENT_SECRET": "secret-1"}
BASIC = "Basic Y2xpZW50LTE6c2VjcmV0LTE="
MAX_OFFSET = 10_000
TOKEN_REQUESTS = 50
"""So many requests a token is good for."""


class Commercetools:
    """A project. Before each page, `between` may change it; one in `overload_rate` requests is answered 503."""

    def __init__(self) -> None:
        self.resources: dict[str, list[Resource]] = {
            "product-projections": [],
            "standalone-prices": [],
            "inventory": [],
        }
        self.between: Callable[[], None] = lambda: None
        self.overload_rate = 0
        self.overloads = self.tokens = 0
        self.keys: Resource = {}
        self.asked: list[str] = []
        self._uses = 0
        self._luck = random.Random(1)

    def __call__(self, asked: Asked) -> Reply:
        """An answer."""
        if asked.path == "/keys":
            return _json(self.keys)
        if asked.path == "/oauth/token":
            return self._token(asked)
        if asked.headers.get("authorization") != f"Bearer token-{self.tokens}" or self._uses >= TOKEN_REQUESTS:
            return _error(401, "invalid_token")
        self._uses += 1
        if self.overload_rate and self._luck.randrange(self.overload_rate) == 0:
            self.overloads += 1
            return _error(503, "OverCapacity")
        found = re.fullmatch(r"/nordhaus/([a-z-]+)(?:/([\w-]+))?", asked.path)
        if found is None or found[1] not in self.resources:
            return _error(404, "ResourceNotFound")
        self.asked.append(asked.path.removeprefix("/nordhaus/"))
        return self._page(found[1], asked.query) if found[2] is None else self._one(found[1], found[2])

    def _token(self, asked: Asked) -> Reply:
        if asked.headers.get("authorization") != BASIC and b"client_secret=secret-1" not in asked.body:
            return _error(401, "invalid_client")
        self.tokens += 1
        self._uses = 0
        return _json({"access_token": f"token-{self.tokens}", "expires_in": 172_800, "token_type": "Bearer"})

    def _one(self, kind: str, identifier: str) -> Reply:
        found = [each for each in self.resources[kind] if each["id"] == identifier]
        return _json(found[0]) if found else _error(404, "ResourceNotFound")

    def _page(self, kind: str, query: Mapping[str, str]) -> Reply:
        limit, offset = int(query.get("limit", "20")), int(query.get("offset", "0"))
        if limit > 500 or offset > MAX_OFFSET:
            return _error(400, "InvalidInput")
        self.between()
        rows = _filtered(self.resources[kind], query.get("where"))
        member, _, _direction = query.get("sort", "id asc").partition(" ")
        rows = sorted(rows, key=lambda each: each[member])
        results = rows[offset : offset + limit]
        page = {"limit": limit, "offset": offset, "count": len(results), "results": results}
        return _json(page | ({} if query.get("withTotal") == "false" else {"total": len(rows)}))


def _filtered(rows: Sequence[Resource], where: str | None) -> Sequence[Resource]:
    """The resources of which a predicate of one comparison is true."""
    if where is None:
        return rows
    found = re.fullmatch(r'(\w+) ?(>|=) ?"([^"]*)"', where)
    assert found is not None, where
    member, comparison, value = found.groups()
    if comparison == "=":
        return [each for each in rows if each[member] == value]
    return [each for each in rows if each[member] > value]


def _json(value: object) -> Reply:
    return Reply(orjson.dumps(value))


def _error(status: int, code: str) -> Reply:
    return Reply(orjson.dumps({"statusCode": status, "message": code, "errors": [{"code": code}]}), status)
