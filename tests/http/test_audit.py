"""The audit over HTTP: who did what, under the name of the caller's token."""

from collections.abc import AsyncIterator

import httpx2
import pytest

from pagefold import Shop
from tests.support.http_clients import client_of, problem_in, service_of
from tests.support.small_shop import append, price

AUDIT = "/v1/audit"


@pytest.fixture
async def client(shop: Shop) -> AsyncIterator[httpx2.AsyncClient]:
    """An operator's client."""
    async with client_of(service_of(shop, None), "operator") as opened:
        yield opened


async def test_decisions_of_callers(shop: Shop, client: httpx2.AsyncClient) -> None:
    """Each has the token, the route and the reason; a decision that is refused has one, too."""
    await append(shop, price("10.00"))
    await shop.append([price("12.00")])
    assert (await client.get(AUDIT)).json() == {"items": [], "next": None}
    letter = "/v1/dead-letters/ingest-1"
    await client.post(f"{letter}:retry")
    await client.post("/v1/dead-letters:discard", json={"all": True, "reason": "a test", "expect": 3})
    await client.post(f"{letter}:discard", json={"reason": "a test"})
    await client.post("/v1/epochs", json={"scope": "erp", "reason": "a restore"})
    items = (await client.get(AUDIT)).json()["items"]
    assert [(each["action"], each["target"], each["command"], each["outcome"]) for each in items] == [
        ("epochs raise", "erp", "POST /v1/epochs", "done"),
        ("dead-letters discard", "ingest-1", f"POST {letter}:discard", "done"),
        ("dead-letters discard", "--all", "POST /v1/dead-letters:discard", "refused"),
        ("dead-letters retry", "ingest-1", f"POST {letter}:retry", "done"),
    ]
    assert {(each["actor"], each["via"]) for each in items} == {("tok_operator", "http")}
    assert items[1]["reason"] == "a test"
    first = (await client.get(AUDIT, params={"action": "dead-letters", "limit": 2})).json()
    second = (await client.get(AUDIT, params={"action": "dead-letters", "after": first["next"]})).json()
    assert [each["number"] for each in first["items"] + second["items"]] == [3, 2, 1]
    assert second["next"] is None
    assert (await client.get(AUDIT, params={"target": "erp", "actor": "nobody"})).json()["items"] == []


async def test_only_operators_read_it(shop: Shop) -> None:
    """It names people and reasons."""
    async with client_of(service_of(shop, None), "reader") as reader:
        assert (await reader.get(AUDIT)).status_code == 403


@pytest.mark.parametrize(("query", "path"), [("limit=0", "limit"), ("after=x", "after"), ("color=red", "color")])
async def test_an_invalid_parameter_is_named(client: httpx2.AsyncClient, query: str, path: str) -> None:
    """It is 422, with the parameter."""
    assert problem_in(await client.get(f"{AUDIT}?{query}"))["errors"][0]["path"] == path
