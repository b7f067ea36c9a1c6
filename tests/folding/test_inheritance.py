"""Variants inherit from their parents, whatever the order in which events arrive."""

from collections.abc import Mapping, Sequence
from functools import partial

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import pagefold
from pagefold import Config, DomainEvent, Shop
from pagefold.engine.folding.folder import Folder
from pagefold.engine.stores.reference_records import StoredReference
from tests.support.arrival_orders import (
    NAMES,
    Arrivals,
    apply,
    arrivals,
    count_heads,
    fold_in_turn,
    in_small_steps,
    with_small_windows,
)
from tests.support.processes import eventually
from tests.support.small_shop import (
    SOURCES,
    Document,
    append,
    assert_every_event_is_counted,
    configured,
    event,
    pages_of,
    say,
    section,
    withdrawn,
)


def product(sku: str, *, version: int = 1, channel: str = "*", source: str = "pim", **payload: object) -> DomainEvent:
    """What a source says of a product."""
    return event("catalog", payload, version=version, sku=sku, channel=channel, source=source)


def inheriting(url: str, **inherit: object) -> Config:
    """The small shop, whose `pim` inherits."""
    sources = {name: {"domains": domains} for name, domains in SOURCES.items()}
    return configured(url, sources={**sources, "pim": {"domains": ["catalog"], "inherit": inherit}})


async def attributes(shop: Shop, sku: str, channel: str = "web-de") -> Document:
    """The attributes of a page."""
    found: Document = (await section(shop, "catalog", channel, sku))["attributes"]
    return found


async def errors(shop: Shop, prefix: str = "") -> dict[str, str]:
    """The open dead letters of SKUs that begin with a prefix: why, by stream."""
    found = await shop.dead_letters.newest(limit=100)
    return {each.originator_id: each.error for each in found if each.originator_id.startswith(prefix)}


async def links(shop: Shop, prefix: str = "") -> list[StoredReference]:
    """What is kept to find variants and parents."""
    rows = await shop.store.references.next_rows(limit=10_000)
    return [row for row in rows if row.kind.startswith("@") and row.sku.startswith(prefix)]


async def lose_links(shop: Shop) -> None:
    """Removes all of them behind the log's back."""
    async with shop.store.coordination.fold_transaction("catalog") as transaction:
        await transaction.change_references(await links(shop), [])


MODELS = [
    product("model-tee", attributes={"name": "Tee", "material": "cotton", "ean": "1"}, family="tees"),
    product("model-tee-blue", parent="model-tee", attributes={"color": "blue"}, categories=["blue"]),
]
VARIANT = product("TEE-BLUE-M", parent="Model-tee-blue", attributes={"size": "m"})


@pytest.mark.parametrize("variant_first", [True, False])
async def test_a_variant_has_what_its_models_have(store_url: str, variant_first: bool) -> None:  # noqa: FBT001  # a parameter
    """Two models above it, named in another case, whoever comes first; a change of a model reaches it."""
    order = [VARIANT, *MODELS] if variant_first else [*MODELS, VARIANT]
    async with pagefold.open(inheriting(store_url, levels=2, ignore_case=True, own=["size", "ean"])) as shop:
        for each in order:
            await say(shop, each)
        tee = {"name": "Tee", "material": "cotton", "color": "blue", "size": "m"}
        assert await section(shop, "catalog", sku="TEE-BLUE-M") == {
            "attributes": tee,
            "categories": ["blue"],
            "family": "tees",
            "parent": "Model-tee-blue",
        }
        await say(shop, product("model-tee", version=2, attributes={"name": "Tee 2"}))
        assert await attributes(shop, "TEE-BLUE-M") == {"name": "Tee 2", "color": "blue", "size": "m"}
        page = await shop.pages.get("TEE-BLUE-M", "web-de")
        assert page is not None
        changed = await shop.pages.get("model-tee", "web-de")
        assert changed is not None
        assert (page.source_versions, page.updated_at) == ({"catalog/pim": 1}, changed.updated_at)


async def test_without_the_table_nothing_is_inherited(shop: Shop) -> None:
    """A parent is only a name then, and nothing is kept of it."""
    await say(shop, *MODELS, VARIANT)
    assert await attributes(shop, "model-tee-blue") == {"color": "blue"}
    assert await links(shop) == []
    assert "@" not in str(await shop.store.references.next_rows())


async def test_texts_are_inherited_by_locale(store_url: str) -> None:
    """A text of the variant replaces that of its parent in its locale; a value of the variant replaces all of them."""
    names = {"name": {"de": "Hemd", "en": "Shirt"}, "care": {"de": "kalt", "en": "cold"}}
    async with pagefold.open(inheriting(store_url)) as shop:
        await say(shop, product("P", localized=names, attributes={"size": "all"}))
        await say(shop, product("V", parent="P", localized={"name": {"de": "Mein Hemd"}}, attributes={"care": "none"}))
        assert await attributes(shop, "V") == {"name": "Mein Hemd", "care": "none", "size": "all"}
        assert await attributes(shop, "V", "web-us") == {"name": "Shirt", "care": "none", "size": "all"}


async def test_what_a_source_says_of_a_channel_counts_there_at_each_level(store_url: str) -> None:
    """A parent's statement for one channel reaches its variants there, and no other channel."""
    async with pagefold.open(inheriting(store_url)) as shop:
        await say(shop, product("P", attributes={"a": 1, "b": 1}), product("V", parent="P", attributes={"c": 1}))
        await say(shop, product("P", channel="web-de", attributes={"a": 2}))
        assert await attributes(shop, "V", "web-de") == {"a": 2, "c": 1}
        assert await attributes(shop, "V", "web-us") == {"a": 1, "b": 1, "c": 1}
        await say(shop, product("V", channel="web-us", attributes={"c": 3}))  # names no parent there
        assert await attributes(shop, "V", "web-us") == {"c": 3}
        assert await attributes(shop, "V", "market-at") == {"a": 1, "b": 1, "c": 1}


async def test_a_parent_that_is_not_there_gives_nothing(store_url: str) -> None:
    """It is missing, withdrawn, or of another source; a disabled parent disables no variant, which is its own."""
    async with pagefold.open(inheriting(store_url)) as shop:
        await say(shop, product("V", parent="P", attributes={"c": 1}), product("P", source="pim2", attributes={"a": 1}))
        assert await attributes(shop, "V") == {"c": 1}
        await say(shop, product("P", attributes={"a": 2}, enabled=False))
        assert await attributes(shop, "V") == {"a": 2, "c": 1}
        await say(shop, withdrawn("catalog", version=2, sku="P", source="pim"))
        assert await attributes(shop, "V") == {"c": 1}
        for version, name in enumerate(("", "x" * 129, "\x07", "p" * 40_000), start=2):  # no SKU can have these
            await say(shop, product("V", version=version, parent=name, attributes={"c": version}))
            assert await attributes(shop, "V") == {"c": version}
        assert await errors(shop) == {}


async def test_cycles_and_long_chains_are_dead_letters(store_url: str) -> None:
    """Each of their products has its own page, without a parent, until the chain is mended, wherever that is."""
    async with pagefold.open(inheriting(store_url, levels=2)) as shop:
        await say(shop, *(product(sku, parent=above, attributes={sku: 1}) for sku, above in ("AB", "BC", "CD", "DE")))
        too_long = "parent: there are more than 2 parents: A > B > C > D"
        assert await errors(shop) == {
            "A/*/catalog/pim": too_long,
            "B/*/catalog/pim": too_long.replace("A > B > C > D", "B > C > D > E"),
        }
        assert await attributes(shop, "A") == {"A": 1}
        assert await attributes(shop, "C") == {"C": 1, "D": 1}
        await say(shop, product("C", version=2, parent="A", attributes={"C": 2}))
        assert set(await errors(shop)) == {"A/*/catalog/pim", "B/*/catalog/pim", "C/*/catalog/pim"}
        assert (await errors(shop))["C/*/catalog/pim"] == "parent: the parents form a cycle: C > A > B > C"
        [letter] = [each for each in await shop.dead_letters.newest() if each.originator_id.startswith("C/")]
        assert await shop.dead_letters.retry(letter) == "still dead"
        await say(shop, product("C", version=3, attributes={"C": 3}))
        assert await errors(shop) == {}
        assert await attributes(shop, "A") == {"A": 1, "B": 1, "C": 3}
        await assert_every_event_is_counted(shop.store)
        assert (await shop.verify()).changed == 0


async def test_a_parent_that_cannot_be_read_counts_with_its_last_good_event(store_url: str) -> None:
    """As on its own page; the variant's event is not the one to blame."""
    async with pagefold.open(inheriting(store_url)) as shop:
        await say(shop, product("P", attributes={"a": 1}), product("V", parent="P", attributes={"c": 1}))
        [head] = await shop.store.log.heads(["P/*/catalog/pim"])
        broken = msgspec.json.encode({**msgspec.json.decode(head.state), "payload": {"attributes": 3}})
        await shop.store.log.insert([head._replace(originator_version=2, state=broken)])
        await say(shop, product("V", version=2, parent="P", attributes={"c": 2}))
        assert await attributes(shop, "V") == {"a": 1, "c": 2}
        assert set(await errors(shop)) == {"P/*/catalog/pim"}
        assert (await shop.verify()).changed == 0


async def test_a_variant_that_moves_leaves_nothing_behind(store_url: str) -> None:
    """Its former parent does not find it any more; a withdrawn variant has none."""
    async with pagefold.open(inheriting(store_url)) as shop:
        await say(shop, product("P", attributes={"a": 1}), product("Q", attributes={"a": 2}), product("V", parent="P"))
        assert [row.id for row in await links(shop)] == ["P"]
        await say(shop, product("V", version=2, parent="Q"))
        assert await attributes(shop, "V") == {"a": 2}
        assert [row.id for row in await links(shop)] == ["Q"]
        await say(shop, withdrawn("catalog", version=3, sku="V", source="pim"))
        assert await links(shop) == []


async def test_events_of_a_parent_that_are_not_folded_yet_are_no_drift_of_its_variants(store_url: str) -> None:
    """They only wait for their consumer."""
    async with pagefold.open(inheriting(store_url)) as shop:
        await say(shop, product("P", attributes={"a": 1}), product("V", parent="P"))
        await append(shop, product("P", version=2, attributes={"a": 2}))
        found = await shop.verify()
        assert (found.changed, found.behind) == (0, 8)
        await shop.catch_up()
        assert (await shop.verify()).changed == 0


async def test_lost_links_are_found_and_repaired(store_url: str) -> None:
    """`verify` counts them, a replay repairs them, and what they should have led to."""
    async with pagefold.open(inheriting(store_url, ignore_case=True)) as shop:
        await say(shop, *MODELS, VARIANT)
        kept, pages = await links(shop), await pages_of(shop)
        assert (await shop.verify()).changed == 0
        await lose_links(shop)
        await say(shop, product("model-tee-blue", version=2, parent="model-tee", attributes={"color": "red"}))
        assert "red" not in str(await attributes(shop, "TEE-BLUE-M"))
        assert (await shop.verify()).changed > 0
        assert (await shop.verify(processes=2)).changed > 0
        assert (await shop.replay()).changed > 0
        assert (await shop.verify()).changed == 0
        assert await links(shop) == kept
        assert await attributes(shop, "TEE-BLUE-M") == {"color": "red", "size": "m", **TEE}
        assert set(pages) == set(await pages_of(shop))


async def test_lost_spellings_are_repaired_and_so_are_the_variants_that_they_lead_to(store_url: str) -> None:
    """The variant, whose name sorts first, was folded before its parent can be found again."""
    async with pagefold.open(inheriting(store_url, ignore_case=True)) as shop:
        await say(shop, product("z", attributes={"a": 1}), product("A", parent="Z"))
        await lose_links(shop)
        await say(shop, product("A", version=2, parent="Z", attributes={"b": 2}))
        assert await attributes(shop, "A") == {"b": 2}
        assert (await shop.replay()).changed > 0
        assert await attributes(shop, "A") == {"a": 1, "b": 2}
        assert (await shop.verify()).changed == 0


async def test_a_small_window_of_a_worker_changes_variants_too(store_url: str) -> None:
    """A worker that is up to date folds a change of a parent at once, and what is below it."""
    async with pagefold.open(inheriting(store_url)) as shop:

        async def has_changed(version: int) -> bool:
            return await attributes(shop, "V") == {"a": version}

        await say(shop, product("P", attributes={"a": 1}), product("V", parent="P"))
        async with shop.working():
            for version in (2, 3):
                await append(shop, product("P", version=version, attributes={"a": version}))
                await eventually(partial(has_changed, version), "the variant has changed")


async def test_a_page_is_of_one_moment_also_while_it_is_folded(store_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A variant and then its parent change after the variant was read: it is not shown over the newer parent."""
    parents = Folder.parents
    async with pagefold.open(inheriting(store_url)) as shop:
        await say(shop, product("P", attributes={"a": 1}), product("V", parent="P", attributes={"b": 1}))
        await append(shop, product("V", version=2, parent="P", attributes={"b": 2}))
        newer = [product("V", version=3, parent="P", attributes={"b": 3}), product("P", version=2, attributes={"a": 2})]

        async def late(self: Folder, *read: object) -> object:
            while newer:
                await append(shop, newer.pop(0))
            return await parents(self, *read)  # type: ignore[arg-type]  # as it was called

        with monkeypatch.context() as patched:
            patched.setattr(Folder, "parents", late)
            await shop.catch_up()
        assert await attributes(shop, "V") == {"a": 1, "b": 2}
        await shop.catch_up()
        assert await attributes(shop, "V") == {"a": 2, "b": 3}


async def test_a_change_of_a_parent_that_is_folded_ahead_reaches_its_variants(store_url: str) -> None:
    """While it catches up: the parent is folded with its newest events as soon as another of its streams is."""
    async with pagefold.open(with_small_windows(inheriting(store_url))) as shop:
        await say(shop, product("P", attributes={"a": 1}), product("V", parent="P"))
        await append(shop, product("P", source="pim2", attributes={"b": 1}), product("X"), product("Y"))
        await append(shop, product("P", version=2, attributes={"a": 2}), product("Z"))
        await shop.catch_up()
        assert await attributes(shop, "V") == {"a": 2}
        assert (await shop.verify()).changed == 0
        await assert_every_event_is_counted(shop.store)


async def test_an_incomplete_variant_keeps_an_older_version_of_its_own(store_url: str) -> None:
    """It is complete by what its parent says of a channel; without that, an older version counts, alone."""
    requirements = [{"name": "both", "requires": [{"attributes": ["a", "b"]}]}]
    web = {"locale": "de", "currency": "EUR", "requirements": requirements, "incomplete": "keep"}
    config = inheriting(store_url)
    config = Config.parse({**msgspec.to_builtins(config), "channels": {"web-de": web}}, store=store_url)
    async with pagefold.open(config) as shop:
        both = {"a": 1, "b": 1}
        await say(shop, product("V", parent="P", attributes=both), product("P", channel="web-de", attributes={"c": 0}))
        assert await attributes(shop, "V") == {**both, "c": 0}
        await say(shop, product("V", version=2, parent="P", attributes={"a": 2}))
        assert await attributes(shop, "V") == both
        await say(shop, product("P", version=2, channel="web-de", attributes={"b": 5}))
        assert await attributes(shop, "V") == {"a": 2, "b": 5}
        assert (await shop.verify()).changed == 0


async def test_many_variants_are_folded_a_chunk_at_a_time(store_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """No more of them are in memory than of other products, and all of them change."""
    async with pagefold.open(inheriting(store_url)) as shop:
        await say(
            shop, product("P", attributes={"a": 1}), *(product(f"V-{each:04}", parent="P") for each in range(300))
        )
        sizes = count_heads(monkeypatch)
        await say(shop, product("P", version=2, attributes={"a": 2}))
        assert (len(sizes), max(sizes)) == (7, 43)
        pages = [await attributes(shop, f"V-{each:04}") for each in range(300)]
        assert pages == [{"a": 2}] * 300


async def test_recover_folds_variants_of_the_log_that_is_there(store_url: str) -> None:
    """Also after all links were lost."""
    async with pagefold.open(inheriting(store_url, ignore_case=True)) as shop:
        await say(shop, *MODELS, VARIANT)
        pages, kept = await pages_of(shop), await links(shop)
        await lose_links(shop)
        await shop.recover()
        assert (await pages_of(shop), await links(shop)) == (pages, kept)


TEE = {"name": "Tee", "material": "cotton", "ean": "1"}


async def test_a_changed_setting_folds_again_and_a_plan_shows_it(store_url: str) -> None:
    """On, in another case, and off again: the pages are those of the model each time, and a plan names the changes."""
    plain = configured(store_url)
    settings_in_turn = [inheriting(store_url), inheriting(store_url, ignore_case=True, own=["ean"]), plain]
    async with pagefold.open(plain) as shop:
        await say(shop, *MODELS, VARIANT)
    for config in settings_in_turn:
        async with pagefold.open(msgspec.structs.replace(config, apply="never")) as shop:
            assert await apply(shop, config, [*MODELS, VARIANT]) > 0
            assert bool(await links(shop)) == (config is not plain)


# --- any order ------------------------------------------------------------------------------------


def payloads() -> st.SearchStrategy[Document]:
    """Products that mostly have a parent."""
    codes = st.sampled_from(["n", "m", "size"])
    return st.fixed_dictionaries(
        {"attributes": st.dictionaries(codes, st.integers(0, 3), max_size=2)},
        optional={
            "localized": st.dictionaries(
                codes, st.dictionaries(st.sampled_from(["de", "en"]), st.sampled_from("xy"), min_size=1), max_size=2
            ),
            "categories": st.lists(st.sampled_from("kl"), max_size=1),
            "family": st.sampled_from("fg"),
            "parent": st.sampled_from([*NAMES, "é", "missing"]),
            "enabled": st.booleans(),
        },
    )


def families() -> st.SearchStrategy[Arrivals]:
    """Events of a few products; some are withdrawn."""
    return arrivals(st.one_of(payloads(), payloads(), payloads(), st.none()))


def prefixed(given_event: DomainEvent, prefix: str) -> DomainEvent:
    """The event about products of one example."""
    payload = given_event.payload
    if isinstance(payload, Mapping) and "parent" in payload:
        payload = {**payload, "parent": prefix + str(payload["parent"])}
    return event(
        "catalog",
        payload,
        sku=prefix + given_event.sku,
        channel=given_event.channel,
        source=given_event.source,
        version=given_event.source_version,
    )


SETTINGS: Sequence[Document] = [
    {},
    {"ignore_case": True, "own": ["size"]},
    {"levels": 1},
    {"levels": 2, "ignore_case": True},
]


@given(family=families())
@settings(max_examples=12)
@pytest.mark.parametrize("inherit", SETTINGS)
async def test_pages_are_those_of_the_model_whatever_the_order(
    store_url: str, inherit: Document, family: Arrivals, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At every moment when all is folded; links and dead letters are those of any other order, in small chunks too."""
    config = inheriting(store_url, **inherit)
    arrived = await outcome_of(in_small_steps(config, monkeypatch), family)
    assert arrived == await outcome_of(config, family.in_order())


async def outcome_of(config: Config, family: Arrivals) -> str:
    """Folds the events in turn. Returns the dead letters and the links at the end."""
    async with pagefold.open(config) as shop:
        prefix, _ = await fold_in_turn(shop, family, prefixed, config)
        found = sorted((await errors(shop, prefix)).items()), await links(shop, prefix)
        return str(found).replace(prefix, "")
