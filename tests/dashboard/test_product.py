"""The product's screen: its values and why, its past, its channels; and search."""

import re
from datetime import UTC, datetime, timedelta
from html.parser import HTMLParser
from urllib.parse import quote

import pytest

from pagefold import Shop
from pagefold.engine.dashboard.formats import clock_text, duration, number, plural, value_text
from pagefold.engine.dashboard.product_timeline import lanes_of, read_timeline
from tests.support.dashboard_pages import Browser, browser_of
from tests.support.small_shop import SKU, catalog, event, media, price, say, stock

PRODUCT = f"/ui/pages/web-de/{SKU}"

MARKUP = [
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "' onmouseover='alert(1)",
    "{{ 7 * 7 }}{% raw %}",
    "</pre></textarea></title><svg onload=alert(1)>",
    "javascript:alert(1)",
    "&lt;b&gt;&#x3c;",
    "\u202egnp.exe\u2066\u200f",
    "W" * 3_000,
]
"""Values that would be markup, templates or addresses if they were not escaped."""

SKUS = ['"><script>alert(1)</script>', "a/b?c#d&e=f%20", "ÄÖ 'x' ✓", "..a", "{{7*7}}:retry"]


class Elements(HTMLParser):
    """Collects what a browser would make of a page: elements, and attributes that would run something."""

    def __init__(self) -> None:
        super().__init__()
        self.names: set[str] = set()
        self.handlers: list[str] = []
        self.addresses: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Notes one element."""
        self.names.add(tag)
        self.handlers += [name for name, _ in attrs if name.startswith("on") or name in {"style", "srcdoc"}]
        self.addresses += [value or "" for name, value in attrs if name in {"href", "src", "action", "hx-get"}]
        if tag == "script":
            assert dict(attrs)["src"]


def check_inert(page: str) -> None:
    """Nothing of a page runs, or leads to elsewhere."""
    found = Elements()
    found.feed(page)
    assert not found.names & {"img", "iframe", "object", "embed", "b-x", "base"}
    assert found.handlers == []
    assert all(each.startswith(("/ui", "#", "data:,")) for each in found.addresses), found.addresses


async def loaded(browser: Browser, address: str) -> str:
    """A page that was answered well."""
    answer = await browser.get(address)
    assert answer.status_code == 200, answer.text[:500]
    return answer.text


async def test_each_value_says_who_said_it(shop: Shop) -> None:
    """With the position of its event; what is absent says why; the dead letter of a conflict is linked."""
    results = await shop.append([catalog("Shirt"), price("9.90"), stock(3), price("8.80")])
    await shop.catch_up()
    async with browser_of(shop) as browser:
        page = await loaded(browser, PRODUCT)
        assert "The page is live in web-de, and ready" in page
        assert "erp @ 1" in page
        assert ">9.90</span>" in page
        assert re.search(r'href="/ui/dead-letters\?letter=ingest-\d+"', page)
        assert f"position {results[1].position}" in page
        lacking = await loaded(browser, f"/ui/pages/web-us/{SKU}?values=absent")
        assert "Not ready" in lacking
        assert '<span class="val">9.90</span>' not in lacking
        absent = await loaded(browser, "/ui/pages/web-de/NOBODY")
        assert "web-de has no page of this product" in absent
        document = (await browser.get(f"{PRODUCT}?format=json")).json()
        assert document["pricing"]["amount"] == "9.90"
        assert (await browser.get("/ui/pages/web-de/NOBODY?format=json")).status_code == 404


async def test_the_page_as_it_was(shop: Shop) -> None:
    """At a position or a time, with what is different now; the slider sends seconds and leads to the address."""
    [first] = await shop.append([price("9.90")])
    await say(shop, price("8.80", version=2), stock(3))
    async with browser_of(shop) as browser:
        page = await loaded(browser, f"{PRODUCT}?at={first.position}")
        assert "<del>9.90</del> → <ins>8.80</ins>" in page
        assert 'class="differ">9.90' in page
        moved = await browser.get(f"{PRODUCT}?span=1h&moment=1767268800")
        assert moved.status_code == 303
        assert moved.headers["location"] == f"{PRODUCT}?span=1h&at=2026-01-01T12%3A00%3A00Z#history"
        before = await loaded(browser, moved.headers["location"])
        assert "No source that counted then had sent anything about it." in before
        assert (await browser.get(f"{PRODUCT}?at=yesterday")).status_code == 422
        assert (await browser.get(f"{PRODUCT}?at={first.position}&format=json")).json()["pricing"]["amount"] == "9.90"


async def test_channels_are_compared(shop: Shop) -> None:
    """Fields that differ, or all of them on request."""
    await say(shop, catalog("A"), price("9.90"), price("12.00", currency="USD", channel="web-us"), stock(3))
    async with browser_of(shop) as browser:
        differing = await loaded(browser, PRODUCT)
        assert '<th scope="row" class="mono val">pricing.currency</th>' in differing
        assert '<th scope="row" class="mono val">catalog.attributes.code</th>' not in differing
        everything = await loaded(browser, f"{PRODUCT}?fields=all")
        assert '<th scope="row" class="mono val">catalog.attributes.code</th>' in everything


async def test_the_newest_events_come_first(shop: Shop) -> None:
    """Over all streams, each with what it changed; the rest follows from a position on."""
    await say(shop, price("1.00"), stock(1), *(price(f"{number}.00", version=number) for number in range(2, 30)))
    timeline = await read_timeline(shop.store.log, SKU, None, 5)
    positions = [entry.position for entry in timeline.entries]
    assert positions == sorted(positions, reverse=True)
    assert [(each.path, each.before, each.after) for each in timeline.entries[0].changes] == [
        ("amount", "28.00", "29.00")
    ]
    older = await read_timeline(shop.store.log, SKU, timeline.older, 100)
    assert len(timeline.entries) + len(older.entries) == 30
    assert older.older is None
    assert (await read_timeline(shop.store.log, "NOBODY", None, 5)).entries == []


async def test_lanes_choose_a_span_that_has_events(shop: Shop) -> None:
    """The shortest that has a few of them; a moment that is looked at is marked."""
    await say(shop, price("1.00"), stock(1))
    entries = (await read_timeline(shop.store.log, SKU, None, 5)).entries
    now = datetime.now(UTC)
    lanes = lanes_of(entries, None, now, now - timedelta(minutes=30))
    assert lanes.span == "1h"
    assert lanes.now_x == 486
    assert {lane.domain: len(lane.ticks) for lane in lanes.lanes}["pricing"] == 1
    assert lanes_of([], None, now, None).span == "1h"
    assert lanes_of(entries, "all", now + timedelta(days=90), None).span == "all"
    assert lanes_of(entries, None, now + timedelta(days=90), None).span == "all"


@pytest.mark.parametrize("sku", SKUS)
async def test_markup_from_sources_is_text(shop: Shop, sku: str) -> None:
    """Whatever a source can fill: nothing runs, nothing leads elsewhere, and every address finds its product."""
    attributes = {f"{index}{value}"[:60].replace("\0", ""): value for index, value in enumerate(MARKUP)}
    payload = {"attributes": attributes, "localized": {"name": {"de": MARKUP[1]}}, "family": MARKUP[0]}
    events = [
        event("catalog", payload, sku=sku),
        price("9.90", sku=sku),
        stock(3, sku=sku),
        media("javascript:alert(1)", "https://x.example/<script>", sku=sku),
        event("pricing", {"currency": MARKUP[0], "amount": MARKUP[1]}, sku=sku, version=9),
    ]
    results = await shop.append(events)
    assert [each.outcome for each in results[1:4]] == ["appended"] * 3
    await shop.catch_up()
    address = f"/ui/pages/web-de/{quote(sku, safe='')}"
    async with browser_of(shop) as browser:
        for each in (address, f"{address}?at={results[3].position}", f"{address}?fields=all", "/ui/search", "/ui"):
            check_inert(await loaded(browser, each))
        found = await browser.get(f"/ui/search?q={quote(sku, safe='')}")
        assert (found.status_code, found.headers["location"]) == (303, address.replace("%3A", ":"))
        for value in MARKUP[:8]:
            check_inert(await loaded(browser, f"/ui/search?q={quote(value, safe='')}"))
            check_inert((await browser.get(f"/ui/pages/web-de/{quote(value, safe='')}")).text)
            check_inert((await browser.get(f"/ui/pages/{quote(value, safe='')}/{SKU}")).text)
            check_inert((await browser.get(f"{PRODUCT}?at={quote(value, safe='')}")).text)


async def test_search_leads_to_what_has_the_name(shop: Shop) -> None:
    """A SKU in other letters too; a dead letter; a run. Anything else lists SKUs that begin with it, page by page."""
    await say(shop, *(price("1.00", sku=f"AB-{number:03}") for number in range(60)), stock(1, sku="AB"))
    await shop.append([price("2.00", sku="AB-001")])
    letter = (await shop.dead_letters.causes())[0].newest
    run = "erp-20260101T000000-12ab"
    expected = {
        "AB-001": "/ui/pages/web-de/AB-001",
        " ab-001 ": "/ui/pages/web-de/AB-001",
        "AB": "/ui/pages/web-de/AB",
        letter: f"/ui/dead-letters?letter={letter}",
        run: f"/ui/runs/{run}",
    }
    async with browser_of(shop) as browser:
        for text, address in expected.items():
            assert (await browser.get("/ui/search", params={"q": text})).headers.get("location") == address
        page = await loaded(browser, "/ui/search?q=AB-")
        assert page.count('class="mono val" href="/ui/pages/web-de/AB-') == 50
        [following] = re.findall(r'href="(/ui/search\?[^"]*after=[^"]*)"', page)
        rest = await loaded(browser, following.replace("&amp;", "&"))
        assert rest.count('class="mono val" href="/ui/pages/web-de/AB-') == 10
        assert "Nothing found" in await loaded(browser, "/ui/search?q=nothing")
        assert "Nothing found" in await loaded(browser, "/ui/search?q=ingest-999999")


def test_numbers_and_times_are_written_for_people() -> None:
    """With separators, in the two largest units, and without the date if it is today."""
    now = datetime(2026, 3, 12, 14, 32, 8, tzinfo=UTC)
    assert (number(12_402_318), number(None), number(0.21, 2)) == ("12,402,318", "–", "0.21")
    assert (plural(1, "page"), plural(2, "page"), plural(2, "thing is", "things are")) == (
        "1 page",
        "2 pages",
        "2 things are",
    )
    given = (0.04, 9.9, 59, 372, 3_600, 90_061, None)
    assert [duration(each) for each in given] == ["0.0 s", "9.9 s", "59 s", "6 min 12 s", "1 h", "1 d 1 h", "–"]
    assert clock_text("2026-03-12T02:04:11.000000Z", now) == "02:04:11"
    assert clock_text("2026-03-11T02:04:11.000000Z", now) == "11 Mar 02:04"
    assert clock_text("2025-03-11T02:04:11.000000Z", now) == "11 Mar 2025"
    assert value_text({"a": "ä"}) == '{"a": "ä"}'
    assert value_text("x" * 5, 3) == "xxx…"
