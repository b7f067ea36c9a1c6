"""The dashboard in a browser, over a shop with real trouble: every screen, and an operator's day."""

import re
import signal
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import parse_qs, urlsplit

import httpx2
import orjson
import pytest
from playwright.sync_api import Browser, Page, expect
from standardwebhooks import Webhook

from pagefold.engine.dashboard.screen_table import SCREENS
from pagefold.engine.demo.shop_in_motion import SECRET
from tests.support.chromium import Tab, chromium, needs_chromium
from tests.support.command_line import finished, spawn, wait_for
from tests.support.servers import within

pytestmark = needs_chromium

MARKUP = "\"'><script>window.ran = 1</script><img src=x onerror=window.ran=1><svg/onload=window.ran=1>{{7*7}}"
SCRIPT = "javascript:window.ran=1"
HOSTILE = "HOSTILE-<b>1"
"""A product of which each field that a source fills has markup."""

PAGES_SEEN = 40
"""At most so many pages are visited."""


class TroubledShop(NamedTuple):
    """The demo's shop: its address, and the file of its configuration."""

    address: str
    config: Path


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TroubledShop]:
    """The demo's shop in motion, with hostile products: dead letters, a rebuild and a configuration that are held."""
    folder = tmp_path_factory.mktemp("demo")
    process = spawn("demo", "--serve", "--port", "0", "--skus", "100", environment={"TMPDIR": str(folder)})
    try:
        address = wait_for(process, "/ui").splitlines()[-1].split("/ui")[0]
        with httpx2.Client(base_url=address, trust_env=False) as client:
            _send_markup(client)
            within(30, "dead letters", lambda: client.get("/v1/status").json()["deliveries"] >= 12)
            within(30, "the page", lambda: client.get("/ui/search", params={"q": HOSTILE}).status_code == 303)
        [demo] = folder.glob("*/pagefold.toml")
        prepared = spawn("releases", "create", "summer", "--reason", MARKUP, "--config", str(demo))
        assert finished(prepared).code == 0
        yield TroubledShop(address, demo)
    finally:
        process.send_signal(signal.SIGINT)
        ran = finished(process)
    assert (ran.code, ran.err) == (0, "")


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """One Chromium for all tests."""
    with chromium() as started:
        yield started


def _send_markup(client: httpx2.Client) -> None:
    """Events whose every text is markup, a conflict between them, and a record of a webhook that cannot be read."""
    text = {"de": MARKUP, "en": MARKUP}
    payloads: dict[str, Any] = {
        "catalog": {
            "family": MARKUP,
            "categories": [MARKUP],
            "attributes": {MARKUP: MARKUP, "size": MARKUP, "link": SCRIPT},
            "localized": {"name": text, "description": text, MARKUP: text},
        },
        "pricing": {"currency": "EUR", "amount": "9.90", "taxClass": MARKUP, "customerGroups": {MARKUP: "1.00"}},
        "inventory": {"available": 3},
        "media": {"assets": [{"url": f"https://img.example/{MARKUP}", "role": MARKUP, "position": 0, "alt": text}]},
    }
    sources = {"catalog": "pim", "pricing": "erp", "inventory": "wms-berlin", "media": "dam"}
    for domain, payload in payloads.items():
        event = {"type": domain, "sku": HOSTILE, "channel": "*", "source": sources[domain], "sourceVersion": 1}
        event |= {"occurredAt": "2026-01-01T00:00:00Z", "payload": payload, "correlationId": "<script>ran=1</script>"}
        answer = client.post("/v1/events", json=event)
        assert answer.status_code == 202, answer.text
    other = event | {"payload": {"assets": [{"url": "https://img.example/2", "position": 0, "alt": text}]}}
    assert client.post("/v1/events", json=other).json()["results"][0]["outcome"] == "conflict"
    price = {"article": HOSTILE, "revision": 1, "gross": MARKUP, "currency": MARKUP, MARKUP: MARKUP}
    body = orjson.dumps({"sentAt": datetime.now(UTC).isoformat(), "prices": [price], MARKUP: MARKUP})
    assert _send_webhook(client, "<script>ran=1", body) == 202


def _send_webhook(client: httpx2.Client, identifier: str, body: bytes) -> int:
    at = datetime.now(UTC)
    headers = {
        "content-type": "application/json",
        "webhook-id": identifier,
        "webhook-timestamp": str(int(at.timestamp())),
        "webhook-signature": Webhook(SECRET).sign(identifier, at, body.decode()),
    }
    return client.post("/v1/webhooks/portal", content=body, headers=headers).status_code


# --- every screen ---------------------------------------------------------------------------------


def test_every_screen(shop: TroubledShop, browser: Browser) -> None:
    """No error, no violation of the policy, no serious finding in either theme, no sideways scroll, no markup runs.

    The screens are those of the table, found by links from the overview and from a product with markup.
    """
    tab = Tab(browser, shop.address)
    routes = {route.path for screen in SCREENS for route in screen.routes if route.method == "GET"}
    waiting = [path for path in sorted(routes) if "{" not in path] + [f"/ui/search?q={HOSTILE}"]
    seen: set[tuple[str, ...]] = set()
    wrong: dict[str, object] = {}
    while waiting and len(seen) < PAGES_SEEN:
        address = waiting.pop(0)
        if (kind := _kind_of(address, routes)) is None or kind in seen:
            continue
        seen.add(kind)
        tab.page.goto(address)
        waiting += tab.links()
        found = {"findings": tab.findings(), "too wide": tab.too_wide(), "faults": tab.faults[:]}
        tab.faults.clear()
        if any(found.values()) or tab.page.evaluate("window.ran"):
            wrong[address] = {name: value for name, value in found.items() if value} or "markup was run"
    tab.context.close()
    assert not wrong, orjson.dumps(wrong, option=orjson.OPT_INDENT_2 | orjson.OPT_NON_STR_KEYS).decode()
    assert {kind[0] for kind in seen} == routes


def _kind_of(address: str, routes: set[str]) -> tuple[str, ...] | None:
    """The route of an address and what it shows there, for pages that look different; None if it is no screen's."""
    parts = urlsplit(address)
    patterns = {route: re.sub(r"\\\{\w+\\\}", "[^/]+", re.escape(route)) for route in sorted(routes)}
    route = next((route for route, pattern in patterns.items() if re.fullmatch(pattern, parts.path)), None)
    query = parse_qs(parts.query)
    shown = {"confirm", "at", "effect", "cause", "letter", "source", "values", "q"}
    hostile = ["hostile"] if "HOSTILE" in address else []
    confirmed = query.get("confirm", [])
    return None if route is None else (route, *sorted(shown & query.keys()), *confirmed, *hostile)


def test_live_parts_are_replaced_in_place(shop: TroubledShop, browser: Browser) -> None:
    """The clock goes on, and nothing else happens: no error, and no other page."""
    tab = Tab(browser, shop.address)
    tab.page.goto("/ui")
    clock = tab.page.locator("#live-meta time")
    before = clock.text_content()
    expect(clock).not_to_have_text(before or "")
    assert urlsplit(tab.page.url).path == "/ui"
    assert tab.faults == []
    tab.context.close()


# --- an operator's day ----------------------------------------------------------------------------


def test_an_operators_day_by_clicks(shop: TroubledShop, browser: Browser) -> None:
    """From the overview to each cause and its decision, and to a product and why it shows what it shows."""
    tab = Tab(browser, shop.address)
    page = tab.page
    page.goto("/ui")
    expect(page.locator(".verdict h1")).to_contain_text("held")
    _decide_about_a_cause(page, "Retry")
    _decide_about_the_rebuild(page, "Refuse and close")
    _refuse_the_plan(page)
    _find_a_product(page)
    for title in ("Contracts", "Audit"):
        _open_screen(page, title)
    expect(page.locator("main tbody")).to_contain_text("no product has a GTIN yet")
    assert [fault for fault in tab.faults if "409" not in fault] == []
    tab.context.close()


def test_the_same_decisions_without_javascript(shop: TroubledShop, browser: Browser) -> None:
    """Forms and addresses are enough."""
    made = finished(spawn("rebuild", "--source", "pim", "--config", str(shop.config)))
    assert "held" in made.out, made
    tab = Tab(browser, shop.address, java_script_enabled=False)
    page = tab.page
    page.goto("/ui")
    _decide_about_a_cause(page, "Discard")
    _decide_about_the_rebuild(page, "Approve and withdraw")
    _apply_a_plan(page)
    _find_a_product(page)
    assert [fault for fault in tab.faults if "409" not in fault] == []
    tab.context.close()


def _open_screen(page: Page, title: str) -> None:
    """A click in the side bar."""
    page.locator("nav.side").get_by_role("link", name=title).first.click()
    expect(page.locator("nav.side [aria-current=page]")).to_contain_text(title)


def _open_task(page: Page, words: str) -> None:
    """A click on the button of what needs a person, on the overview."""
    _open_screen(page, "Overview")
    page.locator(".todo > li").filter(has_text=words).first.locator(".btn").click()


def _decide_about_a_cause(page: Page, decision: str) -> None:
    """All letters of the portal's cause. One that comes in between is refused, by the number: looked at again."""
    _open_task(page, "is not a number")
    expect(page.locator("#cause-title")).to_contain_text("is not a number")
    address = page.url
    for _ in range(3):
        page.get_by_role("link", name=f"{decision} all").click()
        dialog = page.get_by_role("dialog")
        dialog.get_by_label("Reason").fill(f"the portal sends a comma {MARKUP}")
        dialog.get_by_role("button", name=decision).click()
        expect(page.get_by_role("dialog")).to_have_count(0)
        if page.locator(".toast").count():
            break
        page.goto(address)
    expect(page.locator(".toast")).to_be_visible()


def _decide_about_the_rebuild(page: Page, decision: str) -> None:
    """Of the run that is held; an approval needs the number that the page shows."""
    _open_task(page, "run held")
    form = page.locator("section[data-state=held] form").filter(has=page.get_by_role("button", name=decision)).first
    form.get_by_label("Reason").fill(f"looked at {MARKUP}")
    if (number := form.locator("[name=expected]")).count():
        number.fill(re.sub(r"\D", "", form.locator("label span").first.text_content() or ""))
    form.get_by_role("button", name=decision).click()
    expect(page.locator(".toast")).to_contain_text(re.compile("Refused|Approved"))


def _refuse_the_plan(page: Page) -> None:
    """The one that a start has kept, in its dialog."""
    _open_task(page, "not applied")
    page.get_by_role("link", name="Open it").click()
    page.get_by_role("link", name="Refuse").click()
    dialog = page.get_by_role("dialog")
    dialog.get_by_label("Reason").fill("no product has a GTIN yet")
    dialog.get_by_role("button", name="Refuse").click()
    expect(page.locator(".toast")).to_contain_text("What counts stays")


def _apply_a_plan(page: Page) -> None:
    """Plans the file again, and applies it with the number of pages that lose something."""
    _open_task(page, "not applied")
    page.get_by_role("button", name="Plan the file").click()
    page.get_by_label("Reason").fill("GTINs come next week")
    page.locator("[name=expected]").fill(re.sub(r"\D", "", page.locator("label[for=expected] span").inner_text()))
    page.get_by_role("button", name="Apply").click()
    expect(page.locator(".toast")).to_contain_text("counts from now on")


def _find_a_product(page: Page) -> None:
    """By a part of its SKU, then why one of its values is shown."""
    page.locator("#q").fill("TSHIRT-")
    page.locator("#q").press("Enter")
    page.wait_for_url("**/ui/search?*")
    page.locator("main a[href*='/TSHIRT-']").first.click()
    page.wait_for_url("**/ui/pages/**")
    closed = page.locator(".why details:not([open])")
    number = closed.count()
    closed.first.locator("summary").click()
    expect(closed).to_have_count(number - 1)
    expect(page.locator(".why details[open] .chain li").first).to_be_visible()
