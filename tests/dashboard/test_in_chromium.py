"""The dashboard in a browser, over a shop with real trouble: every screen, and an operator's day."""

import asyncio
import gzip
import re
import signal
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import parse_qs, urlsplit

import httpx2
import orjson
import pytest
from playwright.sync_api import Browser, Locator, Page, expect
from standardwebhooks import Webhook

import pagefold
from pagefold.engine.dashboard.screen_table import SCREENS
from pagefold.engine.demo.shop_in_motion import SECRET
from pagefold.engine.runtime.clock import now
from pagefold.engine.stores.field_ledger import Sighting, Sightings
from tests.support.asking_shop import ChangedProducts, asking_shop
from tests.support.chromium import Tab, chromium, needs_chromium
from tests.support.command_line import finished, spawn, wait_for
from tests.support.servers import within
from tests.sync.test_removal_brake import SKUS

pytestmark = needs_chromium

MARKUP = "\"'><script>window.ran = 1</script><img src=x onerror=window.ran=1><svg/onload=window.ran=1>{{7*7}}"
SCRIPT = "javascript:window.ran=1"
HOSTILE = "HOSTILE-<b>1"
"""A product of which each field that a source fills has markup."""

HOSTILE_KIND = "hostile"
"""A page of that product. With parameters, it stands for those of other products."""

PAGES_SEEN = 50
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
            _ask_for_a_dry_run(client)
            within(30, "the page", lambda: client.get("/ui/search", params={"q": HOSTILE}).status_code == 303)
        [demo] = folder.glob("*/pagefold.toml")
        asyncio.run(_drift(demo))
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
    for url in ("https://img.example/2", "https://img.example/3"):
        other = event | {"payload": {"assets": [{"url": url, "position": 0, "alt": text}]}}
        assert client.post("/v1/events", json=other).json()["results"][0]["outcome"] == "conflict"
    price = {"article": HOSTILE, "revision": 1, "gross": MARKUP, "currency": MARKUP, MARKUP: MARKUP}
    body = orjson.dumps({"sentAt": datetime.now(UTC).isoformat(), "prices": [price], MARKUP: MARKUP})
    assert _send_webhook(client, "<script>ran=1", body) == 202


def _ask_for_a_dry_run(client: httpx2.Client) -> None:
    """A release, and a request that a worker has done, for reasons that are markup."""
    assert client.post("/v1/releases", json={"name": "summer", "reason": MARKUP}).status_code == 200
    assert client.post("/v1/targets/warehouse:pause", json={"reason": MARKUP}).status_code == 200
    answer = client.post("/v1/requests:rebuild", json={"source": "wms-reno", "reason": MARKUP})
    assert answer.status_code == 202, answer.text
    address = f"/v1/requests/{answer.json()['number']}"
    within(30, "the dry run", lambda: client.get(address).json()["endedAt"] is not None)


async def _drift(config: Path) -> None:
    """Fields of two sources have changed; their names and examples are markup."""
    async with pagefold.open(config, create=False) as shop:
        for source in ("portal", "erp"):
            seen = [Sighting("", MARKUP, 9, 10, types=1, mapped=False, example=MARKUP, alert="new")]
            await shop.store.fields.add(Sightings(source, "prices@3", now(), [("", 10)], seen, alert_type=True))


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
        is_first = kind[0] not in {each[0] for each in seen}
        seen |= (
            {kind, tuple(each for each in kind if each != HOSTILE_KIND)} if len(kind) > 2 else {kind}
        )  # with parameters
        tab.page.goto(address)
        waiting += tab.links()
        found = {"findings": tab.findings(in_dark=is_first), "too wide": tab.too_wide(), "faults": tab.faults[:]}
        tab.faults.clear()
        if any(found.values()) or tab.page.evaluate("window.ran"):
            wrong[address] = {name: value for name, value in found.items() if value} or "markup was run"
    tab.context.close()
    assert not wrong, orjson.dumps(wrong, option=orjson.OPT_INDENT_2 | orjson.OPT_NON_STR_KEYS).decode()
    assert {kind[0] for kind in seen} == routes


def _kind_of(address: str, routes: set[str]) -> tuple[str, ...] | None:
    """The route of an address and what it shows there, for pages that look different; None if it is no screen's.

    A confirmation looks the same over whatever it was asked for.
    """
    parts = urlsplit(address)
    patterns = {route: re.sub(r"\\\{\w+\\\}", "[^/]+", re.escape(route)) for route in sorted(routes)}
    route = next((route for route, pattern in patterns.items() if re.fullmatch(pattern, parts.path)), None)
    query = parse_qs(parts.query)
    shown = {"at", "effect", "cause", "letter", "source", "values", "q"}
    hostile = [HOSTILE_KIND] if "HOSTILE" in address else []
    kinds = query.get("confirm") or sorted(shown & query.keys())
    return None if route is None else (route, *kinds, *hostile)


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
    """From the overview to each decision, and to a product and why it shows what it shows."""
    tab = Tab(browser, shop.address)
    page = tab.page
    page.goto("/ui")
    expect(page.locator(".verdict h1")).to_contain_text("held")
    _decide_about_a_cause(page, "Retry")
    _decide_about_the_rebuild(page, "Refuse and close")
    _refuse_the_plan(page)
    _verify_a_sample(page)
    assert tab.findings() == []
    _decide_as_every_day(page, "the first day")
    _find_a_product(page)
    assert _expected(tab) == []
    tab.context.close()


def test_the_same_decisions_without_javascript(shop: TroubledShop, browser: Browser) -> None:
    """Forms and addresses are enough."""
    tab = Tab(browser, shop.address, java_script_enabled=False)
    page = tab.page
    page.goto("/ui")
    _decide_about_a_cause(page, "Discard")
    _export_again(shop, "pim")
    _rebuild_by_a_dry_run(page, "pim")
    _decide_about_the_rebuild(page, "Approve and withdraw")
    _apply_a_plan(page)
    _verify_a_sample(page)
    _decide_as_every_day(page, "the second day")
    _find_a_product(page)
    assert _expected(tab) == []
    tab.context.close()


def _expected(tab: Tab) -> list[str]:
    """What went wrong in a tab. A number that has changed is answered with 409, and asked for again."""
    return [fault for fault in tab.faults if "409" not in fault]


def _decide_as_every_day(page: Page, why: str) -> None:
    """Corrects a letter, discards another one, ends alerts, publishes a release, and finds all of that in the audit."""
    _correct_a_conflict(page, why)
    _discard_a_letter(page, why)
    _end_alerts(page, why)
    _publish_a_release(page, why)
    _filter_the_audit(page, why)


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
    _type_the_number(page, "expected")
    page.get_by_role("button", name="Apply").click()
    expect(page.locator(".toast")).to_contain_text("counts from now on")


def _confirm(page: Page, link: str, button: str, why: str) -> None:
    """A click on a button with a confirmation, and its reason."""
    page.get_by_role("link", name=link).first.click()
    dialog = page.get_by_role("dialog")
    dialog.get_by_label("Reason").fill(why)
    dialog.get_by_role("button", name=button).click()
    expect(page.locator(".toast")).to_be_visible()


def _filter(page: Page, chosen: Mapping[str, str]) -> None:
    """What is listed."""
    form = page.locator("form.filters")
    for name, value in chosen.items():
        form.locator(f"[name={name}]").select_option(value)
    form.get_by_role("button", name="Filter").click()


def _correct_a_conflict(page: Page, why: str) -> None:
    """What the letter has differs from the log; it is appended as it is, as a correction."""
    _open_screen(page, "Dead letters")
    _filter(page, {"domain": "media", "source": "dam"})
    page.locator(".picks a", has_text=HOSTILE).first.click()
    expect(page.locator("#letter .diff ins").first).to_contain_text("https://img.example/")
    page.locator("#fix-reason").fill(why)
    page.get_by_role("button", name="Append the fix").click()
    expect(page.locator(".toast")).to_be_visible()


def _discard_a_letter(page: Page, why: str) -> None:
    """The newest of those of the portal that cannot be read."""
    _open_screen(page, "Dead letters")
    _filter(page, {"source": "portal"})
    page.locator(".picks a").first.click()
    _confirm(page, "Discard…", "Discard", why)


def _end_alerts(page: Page, why: str) -> None:
    """Those of one source."""
    _open_screen(page, "Contracts")
    form = page.locator("form", has=page.get_by_role("button", name="End them")).first
    form.get_by_label("Reason").fill(why)
    form.get_by_role("button", name="End them").click()
    expect(page.locator(".toast")).to_contain_text("1 alert of")


def _publish_a_release(page: Page, why: str) -> None:
    """It is made, scheduled, published, and rolled back."""
    _open_screen(page, "Releases")
    page.get_by_label("Name").fill(why.replace(" ", "-"))
    page.get_by_label("Reason").fill(why)
    page.get_by_role("button", name="Create").click()
    page.get_by_label("Publish at").fill("2099-06-01T00:00")
    page.locator("#schedule-reason").fill(why)
    page.get_by_role("button", name="Schedule").click()
    expect(page.locator("main")).to_contain_text("1 Jun 2099")
    _confirm(page, "Publish…", "Publish", why)
    _confirm(page, "Roll back…", "Roll back", why)


def _filter_the_audit(page: Page, why: str) -> None:
    """By the action: only its entries are listed, with the reason."""
    _open_screen(page, "Audit")
    _filter(page, {"action": "releases"})
    listed = page.locator("main tbody tr").filter(has_text=why)
    expect(listed).to_have_count(4)
    expect(page.locator("main tbody")).not_to_contain_text("dead-letters")


def _verify_a_sample(page: Page) -> None:
    """Some products are compared with the log, by a worker; the page follows, or is loaded again."""
    _open_screen(page, "Runs")
    page.get_by_role("link", name="Verify a sample…").click()
    page.get_by_label("Products").fill("20")
    _ask(page, "Verify")
    expect(page.locator(".verdict")).to_contain_text("are as the log says")


def _export_again(shop: TroubledShop, source: str) -> None:
    """The same export as at the beginning, as if it were of now: what it lacks has no event since."""
    file = shop.config.parent / "snapshots" / f"{source}.ndjson.gz"
    begin, *rows = gzip.decompress(file.read_bytes()).splitlines(keepends=True)
    taken_at = (datetime.now(UTC) + timedelta(minutes=5)).isoformat()
    file.write_bytes(gzip.compress(b"".join([orjson.dumps(orjson.loads(begin) | {"takenAt": taken_at}), b"\n", *rows])))


def _rebuild_by_a_dry_run(page: Page, source: str) -> None:
    """What it would change is seen before it is started, with the number; it is then held."""
    _open_screen(page, "Runs")
    page.get_by_role("link", name="Rebuild…").click()
    page.locator("#source").select_option(source)
    _ask(page, "Ask for the dry run")
    expect(page.locator(".verdict")).to_contain_text("would be held")
    _type_the_number(page, "expected")
    _ask(page, "Start the rebuild")
    expect(page.locator(".verdict")).to_contain_text("It is held")
    page.get_by_role("link", name="Open the run").click()


def _ask(page: Page, button: str) -> None:
    """Sends a request to workers, and waits for its result."""
    form = page.locator("form", has=page.get_by_role("button", name=button, exact=True))
    form.get_by_label("Reason").fill(f"looked at {MARKUP}")
    form.get_by_role("button", name=button, exact=True).click()
    verdict = page.locator(".verdict")
    within(30, "a worker does it", lambda: _is_done(page, verdict))


def _is_done(page: Page, verdict: Locator) -> bool:
    if not re.search("waits for a worker|is at it", verdict.text_content() or ""):
        return page.locator("[data-follow]").count() == 0
    page.wait_for_timeout(300)
    if (again := page.get_by_role("link", name="Look again")).count():
        again.click()
    return False


def _type_the_number(page: Page, field: str) -> None:
    """The number that a form shows, typed into its field."""
    page.locator(f"[id={field}]").fill(re.sub(r"\D", "", page.locator(f"label[for={field}] span").inner_text()))


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


# --- a sync that is held --------------------------------------------------------------------------


def test_a_held_sync_is_decided(tmp_path: Path, browser: Browser) -> None:
    """What it would remove is seen; approved by clicks, a worker removes it; without JavaScript, it is left out."""
    feed = ChangedProducts()
    feed.say(*SKUS, name=MARKUP)
    with asking_shop(tmp_path, feed) as address, httpx2.Client(base_url=address, trust_env=False) as client:
        within(30, "the products", lambda: len(_shown(client)) == len(SKUS))
        feed.say(*SKUS[:6], gone=True)
        _decide_about_the_sync(Tab(browser, address), "Approve and remove")
        within(30, "the removal", lambda: _shown(client) == SKUS[6:])
        feed.say(*SKUS[6:13], gone=True)
        _decide_about_the_sync(Tab(browser, address, java_script_enabled=False), "Leave it out")
        assert _shown(client) == SKUS[6:]


def _shown(client: httpx2.Client) -> list[str]:
    """The products that have a page."""
    answer = client.get("/v1/pages/web-de", params={"limit": 100})
    return [page["sku"] for page in answer.json()["items"] if page["status"] == "live"]


def _decide_about_the_sync(tab: Tab, decision: str) -> None:
    page = tab.page

    def is_held() -> bool:
        page.goto("/ui/runs")
        return page.get_by_role("button", name=decision).count() == 1

    within(30, "the sync is held", is_held)
    form = page.locator("section[data-state=held] form", has=page.get_by_role("button", name=decision))
    if decision.startswith("Approve"):
        assert (tab.findings(), tab.too_wide()) == ([], {})
        _type_the_number(page, "removals-pim")
    form.get_by_label("Reason").fill(MARKUP)
    form.get_by_role("button", name=decision).click()
    within(30, "a worker does it", lambda: _is_done(page, page.locator(".verdict")))
    expect(page.locator(".verdict")).to_contain_text("It is done")
    assert tab.faults == []
    tab.context.close()
