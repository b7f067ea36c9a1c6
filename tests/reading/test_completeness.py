"""Requirements on both stores: sections, readiness, hidden pages, counts, and a changed set."""

from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest

import pagefold
from pagefold import Config, DomainEvent, Shop
from pagefold.engine.reading import completeness
from pagefold.engine.reading.completeness import EVERY_PAGE, CompletenessReport
from pagefold.engine.reading.page_selection import PageSelection
from tests.support.rebuild_fixtures import Intruder
from tests.support.small_shop import (
    Document,
    append,
    apply_file,
    catalog,
    document,
    event,
    pages_of,
    price,
    say,
    section,
)

REQUIREMENTS: Document = {
    "name": "shop",
    "version": 2,
    "families": {"t-shirts": "clothing"},
    "requires": [
        {"attributes": ["name"], "locale": "channel"},
        {"attributes": ["gtin"], "check": {"format": "gtin"}},
        {"attributes": ["care"], "family": ["clothing"], "severity": "warns"},
    ],
}
GTIN = "4006381333931"


def asking(url: str, *requirements: Document, channel: str = "web-de", **more: object) -> Config:
    """The small shop, with requirements of one channel."""
    tables = document(url, work={"poll_seconds": 0.05})
    tables["channels"][channel] |= {"requirements": list(requirements or [REQUIREMENTS]), **more}
    return Config.parse(tables, store=url)


def product(
    sku: str, family: str | None = None, *, version: int = 1, english: bool = False, **attributes: object
) -> DomainEvent:
    """A product with a German name, or an English one."""
    names = {"en" if english else "de": f"Name of {sku}"}
    payload: Document = {"attributes": attributes, "localized": {"name": names}}
    return event("catalog", payload | ({} if family is None else {"family": family}), sku=sku, version=version)


PRODUCTS = [
    product("FULL", "t-shirts", gtin=GTIN, care="cold"),
    product("NO-CARE", "t-shirts", gtin=GTIN),
    product("NO-GTIN", "mugs"),
    product("WRONG-GTIN", "mugs", gtin="1"),
    product("ENGLISH", english=True, gtin=GTIN),
    product("NOTHING", "t-shirts", english=True),
]


@pytest.fixture
async def shop(store_url: str) -> AsyncIterator[Shop]:
    """A shop with requirements, and its products."""
    async with pagefold.open(asking(store_url)) as opened:
        await say(opened, *PRODUCTS)
        yield opened


async def test_the_section_says_what_is_missing(shop: Shop) -> None:
    """In the channel that asks, and in no other; what blocks makes the catalog unready, and the page stays live."""
    found = await section(shop, "catalog", sku="NOTHING")
    assert found["completeness"] == {"percent": 0, "missing": ["care", "gtin", "name"], "warns": ["care"]}
    assert found["attributes"] == {"name": "Name of NOTHING"}
    assert (await section(shop, "catalog", sku="WRONG-GTIN"))["completeness"] == {
        "percent": 50,
        "missing": [],
        "invalid": ["gtin"],
    }
    assert "completeness" not in await section(shop, "catalog", "market-at", sku="NOTHING")
    ready = {sku: await is_ready(shop, sku) for sku in ("FULL", "NO-CARE", "NO-GTIN", "WRONG-GTIN", "ENGLISH")}
    assert ready == {"FULL": True, "NO-CARE": True, "NO-GTIN": False, "WRONG-GTIN": False, "ENGLISH": False}


async def is_ready(shop: Shop, sku: str, channel: str = "web-de") -> bool:
    """Whether the catalog of a live page is ready."""
    page = await shop.pages.get(sku, channel)
    assert page is not None
    return page.readiness["catalog"]


async def test_a_page_is_ready_when_what_blocked_is_filled(shop: Shop) -> None:
    """A later event fills it, and another one empties it again."""
    await say(shop, product("NO-GTIN", "mugs", version=2, gtin=GTIN))
    assert await is_ready(shop, "NO-GTIN")
    await say(shop, product("NO-GTIN", "mugs", version=3))
    assert not await is_ready(shop, "NO-GTIN")


async def test_sources_complete_each_other(shop: Shop) -> None:
    """What counts is what the page shows, whichever source it is from; the higher one gives the language, too."""
    more = {"attributes": {"gtin": GTIN, "care": "cold"}, "localized": {"name": {"de": "Hemd"}}}
    await say(shop, event("catalog", more, sku="NOTHING", source="pim2"))
    found = await section(shop, "catalog", sku="NOTHING")
    assert found["completeness"] == {"percent": 66, "missing": ["name"]}
    assert found["attributes"]["name"] == "Name of NOTHING"


async def test_pages_are_counted(shop: Shop) -> None:
    """By family and attribute, first what makes most pages ready."""
    found = await shop.completeness.report("web-de")
    assert (found.channel, found.requirements) == ("web-de", ["shop@2"])
    assert (found.pages, found.complete, found.blocked, found.unmeasured, found.percent) == (6, 1, 4, 0, 52)
    families = [(each.family, each.pages, each.complete, each.blocked, each.percent) for each in found.families]
    assert families == [("", 1, 0, 1, 50), ("mugs", 2, 0, 2, 50), ("t-shirts", 3, 1, 1, 55)]
    lacking = [
        (each.attribute, each.missing, each.invalid, each.blocks, each.unblocks, each.completes, each.families)
        for each in found.attributes
    ]
    assert lacking == [
        ("gtin", 2, 1, 3, 2, 2, {"mugs": 2, "t-shirts": 1}),
        ("name", 2, 0, 2, 1, 1, {"": 1, "t-shirts": 1}),
        ("care", 2, 0, 0, 0, 1, {"t-shirts": 2}),
    ]
    assert [page.sku async for page in shop.completeness.lacking("web-de", "gtin")] == [
        "NO-GTIN",
        "NOTHING",
        "WRONG-GTIN",
    ]


async def test_pages_are_counted_in_small_parts(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever is read at a time, and with more families than are counted one by one."""
    whole = await shop.completeness.report("web-de")
    monkeypatch.setattr(completeness, "CHUNK_SKUS", 2)
    monkeypatch.setattr(completeness, "CHUNK_BYTES", 1)
    assert counted(await shop.completeness.report("web-de")) == counted(whole)
    monkeypatch.setattr(completeness, "MAX_FAMILIES", 1)
    found = await shop.completeness.report("web-de")
    assert [each.pages for each in found.families] == [1, 5]
    assert completeness.OTHER_FAMILIES in [each.family for each in found.families]


def counted(report: CompletenessReport) -> CompletenessReport:
    """The report without its time."""
    return msgspec.structs.replace(report, counted_at="")


async def test_hidden_pages_are_counted_and_not_shown(store_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """`hide` disables what lacks something that blocks; what a source disables is neither shown nor counted."""
    async with pagefold.open(asking(store_url)) as shop:
        await say(shop, *PRODUCTS, event("catalog", {"enabled": False}, sku="OFF"))
        shown = await shop.completeness.report("web-de")
    async with pagefold.open(asking(store_url, incomplete="hide")) as shop:
        await shop.catch_up()
        live = [sku for sku in ("FULL", "NO-CARE", "NO-GTIN", "ENGLISH") if await shop.pages.get(sku, "web-de")]
        assert live == ["FULL", "NO-CARE"]
        assert await shop.pages.get("NO-GTIN", "market-at") is not None
        assert counted(await shop.completeness.report("web-de")) == counted(shown)
        assert [page.sku async for page in shop.completeness.lacking("web-de", "name")] == ["ENGLISH", "NOTHING"]
        monkeypatch.setattr(completeness, "CHUNK_BYTES", 1)
        assert counted(await shop.completeness.report("web-de")) == counted(shown)
        assert (await shop.verify()).changed == 0


async def test_a_changed_set_folds_again_what_depends_on_it(store_url: str) -> None:
    """Only the sections of the channel change; the pages are those of a shop that always asked for it."""
    async with pagefold.open(Config.parse(document(store_url), store=store_url)) as shop:
        await say(shop, *PRODUCTS, catalog("Cap"), price("9.90"))
        before = await pages_of(shop)
    async with pagefold.open(asking(store_url)) as shop:
        await apply_file(shop)
        behind = {each.domain for each in (await shop.status()).domains if each.configuration_changed}
        assert behind == {"catalog"}
        assert (await shop.completeness.report("web-de")).unmeasured == 7
        await shop.catch_up()
        after = await pages_of(shop)
        assert (await shop.verify()).changed == 0
    changed = {key for key, page in after.items() if page != before[key]}
    assert changed == {key for key in after if key[1] == "web-de"}
    async with pagefold.open(Config.parse(document(store_url), store=store_url)) as shop:
        await shop.catch_up()
        assert await pages_of(shop) == before


async def test_the_order_of_arrival_does_not_matter(store_url: str, tmp_path: Path) -> None:
    """Late and early events give the same completeness."""
    events = [*PRODUCTS, product("FULL", "mugs", version=3), product("FULL", "t-shirts", version=2, gtin=GTIN)]
    pages = []
    for url, order in ((store_url, events), (f"sqlite:///{tmp_path / 'other'}", events[::-1])):
        async with pagefold.open(asking(url)) as shop:
            for each in order:
                await append(shop, each)
            await shop.catch_up()
            pages.append(await pages_of(shop))
    assert pages[0] == pages[1]


async def test_a_stale_completeness_is_drift(shop: Shop, store_url: str) -> None:
    """The completeness is part of what verify compares, in this process and in others."""
    assert (await shop.verify(processes=2)).changed == 0
    intruder = Intruder(store_url)
    stored = intruder.sections()["FULL", "web-de", "catalog"]
    assert stored.body is not None
    intruder.put([stored._replace(body=stored.body.replace(b'"percent":100', b'"percent":99'))])
    assert (await shop.verify(processes=2)).changed == 1


async def test_a_count_is_shared_for_some_seconds(shop: Shop) -> None:
    """Callers get the last one, until it is old."""
    first = await shop.completeness.recent("web-de")
    await say(shop, product("NEW"))
    assert await shop.completeness.recent("web-de") is first
    shop.completeness._counts["web-de", EVERY_PAGE].until = 0.0  # to wait for it would take ten seconds
    assert (await shop.completeness.recent("web-de")).pages == first.pages + 1


SELECTED = [
    event("catalog", {"attributes": {"color": "red"}, "categories": ["Clothing > Shirts"]}, sku="RED"),
    event("catalog", {"attributes": {"color": ["red", "blue"]}, "categories": ["Clothing"]}, sku="BOTH"),
    product("BLUE", "t-shirts", color="blue", gtin=GTIN, details={"fit": "slim"}),
]


@pytest.mark.parametrize("incomplete", ["show", "hide", "keep"])
async def test_a_selection_is_counted_alone(store_url: str, incomplete: str) -> None:
    """What to fill first is right for the pages that are selected, also where incomplete pages are not shown."""
    async with pagefold.open(asking(store_url, incomplete=incomplete)) as shop:
        await say(shop, *PRODUCTS, *SELECTED)
        wanted = {
            PageSelection(family="clothing"): ["BLUE", "FULL", "NO-CARE", "NOTHING"],
            PageSelection(family="mugs"): ["NO-GTIN", "WRONG-GTIN"],
            PageSelection(category="Clothing"): ["BOTH", "RED"],
            PageSelection(category="Clothing>Shirts"): ["RED"],
            PageSelection(attribute="color"): ["BLUE", "BOTH", "RED"],
            PageSelection(attribute="color=red"): ["BOTH", "RED"],
            PageSelection(attribute="details.fit=slim"): ["BLUE"],
            PageSelection(family="t-shirts", attribute="color"): ["BLUE"],
            PageSelection(family="none"): [],
        }
        for selection, skus in wanted.items():
            pages = [page async for page in shop.completeness.pages("web-de", selection)]
            assert [page.sku for page in pages] == skus
            report = await shop.completeness.report("web-de", selection)
            assert (report.pages, report.selection) == (len(skus), selection)
        first = (await shop.completeness.report("web-de", PageSelection(family="clothing"))).attributes[0]
        assert (first.attribute, first.missing, first.completes) == ("care", 3, 2)
        assert [each.sku async for each in shop.completeness.lacking("web-de", "gtin", PageSelection("mugs"))] == [
            "NO-GTIN",
            "WRONG-GTIN",
        ]


async def test_a_selection_knows_the_tree(store_url: str) -> None:
    """A category of the channel's tree is one with all below it."""
    config = msgspec.to_builtins(asking(store_url))
    config["trees"] = {"shop": {"rows": {"all": {}, "shirts": {"parent": "all"}, "tees": {"parent": "shirts"}}}}
    config["channels"]["web-de"]["tree"] = "shop"
    async with pagefold.open(Config.parse(config, store=store_url)) as shop:
        await say(shop, *(event("catalog", {"categories": [name]}, sku=name) for name in ("all", "shirts", "tees")))
        for category, skus in (("all", ["all", "shirts", "tees"]), ("shirts", ["shirts", "tees"]), ("tees", ["tees"])):
            selection = PageSelection(category=category)
            assert [page.sku async for page in shop.completeness.pages("web-de", selection)] == skus


async def test_counts_of_selections_are_kept_for_some_seconds(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a few selections, those that were asked for last."""
    monkeypatch.setattr(completeness, "MAX_COUNTS", 2)
    mugs, shirts = PageSelection("mugs"), PageSelection("t-shirts")
    first = await shop.completeness.recent("web-de", mugs)
    assert await shop.completeness.recent("web-de", mugs) is first
    for selection in (shirts, EVERY_PAGE):
        await shop.completeness.recent("web-de", selection)
    assert [key for _, key in shop.completeness._counts] == [shirts, EVERY_PAGE]
    assert await shop.completeness.recent("web-de", mugs) is not first
