"""Sagas for people: what is shown, and what is decided."""

from typing import TypedDict

import httpx2
import pytest

from pagefold import Config, SagaStateError, Shop, UnknownSaga, UnknownSagaPage
from pagefold.engine.errors import Rejected
from tests.sagas.test_saga_work import ended, hold, refusing
from tests.support.http_clients import client_of, problem_in, service_of
from tests.support.saga_shop import CHANNEL, Sides, rename, two_targets, version_held, with_saga, working


class Why(TypedDict):
    """Who decides, and why."""

    by: str
    reason: str


BY = Why(by="ada", reason="a test")
PAGE = f"/v1/sagas/listing/pages/{CHANNEL}/MUG"


async def stuck(shop: Shop, sides: Sides) -> None:
    """Both have the first version; the second target refuses the second one, after it was decided."""
    await rename(shop, "MUG", 1)
    await hold(sides, "v1")
    await ended(shop, "current", "v1")
    sides.second.refuses = refusing("v2")
    await rename(shop, "MUG", 2)
    await ended(shop, "dead", "v2")


async def test_a_person_has_it_tried_again(config: Config) -> None:
    """It is listed first, with what the target has said; then it is completed."""
    async with two_targets() as sides, working(with_saga(config, sides, pivot="first")) as shop:
        await stuck(shop, sides)
        [status] = await shop.sagas.list()
        assert (status.targets, status.pivot, status.completed, status.person) == (["first", "second"], "first", 0, 1)
        [page] = await shop.sagas.pages("listing")
        assert (page.state, page.step, page.target) == ("person", "needs a person", "second")
        assert page.reason.startswith("422")
        shown = await shop.sagas.page("listing", "MUG", CHANNEL)
        assert [each.state for each in shown.targets] == ["current", "dead"]
        sides.second.refuses = lambda _: False
        await shop.sagas.resume("listing", "MUG", CHANNEL, **BY)
        await hold(sides, "v2")
        await ended(shop, "current", "v2")
        assert await shop.sagas.pages("listing") == []
        with pytest.raises(SagaStateError, match="cannot be resumed"):
            await shop.sagas.resume("listing", "MUG", CHANNEL, **BY)
        entries = (await shop.audit.page(limit=2)).entries
        assert [(each.action, each.outcome) for each in entries] == [
            ("sagas resume", "refused"),
            ("sagas resume", "done"),
        ]


async def test_a_person_has_it_taken_back(config: Config) -> None:
    """Those that have it get what all had before; a later attempt is a decision, too."""
    async with two_targets() as sides, working(with_saga(config, sides, pivot="first")) as shop:
        await stuck(shop, sides)
        await shop.sagas.compensate("listing", "MUG", CHANNEL, **BY)
        await hold(sides, "v1")
        await ended(shop, "discarded", "v2")
        [page] = await shop.sagas.pages("listing", "refused")
        assert page.reason == "ada: a test"
        sides.second.refuses = lambda _: False
        await shop.sagas.resume("listing", "MUG", CHANNEL, **BY)
        await hold(sides, "v2")


async def test_a_person_settles_it(config: Config) -> None:
    """The targets are left as they are, until the page changes."""
    async with two_targets() as sides, working(with_saga(config, sides, pivot="first")) as shop:
        await stuck(shop, sides)
        await shop.sagas.settle("listing", "MUG", CHANNEL, **BY)
        await ended(shop, "discarded", "v2")
        assert [version_held(side, "MUG") for side in sides] == ["v2", "v1"]
        [row] = await shop.store.deliveries.receipts(["MUG"], "second")
        assert row.state == "discarded"
        await rename(shop, "MUG", 3)
        await hold(sides, "v3")


async def test_what_cannot_be_decided(config: Config) -> None:
    """Unknown names, and no reason."""
    async with two_targets() as sides, working(with_saga(config, sides)) as shop:
        with pytest.raises(UnknownSaga, match="there are listing"):
            await shop.sagas.pages("listings")
        with pytest.raises(UnknownSagaPage, match="no record of MUG"):
            await shop.sagas.page("listing", "MUG", CHANNEL)
        with pytest.raises(UnknownSagaPage):
            await shop.sagas.settle("listing", "MUG", CHANNEL, **BY)
        with pytest.raises(Rejected):
            await shop.sagas.settle("listing", "MUG", CHANNEL, by="ada", reason=" ")


async def test_over_http(config: Config) -> None:
    """The same, under the name of the token."""
    async with (
        two_targets() as sides,
        working(with_saga(config, sides, pivot="first")) as shop,
        client_of(service_of(shop, None), "operator") as client,
    ):
        await stuck(shop, sides)
        assert (await client.get("/v1/sagas")).json()["sagas"][0]["person"] == 1
        listed = (await client.get("/v1/sagas/listing/pages", params={"state": "person"})).json()["pages"]
        assert [(page["sku"], page["target"]) for page in listed] == [("MUG", "second")]
        assert await posted(client, f"{PAGE}:compensate") == "MUG"
        await hold(sides, "v1")
        await ended(shop, "discarded", "v2")
        assert (await client.get(PAGE)).json()["state"] == "refused"
        assert problem_in(await client.post(f"{PAGE}:compensate", json={"reason": "x"}))["status"] == 409
        assert (await client.get("/v1/sagas/listing/pages/web-de/CUP")).status_code == 404
        assert (await client.get("/v1/sagas/other/pages")).status_code == 404


async def posted(client: httpx2.AsyncClient, path: str) -> str:
    """Decides; the SKU of the page that is answered."""
    answer = await client.post(path, json={"reason": "a test"})
    assert answer.status_code == 200, answer.text
    sku: str = answer.json()["sku"]
    return sku
