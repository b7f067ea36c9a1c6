"""Releases and parents: what a release states of a parent reaches its variants, and the other way round."""

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import pagefold
from pagefold import Config, DomainEvent, Shop
from pagefold.engine.demo.reference_model import Model
from pagefold.engine.folding import folder
from pagefold.engine.replay import release_replayer, section_verifier
from tests.folding.test_inheritance import SETTINGS, attributes, errors, inheriting, links, payloads, product
from tests.releases.test_releases import WHO, planned_of
from tests.support.arrival_orders import NAMES
from tests.support.small_shop import Document, as_document, event, pages_of, say

SUMMER = "release/summer"
RELEASES = ("summer", "winter")


def said(sku: str, version: int = 1, *, channel: str = "*", **payload: object) -> DomainEvent:
    """What the release says of a product."""
    return product(sku, version=version, channel=channel, source=SUMMER, **payload)


@pytest.fixture
async def family(store_url: str) -> Shop:  # type: ignore[misc]  # a generator
    """A parent with two variants, and a release."""
    async with pagefold.open(inheriting(store_url, own=["size"])) as shop:
        await say(
            shop,
            product("P", attributes={"material": "cotton", "care": "cold"}, localized={"name": {"de": "Hemd"}}),
            product("V", parent="P", attributes={"size": "m"}),
            product("W", parent="P", attributes={"material": "linen"}),
        )
        await shop.releases.create("summer", **WHO)
        yield shop


async def publish(shop: Shop, *events: DomainEvent) -> None:
    """Says something in the release, and publishes it."""
    await say(shop, *events)
    await shop.releases.publish("summer", **WHO)
    await shop.catch_up()


async def roll_back(shop: Shop) -> None:
    """Rolls the release back."""
    await shop.releases.roll_back("summer", **WHO)
    await shop.catch_up()


async def test_what_a_release_says_of_a_parent_reaches_its_variants(family: Shop) -> None:
    """Where nothing is stated of the variants themselves; and it leaves with the release."""
    before = await pages_of(family)
    await publish(
        family, said("P", attributes={"material": "silk", "size": "all"}, localized={"name": {"de": "Sommerhemd"}})
    )
    silk = {"material": "silk", "care": "cold", "name": "Sommerhemd"}
    assert await attributes(family, "P") == silk | {"size": "all"}
    assert await attributes(family, "V") == silk | {"size": "m"}
    assert await attributes(family, "W") == silk | {"material": "linen"}
    await say(family, said("P", 2, attributes={"care": "none"}))
    assert await attributes(family, "V") == {"material": "cotton", "care": "none", "name": "Hemd", "size": "m"}
    await roll_back(family)
    assert await pages_of(family) == before
    assert (await family.verify()).changed == 0


async def test_a_plan_names_the_variants_too(family: Shop) -> None:
    """All pages that change when the release is published."""
    await say(family, said("P", channel="web-de", attributes={"care": "none"}))
    _, named = await planned_of(family, "summer")
    assert {(each.sku, each.channel) for each in named} == {(sku, "web-de") for sku in "PVW"}


async def test_a_statement_about_a_variant_inherits_from_what_counts_of_its_parents(family: Shop) -> None:
    """Of a new variant, which only the release has, and of one that it moves to another parent."""
    await say(family, product("Q", attributes={"material": "wool"}), said("P", attributes={"care": "none"}))
    await publish(family, said("NEW", parent="P", attributes={"size": "xl"}), said("W", parent="Q"))
    assert await attributes(family, "NEW") == {"material": "cotton", "care": "none", "name": "Hemd", "size": "xl"}
    assert await attributes(family, "W") == {"material": "linen"}
    await say(family, product("Q", version=2, attributes={"care": "warm"}))
    assert await attributes(family, "W") == {"material": "linen", "care": "warm"}
    await say(family, product("P", version=2, attributes={"material": "hemp"}))
    assert await attributes(family, "NEW") == {"material": "hemp", "care": "none", "size": "xl"}
    await roll_back(family)
    assert await attributes(family, "W") == {"material": "linen"}
    assert {row.stream for row in await links(family)} == {"V/*/catalog/pim", "W/*/catalog/pim"}


async def test_a_parent_that_only_a_release_has(family: Shop) -> None:
    """Its variants inherit from it once it is published, and no longer after a rollback."""
    await say(family, product("X", parent="MODEL", attributes={"size": "s"}))
    await publish(family, said("MODEL", attributes={"material": "felt"}))
    assert await attributes(family, "X") == {"material": "felt", "size": "s"}
    await roll_back(family)
    assert await attributes(family, "X") == {"size": "s"}
    assert await family.pages.get("MODEL", "web-de", disabled=True) is None


async def test_in_a_channel_counts_what_the_release_says_of_it(family: Shop) -> None:
    """Of parents and variants; what the source states of a variant in one channel is laid over all of it there."""
    await say(family, product("V", channel="web-us", parent="P", attributes={"size": "M"}))
    await publish(family, said("P", channel="web-us", attributes={"care": "us"}), said("P", attributes={"care": "all"}))
    cares = {channel: (await attributes(family, "V", channel))["care"] for channel in ("web-de", "web-us")}
    assert cares == {"web-de": "all", "web-us": "us"}
    assert (await attributes(family, "V", "web-us"))["size"] == "M"


async def test_a_release_that_makes_a_cycle(family: Shop) -> None:
    """Its statement is a dead letter until it is rolled back; the pages have what is their own."""
    await publish(family, said("P", parent="V"))
    assert await errors(family) == {
        "P/*/catalog/release%2Fsummer": "parent: the parents form a cycle: P > V > P",
        "V/*/catalog/pim": "parent: the parents form a cycle: V > P > V",
        "W/*/catalog/pim": "parent: the parents form a cycle: W > P > V > P",
    }
    assert await attributes(family, "V") == {"size": "m"}
    await roll_back(family)
    assert await errors(family) == {}
    assert (await attributes(family, "V"))["care"] == "cold"


async def test_why_names_what_the_release_says_of_the_parent(family: Shop) -> None:
    """Each value of a variant is traced to the event that states it."""
    await publish(family, said("P", attributes={"care": "none"}), said("NEW", parent="P", attributes={"size": "xl"}))
    for sku, source in (("V", "pim"), ("NEW", SUMMER)):
        assert await origins(family, sku) == {
            "care": ("P", SUMMER),
            "material": ("P", "pim"),
            "name": ("P", "pim"),
            "size": (sku, source),
        }


async def origins(shop: Shop, sku: str) -> dict[str, tuple[str, str]]:
    """The product and the source that each attribute is from."""
    found = await shop.why(sku, "web-de")
    [section] = [each for each in found.sections if each.domain == "catalog"]
    events = {each.position: (each.sku, each.source) for each in found.events}
    return {
        each.path.removeprefix("catalog.attributes."): events[each.inputs[0].event]
        for each in section.values
        if each.path.startswith("catalog.attributes.")
    }


# --- any order ------------------------------------------------------------------------------------

STREAMS = st.tuples(
    st.sampled_from(NAMES),
    st.sampled_from(["*", "*", "web-de"]),
    st.sampled_from(["pim", "pim", "pim2", "release/summer", "release/summer", "release/winter"]),
)
STEPS = st.one_of(
    st.tuples(st.just("say"), STREAMS, st.one_of(payloads(), payloads(), payloads(), st.none())),
    st.tuples(st.sampled_from(["publish", "roll back"]), st.sampled_from(RELEASES)),
    st.tuples(st.just("fold")),
)


@given(steps=st.lists(STEPS, min_size=6, max_size=24))
@settings(max_examples=10)
@pytest.mark.parametrize("inherit", SETTINGS)
async def test_pages_are_those_of_the_model_whatever_happens(
    store_url: str, inherit: Document, steps: Sequence[Sequence[Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """After any statements, publications and rollbacks; and nothing is left of what no longer counts."""
    monkeypatch.setattr(folder, "CHUNK_SKUS", 2)
    monkeypatch.setattr(section_verifier, "STEP_STREAMS", 4)
    monkeypatch.setattr(release_replayer, "TRANSACTION_SKUS", 1)
    config = inheriting(store_url, **inherit)
    async with pagefold.open(config) as shop:
        prefix = f"{await shop.store.log.end():09}-"
        for name in RELEASES:
            if name not in [each.release.name for each in await shop.releases.all()]:
                await shop.releases.create(name, **WHO)
        events: list[DomainEvent] = []
        for number, (what, *about) in enumerate([*steps, ("fold",)], start=1):
            if what == "say":
                events.append(made(prefix, number, *about))
                assert (await shop.append(events[-1:]))[0].outcome == "appended"
            elif what == "fold":
                await shop.catch_up()
                pages = {key: page for key, page in (await pages_of(shop)).items() if key[0].startswith(prefix)}
                assert pages == modelled(config, shop.applied.config.releases, events)
            elif (what == "publish") != (about[0] in shop.applied.config.releases):
                change = shop.releases.publish if what == "publish" else shop.releases.roll_back
                await change(str(about[0]), **WHO)
        kept = await links(shop, prefix)
        assert (await shop.replay()).changed == 0
        assert await links(shop, prefix) == kept


def made(prefix: str, version: int, stream: tuple[str, str, str], payload: Document | None) -> DomainEvent:
    """An event of one example."""
    sku, channel, source = stream
    if payload is not None and "parent" in payload:
        payload = {**payload, "parent": prefix + payload["parent"]}
    return event("catalog", payload, sku=prefix + sku, channel=channel, source=source, version=version)


def modelled(
    config: Config, releases: Sequence[str], events: Sequence[DomainEvent]
) -> Mapping[tuple[str, str], bytes | None]:
    """The pages that the model makes, of sources and of published releases."""
    tables: Document = msgspec.to_builtins(config)
    sources = [f"release/{name}" for name in releases]
    tables["sources"] = {name: {"domains": ["catalog"]} for name in sources} | tables["sources"]
    for channel in tables["channels"].values():
        if channel.get("sources", {}).get("catalog"):
            channel["sources"] = {**channel["sources"], "catalog": [*sources, *channel["sources"]["catalog"]]}
    model = Model(tables)
    for each in events:
        if each.source in sources or not each.source.startswith("release/"):
            model.submit(as_document(each))
    return {key: model.page(*key, disabled=True) for key in model.pages()}
