"""The screen of dead letters, with deliveries that were given up: what it says, and each decision by forms alone."""

from collections.abc import AsyncIterator
from html import unescape

import pytest

import pagefold
from pagefold import Config, Shop
from pagefold.engine.stores.delivery_records import Wanted
from tests.dashboard.test_dead_letters import LETTERS, reasons, toast
from tests.support.dashboard_pages import Browser, browser_of
from tests.support.given_up import give_up, with_target
from tests.support.small_shop import catalog, say


@pytest.fixture
async def shop(config: Config) -> AsyncIterator[Shop]:
    """A shop whose target has refused pages."""
    async with pagefold.open(with_target(config)) as opened:
        await say(opened, catalog("shirt", sku="A"))
        await give_up(opened, "A")
        await give_up(opened, "B", "C")
        yield opened


@pytest.fixture
async def browser(shop: Shop) -> AsyncIterator[Browser]:
    """Without JavaScript."""
    async with browser_of(shop) as opened:
        yield opened


async def test_a_page_that_has_changed_since(shop: Shop, browser: Browser) -> None:
    """Nobody has decided: it is sent again by itself, and the letter says so."""
    deliveries = shop.store.deliveries
    cursor = await deliveries.cursor("shop")
    await deliveries.mark("shop", cursor, f"{cursor}+", [Wanted("A", "web-de", "another", 99)])
    answer = await browser.get(f"{LETTERS}?letter=delivery-1")
    assert answer.status_code == 200
    assert "queued: the page has changed" in answer.text


async def test_a_cause_leads_to_its_pages(shop: Shop, browser: Browser) -> None:
    """With the target, what it said, the document, and the runbook; the filter of sources has targets."""
    [cause] = await shop.dead_letters.causes()
    page = unescape((await browser.get(LETTERS)).text)
    assert "3 open in 1 cause." in page
    assert "status 422 Unprocessable Content: … has no price" in page
    page = unescape((await browser.get(f"{LETTERS}?cause={cause.key}&letter=delivery-1")).text)
    assert "The target has refused each try." in page
    assert "/ui/runbooks#delivery-failures" in page
    assert ">A/web-de</dd>" in page
    assert "422 Unprocessable Content: A has no price" in page
    assert "The document that is sent" in page
    assert '"code": "shirt"' in page
    assert "Send this document" in page
    page = (await browser.get(f"{LETTERS}?kind=delivery&source=shop")).text
    assert '<option value="shop" selected>' in page
    assert '<option value="erp"' not in page


async def test_one_is_edited_retried_and_discarded(shop: Shop, browser: Browser) -> None:
    """Each says what comes of it; a document that is none is shown again."""
    action = f"{LETTERS}/delivery-1:correct"
    wrong = {"payload": "[1]", "reason": "by hand"}
    answer = await browser.decide(f"{LETTERS}?letter=delivery-1", action, wrong)
    assert answer.status_code == 422
    assert "Not sent: is not a JSON object" in unescape(answer.text)
    answer = await browser.decide(
        f"{LETTERS}?letter=delivery-1", action, {"payload": '{"sku":"A"}', "reason": "by hand"}
    )
    assert await toast(browser, answer.headers["location"]) == "delivery-1 will be delivered with your document, once."
    page = (await browser.get(f"{LETTERS}?letter=delivery-1")).text
    assert "Queued" in page
    assert ":correct" not in page.partition('id="letter"')[2]
    [second, third] = [each.id for each in (await shop.dead_letters.page()).dead_letters]
    answer = await browser.decide(f"{LETTERS}?letter={second}", f"{LETTERS}/{second}:retry", {})
    assert "will be delivered" in await toast(browser, answer.headers["location"])
    confirm = f"{LETTERS}?letter={third}&confirm=discard-one"
    answer = await browser.decide(confirm, f"{LETTERS}/{third}:discard", {"reason": "a test"})
    assert await toast(browser, answer.headers["location"]) == f"{third} is discarded."
    assert [(action, reason) for action, reason, _, _ in await reasons(shop)] == [
        ("dead-letters correct", "by hand"),
        ("dead-letters correct", "by hand"),
        ("dead-letters retry", None),
        ("dead-letters discard", "a test"),
    ]


async def test_all_of_a_cause(shop: Shop, browser: Browser) -> None:
    """With the number that was shown."""
    [cause] = await shop.dead_letters.causes()
    retry = f"{LETTERS}?cause={cause.key}&confirm=retry"
    assert "Retry 3 letters?" in (await browser.get(retry)).text
    await give_up(shop, "D")
    assert (await browser.get("/ui")).status_code == 200
    answer = await browser.decide(retry, f"{LETTERS}:retry", {"reason": "they were repaired"})
    assert await toast(browser, answer.headers["location"]) == "Retried 4 letters: 4 queued."
    await give_up(shop, "E")
    discard = f"{LETTERS}?kind=delivery&source=shop&confirm=discard"
    answer = await browser.decide(discard, f"{LETTERS}:discard", {"reason": "never"})
    assert (await toast(browser, answer.headers["location"])).startswith("Discarded 1 letter.")
    decided = unescape((await browser.get(f"{LETTERS}?kind=delivery&state=decided")).text)
    assert "discarded by anonymous: never" in decided
