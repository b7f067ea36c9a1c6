"""What stops a value, a section or a page: each reason on both stores, with the event that it is about."""

from typing import Any

import pagefold
from pagefold import Shop
from pagefold.engine.events import Reference
from pagefold.engine.explanations.explanation import PageExplanation, Reason
from pagefold.engine.explanations.selection import explanation_of
from pagefold.engine.stores.dead_letter_records import NewDeadLetter
from pagefold.engine.stores.fetch_records import NewFetch
from tests.explanations.test_origins import explaining
from tests.support.rebuild_fixtures import Intruder
from tests.support.small_shop import (
    MOMENT,
    SKU,
    Raw,
    a_dead_letter,
    append,
    catalog,
    configured,
    document,
    event,
    media,
    price,
    say,
    stock,
    with_channel,
    withdrawn,
)


def section_of(page: PageExplanation, domain: str) -> Any:  # noqa: ANN401  # shorter than its type
    """The section of a domain."""
    return next(each for each in page.sections if each.domain == domain)


def codes(reasons: list[Reason]) -> list[str]:
    """Their codes."""
    return [each.code for each in reasons]


def at(page: PageExplanation, path: str) -> list[Reason]:
    """The reasons at a place of the page."""
    values = [*page.values, *(value for section in page.sections for value in section.values)]
    reasons = [value.reasons for value in values if value.path == path]
    reasons += [absent.reasons for section in page.sections for absent in section.absent if absent.path == path]
    [found] = reasons
    return found


async def test_sources_of_lower_rank_lose(shop: Shop) -> None:
    """The value of the loser is named, with its event; a text of the same event comes before its attribute."""
    both = {"attributes": {"name": "plain", "size": "M"}, "localized": {"name": {"de": "Hemd"}}}
    await say(shop, event("catalog", both), catalog("other", source="pim2"))
    page = await shop.why(SKU, "web-de")
    [own, lower] = at(page, "catalog.attributes.name")
    assert (own.code, own.path, own.value) == ("own-text", "attributes.name", "plain")
    assert (lower.code, lower.path, lower.value) == ("lower-rank", "localized.name.de", "other (de)")
    assert [each.source for each in page.events if each.position == lower.event] == ["pim2"]
    assert at(page, "catalog.attributes.size") == []


async def test_a_text_in_no_language_of_the_channel(shop: Shop) -> None:
    """The languages that there are, are named."""
    await say(shop, event("catalog", {"localized": {"name": {"fr": "Chemise", "it": "Camicia"}}}))
    [found] = at(await shop.why(SKU, "web-us"), "catalog.attributes.name")
    assert (found.code, found.detail, found.path) == ("no-language", "fr, it", "localized.name")


async def test_prices_that_do_not_count(shop: Shop) -> None:
    """In another currency, for another channel, older than the head; each with its event."""
    await say(shop, price("9.90"), price("8.00", channel="market-at", version=2), price("7.00", version=5))
    found = section_of(await shop.why(SKU, "web-us"), "pricing")
    assert (found.state, found.ready) == ("disabled", False)
    assert codes(found.reasons) == ["other-currency", "other-channel"]
    assert "EUR" in found.reasons[0].detail
    assert "USD" in found.reasons[0].detail
    page = explanation_of(await shop.why(SKU, "web-de"), "pricing.amount")
    assert codes(at(page, "pricing.amount")) == ["superseded"]
    assert at(page, "pricing.amount")[0].value == "9.90"
    assert codes(at(await shop.why(SKU, "market-at"), "pricing.amount")) == ["own-statement"]


async def test_an_event_that_came_late(shop: Shop) -> None:
    """An older version that arrived after the newer one says so, also without a path."""
    await say(shop, price("9.90", version=5), price("8.00", version=3))
    [found] = section_of(await shop.why(SKU, "web-de"), "pricing").reasons
    assert (found.code, found.detail) == ("superseded", "version 3 arrived after version 5")


async def test_sources_and_channels_that_do_not_count(store_url: str) -> None:
    """A source that the channel does not listen to; one, and a channel, that the configuration no longer has."""
    async with pagefold.open(configured(store_url)) as shop:
        await say(shop, stock(5), stock(7, source="wms-b"), catalog("A", source="pim2"), catalog("B"))
        await say(shop, event("catalog", {"attributes": {"code": "C"}}, channel="outlet-de", source="pim2"))
    tables = document(store_url)
    del tables["sources"]["pim2"], tables["channels"]["outlet-de"]
    tables["channels"]["web-us"]["sources"] = {"catalog": ["pim"], "media": []}
    async with pagefold.open(pagefold.Config.parse(tables, store=store_url)) as shop:
        await shop.catch_up()
        page = await shop.why(SKU, "market-at")
        assert codes(section_of(page, "inventory").reasons) == ["not-listened"]
        assert set(codes(section_of(page, "catalog").reasons)) == {"unknown-source"}
        tables["sources"]["pim2"] = {"domains": ["catalog"]}
    async with pagefold.open(pagefold.Config.parse(tables, store=store_url)) as shop:
        await shop.catch_up()
        page = await shop.why(SKU, "web-de")
        assert codes(section_of(page, "catalog").reasons) == ["unknown-channel"]


async def test_what_a_source_withdrew(shop: Shop) -> None:
    """What it had said before is not on the page; a rebuild that withdrew it is named."""
    await say(shop, catalog("kept"), event("catalog", {"attributes": {"color": "red"}}, source="pim2"))
    await say(shop, withdrawn("catalog", version=2, source="pim2"))
    page = await shop.why(SKU, "web-de")
    [found] = at(page, "catalog.attributes.color")
    assert (found.code, found.value) == ("withdrawn", "red")
    assert [each.withdrawn for each in page.events if each.position == found.event] == [True]
    await say(shop, withdrawn("catalog", version=2))
    page = await shop.why(SKU, "web-de")
    assert (page.status, page.ready) == ("disabled", False)
    assert codes(page.reasons) == ["withdrawn", "withdrawn", "not-ready", "not-ready", "not-ready"]


async def test_a_product_that_its_source_disabled(shop: Shop) -> None:
    """With the event that did."""
    await say(shop, event("catalog", {"enabled": False, "attributes": {"code": "A"}}), media())
    page = await shop.why(SKU, "web-de")
    assert page.status == "disabled"
    assert (page.reasons[0].code, page.reasons[0].event is not None) == ("disabled", True)
    assert codes(section_of(page, "media").reasons) == ["empty"]


async def test_contracts_and_requirements(store_url: str) -> None:
    """What a contract does not show or cannot map, what is missing or breaks a rule; a page that is hidden for it."""
    async with pagefold.open(explaining(store_url)) as shop:
        await say(shop, event("catalog", {"attributes": {"size": "XXXL"}, "localized": {"name": {"en": "Shirt"}}}))
        page = await shop.why(SKU, "market-at")
        assert codes(at(page, "catalog.attributes.label")) == ["unmapped"]
        assert codes(at(page, "catalog.attributes.heading")) == ["nothing-to-map"]
        [missing] = at(page, "catalog.attributes.name")
        assert (missing.code, missing.detail) == ("missing", "basic@1: not in the channel's own language")
        assert codes(at(page, "catalog.categories")) == ["missing"]
        page = await shop.why(SKU, "outlet-de")
        assert page.status == "disabled"
        assert codes(page.reasons)[0] == "incomplete"
        lacking = {each.path: each.reasons for each in section_of(page, "catalog").absent}
        assert {path: codes(reasons) for path, reasons in lacking.items()} == {
            "catalog.attributes.name": ["missing"],
            "catalog.attributes.size": ["invalid"],
            "catalog.attributes.title or heading and kind": ["missing"],
            "catalog.categories": ["missing"],
        }
        assert lacking["catalog.attributes.size"][0].detail.startswith("basic@1, a warning: ")
        await say(shop, event("catalog", {"attributes": {"size": "XXXL", "old": 1}}, version=2))
        assert codes(at(await shop.why(SKU, "web-us"), "catalog.attributes.old")) == ["not-in-contract"]


async def test_fields_of_the_catalog_by_their_names(store_url: str) -> None:
    """`categories` alone is the field, also where it is hidden; an attribute of that name, if there is one."""
    async with pagefold.open(explaining(store_url)) as shop:
        await say(shop, event("catalog", {"attributes": {"kept": 1}, "categories": ["b", "polos", "hats"]}))
        page = await shop.why(SKU, "market-at")
        [found] = explanation_of(page, "categories").sections
        assert [each.path for each in found.values] == ["catalog.categories"]
        assert [(each.code, each.detail) for each in found.values[0].reasons] == [
            ("unmapped", "the channel's tree lacks polos, hats")
        ]
        page = await shop.why(SKU, "outlet-de")
        [name] = explanation_of(page, "family").sections
        assert [(each.path, codes(each.reasons)) for each in name.absent] == [("catalog.family", ["incomplete"])]
        await say(shop, event("catalog", {"attributes": {"family": "x"}}, sku="OWN"))
        [found] = explanation_of(await shop.why("OWN", "market-at"), "family").sections
        assert [each.path for each in found.values] == ["catalog.attributes.family"]


async def test_a_page_that_keeps_an_older_version(store_url: str) -> None:
    """Its values are from that version; the newest one says what it lacks. Without a complete one there is no page."""
    async with pagefold.open(explaining(store_url)) as shop:
        await say(shop, event("catalog", {"attributes": {"size": "M"}}))
        page = await shop.why(SKU, "web-de")
        assert (page.status, codes(page.reasons)[0]) == ("disabled", "incomplete")
        await say(shop, catalog("Shirt", version=2), event("catalog", {"attributes": {"size": "S"}}, version=3))
        page = await shop.why(SKU, "web-de")
        assert {each.stored for each in page.sections} == {"same"}
        [kept] = section_of(page, "catalog").reasons
        assert (kept.code, kept.detail) == ("kept", "attributes.name")
        versions = {each.position: each.version for each in page.events}
        assert versions[kept.event] == 3
        name = next(each for each in section_of(page, "catalog").values if each.path == "catalog.attributes.name")
        assert [versions[each.event] for each in name.inputs] == [2]


async def test_a_page_that_is_filtered(store_url: str) -> None:
    """With the rule of the channel."""
    async with pagefold.open(explaining(store_url)) as shop:
        await say(shop, event("catalog", {"attributes": {"name": "Shirt", "size": "L"}}))
        page = await shop.why(SKU, "web-de")
        assert (page.status, page.reasons[0].code, page.reasons[0].detail) == ("disabled", "filtered", "no-size-l")


async def test_what_is_not_folded_yet(shop: Shop) -> None:
    """The answer is what the log gives, and says that the stored page is behind."""
    await say(shop, catalog("A"), price("9.90"))
    await append(shop, price("8.00", version=2))
    page = await shop.why(SKU, "web-de")
    found = section_of(page, "pricing")
    assert (found.stored, found.lag_events, codes(found.reasons)) == ("not-folded", 1, ["not-folded"])
    assert [each.value for each in found.values if each.path == "pricing.amount"] == ["8.00"]
    assert "not-folded" in codes(at(page, "pricing.amount"))
    assert section_of(page, "catalog").stored == "same"


async def test_nothing_was_sent(shop: Shop) -> None:
    """Of a product that nobody knows, and of a value that nobody has stated."""
    page = await shop.why("NOBODY", "web-de")
    assert (page.status, page.ready, codes(page.reasons)[0]) == ("absent", False, "no-event")
    assert [codes(each.reasons) for each in page.sections] == [["no-event"]] * 4
    await say(shop, catalog("A"))
    page = explanation_of(await shop.why(SKU, "web-de"), "color.main")
    assert [each.path for each in page.sections[0].absent] == ["catalog.attributes.color.main"]
    assert codes(page.sections[0].absent[0].reasons) == ["not-stated"]


async def test_a_stored_page_that_is_wrong(shop: Shop) -> None:
    """Neither what the log gives nor what it gave: also while newer events wait."""
    await say(shop, catalog("A"), stock(5))
    intruder = Intruder(shop.config.store.url)
    intruder.put([each._replace(body=b'{"a":1}') for key, each in intruder.sections().items() if key[2] == "catalog"])
    assert section_of(await shop.why(SKU, "web-de"), "catalog").stored == "wrong"
    await append(shop, catalog("B", version=2))
    page = await shop.why(SKU, "web-de")
    assert {each.domain: each.stored for each in page.sections if each.stored != "same"} == {"catalog": "wrong"}
    assert codes(section_of(page, "catalog").reasons) == ["wrong"]


async def test_a_configuration_that_was_just_applied(shop: Shop) -> None:
    """Pages that are not folded again yet are of another configuration, which is no damage."""
    await say(shop, catalog("A"))
    config = with_channel(shop.config, "web-de", sources={"catalog": ["pim2"]})
    await shop.apply(await shop.plan(config), by="ada", reason="a test")
    found = section_of(await shop.why(SKU, "web-de"), "catalog")
    assert (found.state, found.stored) == ("absent", "not-applied")
    assert codes(found.reasons) == ["not-applied", "not-listened"]


async def test_an_event_that_cannot_be_folded(shop: Shop) -> None:
    """The version before it counts; its error and its dead letter are named."""
    await say(shop, stock(5))
    state = b'{"id":"x","occurredAt":"%b","recordedAt":"%b","payload":{"available":"many"}}' % ((MOMENT.encode(),) * 2)
    await shop.store.log.insert([Raw(f"{SKU}/*/inventory/wms-a", 2, "inventory", state)])
    await shop.catch_up()
    page = await shop.why(SKU, "web-de")
    found = section_of(page, "inventory")
    assert found.stored == "same"
    assert found.values[0].value == 5
    assert codes(found.reasons) == ["cannot-fold", "dead-letter"]
    assert [each.version for each in page.events if each.position == found.reasons[0].event] == [2]
    assert found.reasons[1].dead_letter == "projection-1"


async def test_what_is_in_dead_letters(shop: Shop) -> None:
    """Conflicts and requests of the product; requests and deliveries that wait may be of any product."""
    await say(shop, price("9.90"))
    assert [each.outcome for each in await shop.append([price("8.00")])] == ["conflict"]
    found = section_of(await shop.why(SKU, "web-de"), "pricing").reasons
    assert [(each.code, each.dead_letter) for each in found] == [("dead-letter", "ingest-1")]
    request = a_dead_letter(f"{SKU}///pim")._replace(domain="")
    await shop.store.dead_letters.add([request, a_dead_letter("///dam")._replace(domain="", digest=b"2")])
    waits = NewDeadLetter("waiting", "inventory", "///wms-a", 1, 0, b"3", "unknown", b"{}", MOMENT)
    await shop.store.dead_letters.add([waits._replace(via="webhook", reference=Reference("shop:item", "7"))])
    page = await shop.why(SKU, "web-de")
    assert codes(section_of(page, "catalog").reasons) == ["dead-letter", "no-event"]
    assert codes(section_of(page, "media").reasons) == ["dead-letter", "no-event"]
    assert codes(section_of(page, "inventory").reasons) == ["waiting", "no-event"]


async def test_what_is_to_be_fetched(shop: Shop) -> None:
    """A record that names the product; others only where nothing has arrived."""
    wanted = NewFetch("pim", "webhook.fetch[0]", "7", "/products/7", b'{"sku":"TSHIRT-M"}', b"{}", False, MOMENT)  # noqa: FBT003
    other = wanted._replace(source="dam", notification=b"{}")
    await shop.store.fetches.want([wanted, other], MOMENT)
    page = await shop.why(SKU, "web-de")
    assert "/products/7 of pim" in section_of(page, "catalog").reasons[0].detail
    assert codes(section_of(page, "catalog").reasons) == ["fetching", "fetching", "no-event"]
    assert codes(section_of(page, "media").reasons) == ["fetching", "no-event"]


async def test_statements_of_a_release(shop: Shop) -> None:
    """They do not count until it is published, and then above every other source."""
    await say(shop, catalog("A"))
    await shop.releases.create("spring", by="ada", reason="a test")
    await say(shop, event("catalog", {"attributes": {"code": "B"}}, source="release/spring"))
    page = await shop.why(SKU, "web-de")
    assert codes(section_of(page, "catalog").reasons) == ["unpublished"]
    assert codes(at(page, "catalog.attributes.code")) == ["unpublished"]
    await shop.releases.publish("spring", by="ada", reason="a test")
    await shop.catch_up()
    assert codes(at(await shop.why(SKU, "web-de"), "catalog.attributes.code")) == ["lower-rank"]


async def test_what_a_variant_inherits(store_url: str) -> None:
    """A value of the parent is from the parent's event; a parent that does not exist, and a cycle, are named."""
    async with pagefold.open(explaining(store_url)) as shop:
        parent = {"attributes": {"fit": "slim"}, "localized": {"name": {"de": "Hemd", "en": "Shirt"}}}
        await say(shop, event("catalog", parent, sku="TSHIRT"))
        variant = {"attributes": {"size": "M"}, "localized": {"name": {"en": "Shirt M"}}, "parent": "TSHIRT"}
        await say(shop, event("catalog", variant))
        page = await shop.why(SKU, "web-de")
        skus = {each.position: each.sku for each in page.events}
        values = {each.path.rpartition(".")[2]: each for each in section_of(page, "catalog").values}
        assert {name: [skus[each.event] for each in values[name].inputs] for name in ("fit", "name", "size")} == {
            "fit": ["TSHIRT"],
            "name": ["TSHIRT"],
            "size": [SKU],
        }
        assert [each.stored for each in page.sections] == ["same"] * 4
        await append(shop, event("catalog", {"attributes": {"fit": "wide"}}, sku="TSHIRT", version=2))
        page = await shop.why(SKU, "web-de")
        assert section_of(page, "catalog").stored == "not-folded"
        assert "not-folded" in codes(at(page, "catalog.attributes.fit"))
        await say(shop, event("catalog", variant | {"parent": "NOBODY"}, version=2))
        assert codes(at(await shop.why(SKU, "web-de"), "catalog.parent"))[-1:] == ["no-parent"]
        await say(shop, event("catalog", variant | {"parent": SKU}, version=3))
        found = section_of(await shop.why(SKU, "web-de"), "catalog").reasons
        assert codes(found) == ["not-inherited", "dead-letter"]
        assert "cycle" in found[0].detail


async def test_what_has_not_arrived_of_a_parent(store_url: str) -> None:
    """Its late events, dead letters and fetches are reasons for its variants, which name it; also of one to come."""
    inherits = {"pim": {"domains": ["catalog"], "inherit": {}}}
    tables = document(store_url)
    async with pagefold.open(configured(store_url, sources=tables["sources"] | inherits)) as shop:
        late = event("catalog", {"attributes": {"care": "cold"}}, sku="P-1", version=2)
        await say(
            shop,
            event("catalog", {"parent": "P-1"}, sku="V"),
            event("catalog", {"parent": "TOP"}, sku="P-1", version=3),
            late,
        )
        await shop.store.dead_letters.add([a_dead_letter("TOP/*/catalog/pim")._replace(domain="catalog")])
        fetch = NewFetch("pim", "webhook.fetch[0]", "7", "/products/7", b'{"sku":"P-1"}', b"{}", False, MOMENT)  # noqa: FBT003
        await shop.store.fetches.want([fetch], MOMENT)
        page = await shop.why("V", "web-de")
        found = section_of(page, "catalog").reasons
        assert [(each.code, each.detail) for each in found] == [
            ("superseded", "version 2 arrived after version 3"),
            ("fetching", "its parent P-1: /products/7 of pim, since " + MOMENT),
            ("dead-letter", "its parent TOP: pim: wrong"),
        ]
        [event_of_parent] = [each for each in page.events if each.position == found[0].event]
        assert (event_of_parent.sku, event_of_parent.version) == ("P-1", 2)
        assert codes(at(explanation_of(page, "catalog.attributes.care"), "catalog.attributes.care")) == ["superseded"]
        assert section_of(await shop.why("V", "web-de"), "pricing").reasons[-1].code == "no-event"
