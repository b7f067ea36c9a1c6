"""Channel contracts on both stores: what pages show, two versions side by side, and a changed contract."""

from collections.abc import AsyncIterator
from random import Random

import pytest

import pagefold
from pagefold import Config, Shop
from pagefold.domains import DOMAINS
from tests.support.small_shop import Document, document, event, pages_of, price, say, section

COLORS = {"colors": {"rows": {"1": {"de": "rot", "en": "red"}, "2": {"de": "blau", "en": "blue"}}}}
FIRST: Document = {"name": "web", "version": 1, "attributes": {"title": "name"}}
SECOND: Document = {
    "name": "web",
    "version": 2,
    "tables": COLORS,
    "attributes": {"title": "name", "color": {"from": "color", "translate": "colors"}},
}


def showing(url: str, **contracts: Document) -> Config:
    """The small shop, in which some channels have contracts, or other settings."""
    tables = document(url, work={"poll_seconds": 0.05})
    for name, contract in contracts.items():
        tables["channels"][name.replace("_", "-")] |= contract if "contract" in contract else {"contract": contract}
    return Config.parse(tables, store=url)


def product(sku: str, color: object, *, version: int = 1) -> pagefold.DomainEvent:
    """A product with a code of a color."""
    names = {"de": f"{sku} (de)", "en": f"{sku} (en)"}
    payload = {"attributes": {"color": color, "cost": 3}, "localized": {"name": names}}
    return event("catalog", payload, sku=sku, version=version)


PRODUCTS = [product("RED", 1), product("BLUE", "2"), product("ODD", "9")]


@pytest.fixture
async def shop(store_url: str) -> AsyncIterator[Shop]:
    """A shop with two versions of a contract in three channels, and its products."""
    async with pagefold.open(showing(store_url, web_de=SECOND, market_at=FIRST, web_us=SECOND)) as opened:
        await say(opened, *PRODUCTS, price("9.90", sku="RED"))
        yield opened


async def test_versions_live_side_by_side(shop: Shop) -> None:
    """A page names its contract; labels are in the language of the channel; a channel without shows all."""
    found = {name: await section(shop, "catalog", name, sku="RED") for name in shop.config.channels}
    assert [found["web-de"][key] for key in ("contract", "attributes")] == [
        "web@2",
        {"title": "RED (de)", "color": "rot"},
    ]
    assert [found["web-us"][key] for key in ("contract", "attributes")] == [
        "web@2",
        {"title": "RED (en)", "color": "red"},
    ]
    assert [found["market-at"][key] for key in ("contract", "attributes")] == ["web@1", {"title": "RED (de)"}]
    assert not {"contract", "unmapped", "completeness"} & found["outlet-de"].keys()
    assert "unmapped" not in found["web-de"]


async def test_what_cannot_be_mapped_is_listed_and_counted(shop: Shop) -> None:
    """The page is ready all the same, unless the contract says `fail`."""
    found = await section(shop, "catalog", sku="ODD")
    assert (found["unmapped"], found["attributes"]) == (["color"], {"title": "ODD (de)"})
    page = await shop.pages.get("ODD", "web-de")
    assert page is not None
    assert page.readiness["catalog"]
    report = await shop.completeness.report("web-de")
    assert (report.contract, report.requirements, report.pages, report.complete, report.blocked) == (
        "web@2",
        [],
        3,
        2,
        0,
    )
    [lacking] = report.attributes
    assert (lacking.attribute, lacking.pages, lacking.unmapped, lacking.blocks, lacking.completes) == (
        "color",
        1,
        1,
        0,
        1,
    )
    assert [each.sku async for each in shop.completeness.lacking("web-de", "color")] == ["ODD"]


async def test_what_fails_blocks_or_hides(store_url: str) -> None:
    """And is counted as blocking, whether the page is shown or not."""
    failing = SECOND | {"unmapped": "fail"}
    for incomplete in ("show", "hide"):
        settings = {"contract": failing, "incomplete": incomplete}
        async with pagefold.open(showing(store_url, web_de=settings)) as shop:
            if incomplete == "show":
                await say(shop, *PRODUCTS)
            await shop.catch_up()
            page = await shop.pages.get("ODD", "web-de")
            assert (page is None) == (incomplete == "hide")
            assert page is None or not page.readiness["catalog"]
            report = await shop.completeness.report("web-de")
            assert (report.pages, report.blocked, report.attributes[0].unblocks) == (3, 1, 1)
            assert (await shop.verify(processes=2)).changed == 0


async def test_a_changed_contract_folds_again_what_depends_on_it(shop: Shop, store_url: str) -> None:
    """Only the sections of its channels change, and only those that it changes; back again they are as they were."""
    before = await pages_of(shop)
    third = SECOND | {"tables": {"colors": {"rows": {**COLORS["colors"]["rows"], "9": {"de": "neu", "en": "new"}}}}}
    async with pagefold.open(showing(store_url, web_de=third, market_at=FIRST, web_us=SECOND)) as other:
        counts = other.applied.config
        assert {each.name for each in DOMAINS if other.config.fingerprint(each) != counts.fingerprint(each)} == {
            "catalog"
        }
        await other.catch_up()
        assert other.counters.drifted == {"catalog": 1}  # of all sections, only the one that differs is written
        after = await pages_of(other)
        assert {key for key in after if after[key] != before[key]} == {("ODD", "web-de")}
        assert (await other.verify()).changed == 0
    renamed = showing(store_url, web_de=SECOND | {"version": 3}, market_at=FIRST, web_us=SECOND)
    async with pagefold.open(renamed) as other:
        await other.apply(await other.plan(), by="ada", reason="a new version")
        assert (await other.completeness.report("web-de")).unmeasured == 3
    async with pagefold.open(showing(store_url, web_de=SECOND, market_at=FIRST, web_us=SECOND)) as other:
        await other.catch_up()
        assert await pages_of(other) == before


async def test_channels_share_sections_by_what_they_depend_on(store_url: str) -> None:
    """Equal contracts and locales give one content, whatever else differs; another contract does not."""
    tables = document(store_url)
    for name, contract in (("web-de", SECOND), ("outlet-de", SECOND), ("market-at", FIRST)):
        tables["channels"][name] |= {"contract": contract, "locale": "de-DE", "fallbacks": [], "sources": {}}
    config = Config.parse(tables, store=store_url)
    async with pagefold.open(config) as shop:
        await say(shop, product("RED", 1))
        async with shop.store.coordination.fold_transaction("catalog") as transaction:
            [stored] = await transaction.sections(["RED"])
    index_of = stored.channels.index_of
    assert index_of["web-de"] == index_of["outlet-de"]
    assert len(stored.contents) == len(set(index_of.values())) == 3


KINDS = {"kinds": {"rows": {"1": "one", "2": "two"}}}
MODELLED: Document = {
    "name": "model",
    "tables": KINDS,
    "attributes": {"kind": {"from": "code", "lookup": "kinds"}, "title": "name", "trail": "@breadcrumb"},
    "fields": {"family": {"from": "@family", "lookup": {"values": {"f": "F"}}}},
}
PATHS = {"all": ["all"], "wear": ["all", "wear"], "tees": ["all", "wear", "tees"]}


def modelled(newest: Document) -> Document:
    """The section of the newest event of a product, by the documentation."""
    codes = newest["categories"]
    kind = {"1": "one", "2": "two"}.get(newest["attributes"].get("code"))
    paths = [PATHS[code] for code in dict.fromkeys(codes) if code in PATHS]
    deepest = [path for path in paths if not any(len(other) > len(path) and path[-1] in other for other in paths)]
    trail = deepest[0] if deepest else []
    texts = {name: newest["localized"][name]["de"] for name in newest["localized"]}
    attributes = {"kind": kind, "title": texts.get("name"), "trail": trail}
    unmapped = {
        "categories": any(code not in {*PATHS, "print"} for code in codes),
        "kind": kind is None and "code" in newest["attributes"],
        "family": newest["family"] == "g",
    }
    section: Document = {
        "attributes": {name: value for name, value in attributes.items() if value is not None},
        "breadcrumb": trail,
        "categories": paths,
        "contract": "model@1",
        "family": "F" if newest["family"] == "f" else None,
        "parent": None,
    }
    return section | (
        {"unmapped": sorted(name for name, is_so in unmapped.items() if is_so)} if any(unmapped.values()) else {}
    )


def stated(chance: Random) -> Document:
    """A payload of a product."""
    return {
        "attributes": {"code": chance.choice("129")} if chance.random() < 0.8 else {},
        "localized": {"name": {"de": chance.choice(["Hemd", "Hose"])}} if chance.random() < 0.8 else {},
        "categories": chance.choices(["all", "wear", "tees", "print", "hats"], k=chance.randrange(4)),
        "family": chance.choice(["f", "g"]),
    }


@pytest.mark.parametrize("seed", range(3))
async def test_sections_are_those_of_a_plain_model(store_url: str, seed: int) -> None:
    """Whatever is stated, and in whatever order the versions of 40 products arrive."""
    chance = Random(seed)
    tables = document(store_url)
    tables["trees"] = {
        "shop": {"rows": {"all": {}, "wear": {"parent": "all"}, "tees": {"parent": "wear"}, "print": {}}}
    }
    tables["channels"]["web-de"] |= {"contract": MODELLED, "tree": "all"}
    versions = {f"P{number}": [stated(chance) for _ in range(chance.randrange(1, 4))] for number in range(40)}
    events = [
        event("catalog", payload, sku=sku, version=version)
        for sku, payloads in versions.items()
        for version, payload in enumerate(payloads, start=1)
    ]
    chance.shuffle(events)
    async with pagefold.open(Config.parse(tables, store=store_url)) as shop:
        for start in range(0, len(events), 25):
            await say(shop, *events[start : start + 25])
        for sku, payloads in versions.items():
            assert await section(shop, "catalog", "web-de", sku=sku) == modelled(payloads[-1]), payloads[-1]
        assert (await shop.verify()).changed == 0
