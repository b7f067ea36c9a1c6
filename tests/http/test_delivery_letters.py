"""Deliveries that were given up, over HTTP: with the routes of other dead letters."""

from collections.abc import AsyncIterator

import httpx2
import pytest

import pagefold
from pagefold import Config, Shop
from tests.http.test_dead_letters import DEAD_LETTERS, DISCARD, RETRY, listed, shown
from tests.support.given_up import BROKEN, give_up, with_target
from tests.support.http_clients import client_of, problem_in, service_of
from tests.support.small_shop import catalog, say


@pytest.fixture
async def shop(config: Config) -> AsyncIterator[Shop]:
    """A shop whose target has refused two pages."""
    async with pagefold.open(with_target(config)) as opened:
        await say(opened, catalog("shirt", sku="A"))
        await give_up(opened, "A")
        await give_up(opened, "B")
        yield opened


@pytest.fixture
async def client(shop: Shop) -> AsyncIterator[httpx2.AsyncClient]:
    """An operator's client."""
    async with client_of(service_of(shop, None), "operator") as opened:
        yield opened


async def test_one_is_shown(client: httpx2.AsyncClient) -> None:
    """With its target, what it has answered, and the document that would be sent."""
    assert await listed(client, kind="delivery", limit=1) == ["delivery-2", "delivery-1"]
    assert await listed(client, kind="delivery", source="other") == []
    found = await shown(client, "delivery-1")
    assert (found["kind"], found["source"], found["sku"], found["channel"]) == ("delivery", "shop", "A", "web-de")
    assert (found["domain"], found["version"], found["error"]) == (None, None, BROKEN.format("A"))
    assert found["event"]["catalog"]["attributes"]["code"] == "shirt"
    assert (found["headers"]["target"], found["headers"]["tries"]) == ("shop", "1")
    [cause] = (await client.get(f"{DEAD_LETTERS}:causes")).json()["items"]
    assert (cause["kind"], cause["letters"], cause["source"]) == ("delivery", 2, "shop")
    assert await listed(client, cause=cause["cause"]) == ["delivery-2", "delivery-1"]


async def test_it_is_retried_edited_and_discarded(shop: Shop, client: httpx2.AsyncClient) -> None:
    """One by one; what is wrong with a document is said, and nothing is sent then."""
    assert (await client.post(f"{DEAD_LETTERS}/delivery-1:retry")).json() == {"id": "delivery-1", "result": "queued"}
    assert (await client.post(f"{DEAD_LETTERS}/delivery-1:retry")).json()["result"] == "gone"
    correct = f"{DEAD_LETTERS}/delivery-2:correct"
    assert problem_in(await client.post(correct, json={"payload": [1]}))["errors"][0]["path"] == "payload"
    assert problem_in(await client.post(correct, json={"payload": {}, "version": 2}))["errors"][0]["path"] == "version"
    answer = await client.post(correct, json={"payload": {"sku": "B"}, "reason": "by hand"})
    assert answer.json() == {"id": "delivery-2", "outcome": "queued", "position": None}
    assert (await client.post(correct, json={"payload": {"sku": "B"}})).status_code == 409
    await give_up(shop, "C")
    [name] = await listed(client, kind="delivery")
    answer = await client.post(f"{DEAD_LETTERS}/{name}:discard", json={"reason": "a test"})
    assert (answer.json()["resolution"], answer.json()["reason"]) == ("discarded", "a test")
    assert await listed(client, kind="delivery", resolved="true") == [name]


async def test_many_are_decided_about(shop: Shop, client: httpx2.AsyncClient) -> None:
    """With the number that was counted."""
    assert (await client.post(RETRY, json={"kind": "delivery", "dryRun": True})).json()["selected"] == 2
    assert (await client.post(RETRY, json={"kind": "delivery", "expect": 3})).status_code == 409
    answer = (await client.post(RETRY, json={"kind": "delivery", "expect": 2})).json()
    assert (answer["queued"], answer["resolved"], answer["next"]) == (2, 0, None)
    await give_up(shop, "C")
    body = {"kind": "delivery", "source": "shop", "expect": 1, "reason": "a test"}
    assert (await client.post(DISCARD, json=body)).json()["discarded"] == 1
