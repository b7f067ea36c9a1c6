"""Notifications that have only an id make fetches: nothing is forgotten, nothing fetched twice; on both stores."""

import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

from pagefold.engine.sync.fetch_worker import MAX_TRIES
from tests.support.fake_endpoint import Reply
from tests.support.small_shop import everything
from tests.support.thin_events import Fixture, Products, notification, notified, two_products


@pytest.fixture
def products() -> Products:
    """Two products."""
    return two_products()


@pytest.fixture
async def thin(store_url: str, products: Products) -> AsyncIterator[Fixture]:
    """A shop that is notified of products."""
    async with notified(store_url, products) as fixture:
        yield fixture


async def test_a_notification_makes_a_fetch_that_enters_with_its_own_version(thin: Fixture) -> None:
    """It is answered at once, and the record comes later, with the version that it has then."""
    assert await thin.notify(notification("p-1", version=2)) == ["wanted"]
    assert thin.products.asked == []
    assert (await thin.fetch()).fetched == 1
    assert [await thin.name("TEE-S"), await thin.name("TEE-M")] == ["Tee", "Tee"]
    versions = [each.originator_version for each in await everything(thin.shop.store)]
    assert versions == [3, 3]
    assert await thin.wanted() == []


async def test_many_notifications_of_one_record_are_one_fetch(thin: Fixture) -> None:
    """And those of another record another one."""
    for version in range(5):
        await thin.notify(notification("p-1", version=version))
    await thin.notify(notification("p-2"))
    assert await thin.wanted() == [("p-1", 5, 0), ("p-2", 1, 0)]
    assert (await thin.fetch()).fetched == 2
    assert sorted(thin.products.asked) == ["p-1", "p-2"]


async def test_a_notification_during_its_fetch_makes_one_more(thin: Fixture, monkeypatch: pytest.MonkeyPatch) -> None:
    """What changed after the answer was written is not lost."""
    await thin.notify(notification("p-1"))
    take = thin.shop.webhooks.take

    async def meanwhile(*arguments: Any) -> Any:  # noqa: ANN401  # of the method
        monkeypatch.setattr(thin.shop.webhooks, "take", take)
        thin.products.change("p-1", "Tea", 4, "TEE-S")
        await thin.notify(notification("p-1"))
        return await take(*arguments)

    monkeypatch.setattr(thin.shop.webhooks, "take", meanwhile)  # the answer was read, and is not taken yet
    await thin.fetch()
    assert await thin.wanted() == [("p-1", 2, 0)]
    await thin.fetch()
    assert await thin.name("TEE-S") == "Tea"
    assert await thin.wanted() == []


async def test_what_no_fetch_counts_for_is_read_by_the_contract(store_url: str, products: Products) -> None:
    """Without a contract it is ignored; with one, it makes statements."""
    async with notified(store_url, products) as thin:
        assert await thin.notify(notification("c-1", "category")) == ["ignored"]
        assert await thin.wanted() == []
    contract = {"sku": "sku", "sourceVersion": "v", "catalog": {"attributes": {"name": "name"}}}
    async with notified(store_url, products, {"contract": contract}) as thin:
        assert await thin.notify({"sku": "A", "v": 1, "name": "Fat"}) == ["appended"]
        assert await thin.notify(notification("p-1")) == ["wanted"]
        assert await thin.name("A") == "Fat"


async def test_several_notifications_of_one_message(store_url: str, products: Products) -> None:
    """Each makes its own fetch; one that cannot is kept alone, and the others are not fetched again for it."""
    hook = {
        "contract": {"sku": "events.0.sku", "sourceVersion": "events.0.v", "catalog": {"attributes": {"name": "x"}}}
    }
    async with notified(store_url, products, hook, items="events") as thin:
        events = [notification("p-1"), notification(""), {"sku": "B", "v": 1, "x": 0}, notification("p-2")]
        assert await thin.notify({"events": events}) == ["wanted", "kept", "appended", "wanted"]
        [letter] = await thin.letters()
        assert json.loads(letter.state) == {"events": [notification("")]}
        assert "no value at 'resource.id'" in letter.error
        assert (await thin.fetch()).fetched == 2


async def test_a_header_chooses(store_url: str, products: Products) -> None:
    """`only` may name a header; it is kept with the notification, for the fetch is made by the same rule."""
    only = {"@header.X-Topic": ["products/update"]}
    async with notified(store_url, products, only=only) as thin:
        assert await thin.notify(notification("p-1"), **{"X-Topic": "orders/paid"}) == ["ignored"]
        assert await thin.notify(notification("p-1"), **{"X-Topic": "products/update"}) == ["wanted"]
        assert (await thin.fetch()).fetched == 1
        assert await thin.name("TEE-M") == "Tee"


# --- records that are not there -------------------------------------------------------------------


@pytest.mark.parametrize("status", [404, 410])
async def test_a_record_that_is_gone_is_withdrawn(thin: Fixture, status: int) -> None:
    """All SKUs of its reference; when the source says it again, if only the same, it is there again."""
    await thin.notify(notification("p-1"))
    await thin.fetch()
    thin.products.broken = lambda _asked: Reply(b"gone", status=status)
    await thin.notify(notification("p-1"))
    assert (await thin.fetch()).missing == 1
    assert [await thin.name("TEE-S"), await thin.name("TEE-M")] == [None, None]
    thin.products.broken = lambda _asked: None
    await thin.notify(notification("p-1"))
    await thin.fetch()
    assert [await thin.name("TEE-S"), await thin.name("TEE-M")] == ["Tee", "Tee"]
    assert await thin.letters() == []


async def test_a_sku_may_say_what_is_missing(store_url: str, products: Products) -> None:
    """And an answer without a row, where the source answers so."""
    missing = {"sku": "code", "empty": True}
    async with notified(store_url, products, missing=missing, rows="data") as thin:
        thin.products.broken = lambda asked: Reply(json.dumps({"data": products.products[asked.path[-3:]]}).encode())
        await thin.notify(notification("p-2", code="P-2"))
        await thin.fetch()
        assert await thin.name("P-2") == "Hat"
        thin.products.broken = lambda _asked: Reply(b'{"data":null}')
        await thin.notify(notification("p-2", code="P-2"))
        assert (await thin.fetch()).missing == 1
        assert await thin.name("P-2") is None


async def test_what_would_withdraw_much_needs_a_person(thin: Fixture) -> None:
    """`references.max_withdrawn`: the notification is a dead letter, whose retry withdraws."""
    thin.products.change("p-1", "Tee", 3, *(f"TEE-{number}" for number in range(4)))
    await thin.notify(notification("p-1"))
    await thin.fetch()
    del thin.products.products["p-1"]
    await thin.notify(notification("p-1"))
    assert (await thin.fetch()).dead == 1
    assert await thin.name("TEE-3") == "Tee"
    [letter] = await thin.letters()
    assert "4 SKUs of it would be withdrawn" in letter.error
    assert await thin.shop.dead_letters.retry(letter, by="ada") == "resolved"
    await thin.fetch()
    assert await thin.name("TEE-3") is None
    assert await thin.letters() == []


async def test_an_address_that_finds_nothing_withdraws_little(thin: Fixture) -> None:
    """After some records in a row, the next ones wait for a person: the address may be wrong."""
    for number in range(6):
        thin.products.change(f"q-{number}", "Cup", 1)
        await thin.notify(notification(f"q-{number}"))
    await thin.fetch()
    thin.products.broken = lambda _asked: Reply(b"no such page", status=404)
    for number in range(6):
        await thin.notify(notification(f"q-{number}"))
    report = await thin.fetch()
    assert (report.missing, report.dead) == (3, 3)
    assert len([number for number in range(6) if await thin.name(f"Q-{number}") is None]) == 3


async def test_without_missing_a_404_is_a_failure(store_url: str, products: Products) -> None:
    """Nothing is withdrawn, and a person learns of it."""
    async with notified(store_url, products, missing=None) as thin:
        await thin.notify(notification("p-9"))
        for _ in range(MAX_TRIES):
            await thin.fetch(100.0)
        [letter] = await thin.letters()
        assert "it answers 404 Not Found, after 7 tries" in letter.error


# --- what fails -----------------------------------------------------------------------------------


async def test_what_is_refused_is_tried_seven_times(thin: Fixture) -> None:
    """Then its notification is a dead letter; the retry of that fetches again."""
    thin.products.broken = lambda _asked: Reply(b"{}", status=400)
    await thin.notify(notification("p-1"))
    assert (await thin.fetch()).failed == 1
    assert await thin.wanted() == [("p-1", 1, 1)]
    assert (await thin.fetch(0.0)).failed == 0, "it waits for a second"
    for _ in range(MAX_TRIES - 1):
        await thin.fetch(100.0)
    assert len(thin.products.asked) == MAX_TRIES
    assert await thin.wanted() == []
    [letter] = await thin.letters()
    assert json.loads(letter.state) == notification("p-1")
    assert letter.via == "webhook"
    thin.products.broken = lambda _asked: None
    assert await thin.shop.dead_letters.retry(letter) == "resolved"
    assert (await thin.shop.dead_letters.get(letter.id)).resolution == "wanted"
    await thin.fetch()
    assert await thin.name("TEE-S") == "Tee"


async def test_a_server_that_is_away_for_an_hour(thin: Fixture) -> None:
    """It is asked again and again by one fetch at a time, less and less often; nothing needs a person after it."""
    thin.products.broken = lambda _asked: Reply(b"", status=503)
    for key in ("p-1", "p-2"):
        await thin.notify(notification(key))
    for _ in range(360):
        await thin.fetch(10.0)
    assert 40 < len(thin.products.asked) < 180, "once a minute, not once every ten seconds for each"
    assert await thin.letters() == []
    thin.products.broken = lambda _asked: None
    for _ in range(10):
        await thin.fetch(60.0)
    assert [await thin.name("TEE-S"), await thin.name("P-2")] == ["Tee", "Hat"]
    assert await thin.wanted() == []


async def test_a_server_that_is_away_for_days_is_reported(thin: Fixture) -> None:
    """After a day, what could not be fetched is a dead letter."""
    thin.products.broken = lambda _asked: Reply(b"", status=503)
    await thin.notify(notification("p-1"))
    for _ in range(MAX_TRIES):
        await thin.fetch(5 * 3600.0)
    assert ["after 7 tries" in each.error for each in await thin.letters()] == [True]


async def test_the_server_says_how_long_it_wants_to_be_left_alone(thin: Fixture) -> None:
    """429 with `Retry-After`: nothing is asked of it before that, and then everything is."""
    thin.products.broken = lambda _asked: Reply(b"", status=429, headers={"retry-after": "30"})
    await thin.notify(notification("p-1"))
    await thin.fetch()
    thin.products.broken = lambda _asked: None
    await thin.notify(notification("p-2"))
    await thin.fetch(20.0)
    assert thin.products.asked == ["p-1"]
    await thin.fetch(15.0)
    assert sorted(thin.products.asked) == ["p-1", "p-1", "p-2"]
    assert await thin.wanted() == []


@pytest.mark.parametrize(
    "reply",
    [Reply(b"<html>"), Reply(b'{"id":', status=200), Reply(b'"a text"'), Reply(b'{"a":1}', cut=3)],
    ids=["no JSON", "half of it", "no record", "cut"],
)
async def test_an_answer_that_cannot_be_read_is_asked_for_again(thin: Fixture, reply: Reply) -> None:
    """Nothing is stated of it."""
    thin.products.broken = lambda _asked: reply
    await thin.notify(notification("p-1"))
    assert (await thin.fetch()).failed == 1
    thin.products.broken = lambda _asked: None
    assert (await thin.fetch(2.0)).fetched == 1
    assert await thin.name("TEE-S") == "Tee"


async def test_a_record_that_the_contract_cannot_read_is_kept(thin: Fixture) -> None:
    """The record, not the notification: the retry reads it again by the contract of the fetch."""
    thin.products.change("p-1", "Tee", -3)
    await thin.notify(notification("p-1"))
    assert (await thin.fetch()).fetched == 1
    [letter] = await thin.letters()
    assert (letter.via, json.loads(letter.state)["id"]) == ("fetch", "p-1")
    assert await thin.shop.dead_letters.retry(letter) == "still dead"


async def test_a_clock_that_was_wrong_delays_nothing(thin: Fixture) -> None:
    """A fetch that was noted to be due next year is due."""
    await thin.notify(notification("p-1"))
    thin.products.broken = lambda _asked: Reply(b"", status=400)
    thin.clock.passes(365 * 86_400.0)
    await thin.fetch()
    thin.products.broken = lambda _asked: None
    thin.clock.passes(-365 * 86_400.0)
    assert (await thin.fetch()).fetched == 1


async def test_a_rule_that_is_gone_reads_its_notifications_again(store_url: str, products: Products) -> None:
    """What is wanted, and is not asked for by the configuration of today, is what it is by that."""
    async with notified(store_url, products) as thin:
        await thin.notify(notification("p-1"))
        await thin.notify(notification("p-2"))
    async with notified(store_url, products, only={"resource.id": ["p-2"]}) as thin:
        assert (await thin.fetch()).fetched == 1
        assert products.asked == ["p-2"]
        assert await thin.wanted() == []
