"""The screens of targets, and the deliveries of a product: what a target holds, and decisions; without JavaScript."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial

import msgspec

import pagefold
from pagefold import Config, Shop
from pagefold.engine.dashboard.formats import plural
from pagefold.engine.dashboard.screens.targets import badge
from pagefold.engine.requests.request_service import RequestService
from pagefold.engine.stores.grants import Grant
from tests.delivery.test_delivery_work import delivering_to, holds_the_pages, working
from tests.support.command_line import on_sqlite
from tests.support.dashboard_pages import Browser, browser_of
from tests.support.hostile_target import Behaviour, HostileTarget, hostile_target
from tests.support.processes import eventually
from tests.support.small_shop import CHANNELS, catalog, say

HOSTILE = "<b onmouseover=alert(1)>maintenance</b>"
READER = Grant("tok_reader", frozenset(["read"]), None)
TARGETS, SHOP = "/ui/targets", "/ui/targets/shop"
PAGE = "/ui/pages/web-de/A"
PAGES = 2 * len(CHANNELS)


@asynccontextmanager
async def delivering(config: Config, **settings: object) -> AsyncIterator[tuple[Shop, HostileTarget, Browser]]:
    """A shop that delivers to a target, which holds two products; and a browser at its dashboard."""
    async with hostile_target() as target, working(delivering_to(config, target, **settings)) as shop:
        await say(shop, catalog("a", sku="A"), catalog("b", sku="B"))
        await holds_the_pages(shop, target)
        async with browser_of(shop) as browser:
            yield shop, target, browser


async def test_a_target_is_paused_and_resumed(config: Config) -> None:
    """Each after a confirmation with a reason; the list, the badge, the overview and the product follow."""
    async with delivering(config) as (shop, target, browser):
        assert await badge(shop) is None
        answer = await browser.decide(f"{SHOP}?confirm=pause", f"{SHOP}:pause", {"reason": HOSTILE})
        assert (answer.status_code, answer.headers["location"]) == (303, SHOP)
        await say(shop, catalog("c", sku="A", version=2))
        await eventually(partial(says, browser, SHOP, plural(len(CHANNELS), "page") + " wait."), "what changed waits")
        for address in (TARGETS, SHOP, "/ui"):
            page = (await browser.get(address)).text
            assert "&lt;b onmouseover=alert(1)&gt;maintenance" in page
            assert HOSTILE not in page
        found = await badge(shop)
        assert (found and found.text, found and found.state) == ("1 paused", "held")
        page = (await browser.get(f"{PAGE}?part=deliveries")).text
        assert "another version" in page
        assert "confirm=resume" in (await browser.get(SHOP)).text
        await browser.decide(f"{SHOP}?confirm=resume", f"{SHOP}:resume", {"reason": "they are done"})
        await holds_the_pages(shop, target)
        await eventually(partial(says, browser, TARGETS, "Every target holds every page as it is"), "it is at rest")
        page = (await browser.get(SHOP)).text
        assert "confirm=resume" not in page
        assert [word in page for word in ("they are done", "they are not")] == [True, False]


async def says(browser: Browser, address: str, words: str) -> bool:
    """Whether a page has these words."""
    return words in (await browser.get(address)).text


async def test_pages_are_delivered_again(config: Config) -> None:
    """All with the number that was shown, those since a time, some, and those of one product, from its own screen."""
    async with delivering(config) as (shop, target, browser):
        forms: tuple[tuple[str, dict[str, str], str], ...] = (
            (f"{SHOP}?confirm=all", {}, SHOP),
            (f"{SHOP}?confirm=since", {"since": "2026-01-01T00:00"}, SHOP),
            (f"{SHOP}?confirm=skus", {"skus": "A\r\n\r\n B "}, SHOP),
        )
        for confirmation, fields, back in forms:
            target.empty()
            answer = await browser.decide(confirmation, f"{SHOP}:deliver", {"reason": "it was emptied", **fields})
            assert (answer.status_code, answer.headers["location"]) == (303, back), answer.text
            await holds_the_pages(shop, target)
        target.held.pop(("A", "web-de"))
        confirmation = f"{PAGE}?confirm=deliver&target=shop"
        answer = await browser.decide(confirmation, f"{SHOP}:deliver", {"reason": "a picture was lost"})
        assert (answer.status_code, answer.headers["location"]) == (303, PAGE)
        await holds_the_pages(shop, target)
        assert (await shop.audit.page(limit=1)).entries[0].reason == "a picture was lost"


@on_sqlite
async def test_what_cannot_be_decided(config: Config) -> None:
    """Another number by now, none, no SKU, no time, an unknown target: each says so, and nothing is delivered."""
    async with delivering(config) as (shop, target, browser):
        requests = len(target.requests)
        hidden = {"reason": "a test", "what": "all"}
        for fields, status, words in (
            ({**hidden, "expected": str(PAGES + 1)}, 409, f"it is {PAGES} by now"),
            ({**hidden, "expected": " "}, 422, "number of the target"),
            ({**hidden, "what": "since", "expected": str(PAGES), "since": "noon"}, 422, "is no time"),
            ({**hidden, "what": "skus", "skus": " \r\n"}, 422, "one in each line"),
            ({**hidden, "what": "skus", "skus": "A", "reason": ""}, 422, "reason"),
        ):
            answer = await browser.decide(f"{SHOP}?confirm=all", f"{SHOP}:deliver", fields)
            assert (answer.status_code, words in answer.text) == (status, True), answer.text
        assert (await browser.get(f"{TARGETS}/none")).status_code == 404
        assert len(target.requests) == requests
        async with browser_of(shop, READER) as reader:
            page = (await reader.get(f"{SHOP}?confirm=all")).text
            assert "Deliver all: needs operate" in page
            answer = await reader.post(f"{SHOP}:pause", data={"reason": "x"})
            assert answer.status_code == 403


@on_sqlite
async def test_a_target_that_is_down(config: Config) -> None:
    """The sentence says so, and why; each page that waits has the last answer; the badge counts it."""
    async with delivering(config, batches=True) as (shop, target, browser):
        target.behave = lambda: Behaviour(applies=False, status=503)
        await say(shop, catalog("c", sku="A", version=2))
        await eventually(partial(says, browser, SHOP, "It is down: 503"), "it is down")
        page = (await browser.get(SHOP)).text
        assert "Nothing is given up." in page
        assert "Probe now" in page
        assert "shop is not delivered to" in (await browser.get(TARGETS)).text
        found = await badge(shop)
        assert (found and found.text, found and found.state) == ("1 down", "bad")
        assert "503" in (await browser.get(f"{SHOP}?part=waiting")).text


@on_sqlite
async def test_pages_that_are_refused(config: Config) -> None:
    """They are listed with the answer, and lead to their dead letters."""
    async with delivering(config, tries=1) as (shop, target, browser):
        target.refuses = lambda page: isinstance(page, dict) and page["sku"] == "A"
        await say(shop, catalog("c", sku="A", version=2))
        pages = plural(len(CHANNELS), "page")
        await eventually(partial(says, browser, TARGETS, f"shop has refused {pages} for good"), "they are given up")
        page = (await browser.get(SHOP)).text
        assert "422" in page
        assert "/ui/dead-letters?kind=delivery&amp;source=shop" in page
        assert "given up" in (await browser.get(PAGE)).text


@on_sqlite
async def test_a_verification_is_asked_for(config: Config) -> None:
    """A worker does it; its page says what for, and leads back."""
    async with delivering(config) as (shop, _, browser):
        answer = await browser.decide(f"{SHOP}?confirm=verify", f"{SHOP}:verify", {"reason": "weekly", "sample": "3"})
        [request] = await RequestService(shop).open()
        assert answer.headers["location"] == f"/ui/requests/{request.number}"
        page = (await browser.get(answer.headers["location"])).text
        assert "Comparison of the target shop with the pages" in page
        assert '<span class="nowrap">--sample</span> <span class="nowrap">3</span>' in page


@on_sqlite
async def test_a_search_finds_a_target(config: Config) -> None:
    """Its name leads to it; a shop without targets says so, and a name that could be markup is escaped."""
    async with browser_of_names(config) as browser:
        answer = await browser.get("/ui/search", params={"q": "shop"})
        assert (answer.status_code, answer.headers["location"]) == (303, SHOP)
        assert "Not begun" in (await browser.get(TARGETS)).text
    async with pagefold.open(msgspec.structs.replace(config, targets={})) as shop, browser_of(shop) as browser:
        assert "No targets" in (await browser.get(TARGETS)).text
        assert "No deliveries" in (await browser.get(PAGE)).text


@asynccontextmanager
async def browser_of_names(config: Config) -> AsyncIterator[Browser]:
    """A browser at a shop with a target that nothing is delivered to."""
    async with (
        hostile_target() as target,
        pagefold.open(delivering_to(config, target)) as shop,
        browser_of(shop) as browser,
    ):
        yield browser
