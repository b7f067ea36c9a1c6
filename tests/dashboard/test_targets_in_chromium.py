"""An operator's task in a browser: a target is down, is paused, resumed, and gets a product again."""

import re
from pathlib import Path

from playwright.sync_api import Page, expect

from tests.support.chromium import Tab, chromium, needs_chromium
from tests.support.delivering_shop import delivering_shop
from tests.support.hostile_target import GOOD
from tests.support.servers import within
from tests.support.small_shop import CHANNELS

pytestmark = needs_chromium


def test_a_target_that_is_down(tmp_path: Path) -> None:
    """The side bar leads to it; all by clicks, each decision with a reason; it holds every page in the end."""
    with delivering_shop(tmp_path) as (address, target), chromium() as browser:
        tab = Tab(browser, address)
        page = tab.page
        page.goto("/ui")
        link = page.locator("nav.side").get_by_role("link", name="Targets")
        expect(link).to_contain_text("1 down", timeout=30_000)
        link.click()
        expect(page.locator(".verdict")).to_contain_text("shop is not delivered to")
        page.get_by_role("link", name="shop", exact=True).click()
        expect(page.locator(".verdict")).to_contain_text("It is down: 503")
        expect(page.locator("#live-waiting")).to_contain_text("503")
        _confirm(page, "Pause…", "Pause", "their maintenance")
        expect(page.locator(".verdict")).to_contain_text("their maintenance")
        requests = len(target.requests)
        target.behave = lambda: GOOD
        _confirm(page, "Resume…", "Resume", "they are done")
        expect(page.locator(".verdict")).to_contain_text("It holds every page as it is", timeout=30_000)
        assert (len(target.requests) > requests, len(target.held)) == (True, len(CHANNELS))
        target.empty()
        page.goto("/ui/pages/web-de/A")
        _confirm(page, "Deliver again… to shop", "Deliver again", "a picture was lost")
        expect(page).to_have_url(re.compile("/ui/pages/web-de/A$"))
        within(30, "the pages", lambda: len(target.held) == len(CHANNELS))
        assert tab.faults == []
        tab.context.close()


def _confirm(page: Page, link: str, button: str, why: str) -> None:
    """A click on a button with a confirmation, and its reason."""
    page.get_by_role("link", name=link).first.click()
    dialog = page.get_by_role("dialog")
    dialog.get_by_label("Reason").fill(why)
    dialog.get_by_role("button", name=button, exact=True).click()
    expect(page.locator(".toast")).to_be_visible()
