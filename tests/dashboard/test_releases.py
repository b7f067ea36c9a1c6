"""The screens of releases: what is prepared, what it would change, and when it counts; without JavaScript."""

from datetime import UTC, datetime, timedelta

import pytest

from pagefold import Shop
from pagefold.engine.stores.grants import Grant
from tests.support.dashboard_pages import browser_of
from tests.support.small_shop import catalog, price, say

HOSTILE = "<b onmouseover=alert(1)>sale</b>"
READER = Grant("tok_reader", frozenset(["read"]), None)
SALE = "/ui/releases/sale"


async def prepared(shop: Shop) -> None:
    """A product, and a release that gives it another name."""
    await say(shop, catalog("before"), price("9.90"))
    await shop.releases.create("sale", by="ada", reason=HOSTILE)
    await say(shop, catalog(HOSTILE, source="release/sale"))


async def test_a_release_is_created_and_listed(shop: Shop) -> None:
    """Under its name; a name that exists, or cannot be one, is refused."""
    async with browser_of(shop) as browser:
        assert "No release yet" in (await browser.get("/ui/releases")).text
        fields = {"name": "sale", "reason": HOSTILE}
        answer = await browser.decide("/ui/releases", "/ui/releases:create", fields)
        assert (answer.status_code, answer.headers["location"]) == (303, SALE)
        page = (await browser.get(SALE)).text
        assert "as events of the source release/sale" in page
        assert "It counts nowhere yet" in page
        listed = (await browser.get("/ui/releases")).text
        assert "&lt;b onmouseover" in listed
        assert HOSTILE not in listed
        for name in ("sale", "a/b", "../x"):
            answer = await browser.decide("/ui/releases", "/ui/releases:create", {"name": name, "reason": "again"})
            assert answer.status_code in (409, 422)
        assert (await browser.get("/ui/releases/nothing")).status_code == 404


async def test_it_shows_what_it_changes(shop: Shop) -> None:
    """Page by page, field by field, whether it counts or not."""
    await prepared(shop)
    async with browser_of(shop) as browser:
        for _ in range(2):
            page = (await browser.get(SALE)).text
            assert "<del>before</del>" in page
            assert "&lt;b onmouseover=alert(1)&gt;sale" in page
            assert HOSTILE not in page
            assert "1 product" in page
            if not shop.applied.config.releases:
                await shop.releases.publish("sale", by="ada", reason="it is summer")


async def test_it_is_published_and_rolled_back(shop: Shop) -> None:
    """Each after a confirmation with a reason; the side bar counts it; the page is as before in the end."""
    await prepared(shop)
    async with browser_of(shop) as browser:
        confirmation = f"{SALE}?confirm=publish"
        assert "Publish sale?" in (await browser.get(confirmation)).text
        answer = await browser.decide(confirmation, f"{SALE}:publish", {"reason": ""})
        assert answer.status_code == 422
        answer = await browser.decide(confirmation, f"{SALE}:publish", {"reason": "it is summer"})
        assert answer.status_code == 303
        page = (await browser.get(SALE)).text
        assert "of the published ones it is number 1" in page
        assert f"{SALE}:publish" not in page
        answer = await browser.decide(f"{SALE}?confirm=roll-back", f"{SALE}:roll-back", {"reason": "it rains"})
        assert answer.status_code == 303
        assert "It counts nowhere yet" in (await browser.get(SALE)).text
    assert not shop.applied.config.releases


async def test_it_is_scheduled(shop: Shop) -> None:
    """For times in UTC; what is past or no time is refused by name, and empty fields end the schedule."""
    await prepared(shop)
    at = datetime.now(UTC) + timedelta(days=2)
    async with browser_of(shop) as browser:
        action = f"{SALE}:schedule"
        for times, words in (
            ({"publish_at": "tomorrow"}, "is no time such as"),
            ({"publish_at": "2020-01-01T08:00"}, "past"),
            ({"until": f"{at:%Y-%m-%dT%H:%M}", "publish_at": f"{at + timedelta(hours=1):%Y-%m-%dT%H:%M}"}, "not after"),
        ):
            answer = await browser.decide(SALE, action, {"reason": "summer", **times})
            assert (answer.status_code, words in answer.text) == (422, True), times
        answer = await browser.decide(SALE, action, {"reason": "summer", "publish_at": f"{at:%Y-%m-%dT%H:%M}"})
        assert answer.status_code == 303
        page = (await browser.get(SALE)).text
        assert "a worker publishes it at its time" in page
        assert f'datetime="{at:%Y-%m-%dT%H:%M}:00Z"' in page
        answer = await browser.decide(SALE, action, {"reason": "not this year"})
        assert answer.status_code == 303
        assert "It has no schedule any more." in (await browser.get(SALE)).text


@pytest.mark.parametrize("decision", ["publish", "roll-back", "schedule"])
async def test_who_only_reads_decides_nothing(shop: Shop, decision: str) -> None:
    """The requests are refused."""
    await prepared(shop)
    async with browser_of(shop, READER) as browser:
        fields = await browser.decide(SALE, f"{SALE}:schedule", {"reason": "x"})
        assert fields.status_code == 403
        answer = await browser.post(f"{SALE}:{decision}", data={"reason": "x", "csrf": "x"})
        assert answer.status_code == 403
    assert not shop.applied.config.releases
