"""Requirements of SKUs that exist: pages that name a SKU change as it comes and goes, whatever the order."""

from collections.abc import AsyncIterator
from functools import partial

import msgspec
import pytest

import pagefold
from pagefold import Config, Shop
from pagefold.engine.plans.page_changes import PageChange
from tests.support.arrival_orders import apply, count_heads
from tests.support.named_skus import asking, gone, lacking, links, product
from tests.support.processes import eventually
from tests.support.small_shop import (
    Raw,
    append,
    document,
    event,
    pages_of,
    say,
    section,
    stream_of,
)


@pytest.fixture
async def shop(store_url: str) -> AsyncIterator[Shop]:
    """A shop with two channels that ask."""
    async with pagefold.open(asking(store_url)) as opened:
        yield opened


async def test_a_page_says_which_of_its_references_do_not_exist_until_they_do(shop: Shop) -> None:
    """One warns, the other blocks; what comes and goes changes the pages that name it, in the channels that ask."""
    await say(shop, product("TEE", attributes={"related": ["CAP", "MUG"]}, parent="MODEL"), product("MUG"))
    page = await shop.pages.get("TEE", "web-de")
    assert page is not None
    assert page.sections["catalog"] is not None
    assert page.sections["catalog"]["completeness"] == {
        "percent": 33,
        "missing": [],
        "invalid": ["parent", "related"],
        "warns": ["related"],
    }
    assert not page.readiness["catalog"]
    assert "completeness" not in await section(shop, "catalog", "market-at", "TEE")
    await say(shop, product("MODEL"))
    assert await lacking(shop, "TEE") == ["related"]
    await say(shop, product("CAP"))
    assert await lacking(shop, "TEE") == []
    await say(shop, gone("MUG", version=2))
    assert await lacking(shop, "TEE") == ["related"]
    assert (await shop.verify()).changed == 0
    assert (await shop.replay()).changed == 0


async def test_a_list_an_object_and_a_number_may_name_skus(shop: Shop) -> None:
    """Blank items are none, and what is no SKU does not exist; a path leads into objects."""
    named = {"related": ["CAP", " ", None, 7, ["MUG"]], "sets": {"parts": "CAP"}}
    await say(shop, product("TEE", attributes=named), product("CAP"), product("MUG"))
    assert await lacking(shop, "TEE") == ["related"]
    await say(shop, product("7"))
    assert await lacking(shop, "TEE") == []
    await say(shop, product("TEE", version=2, attributes={"related": [" ", None], "sets": {"parts": {"sku": "CAP"}}}))
    assert await lacking(shop, "TEE") == ["sets.parts"]
    await say(shop, product("TEE", version=3, attributes={"related": "\ud7ff" * 300, "sets": ["CAP"]}))
    assert await lacking(shop, "TEE") == ["related"]


async def test_a_sku_exists_by_what_the_sources_of_the_channel_say_of_it(shop: Shop) -> None:
    """Of one channel, or of another source; a disabled product exists, and one without a catalog does not."""
    await say(shop, product("TEE", attributes={"related": "CAP"}), product("CAP", channel="web-us"))
    assert [await lacking(shop, "TEE", each) for each in ("web-de", "web-us")] == [["related"], []]
    await say(shop, product("CAP", source="pim2", enabled=False))
    assert await lacking(shop, "TEE") == []
    await say(shop, gone("CAP", source="pim2", version=2))
    assert await lacking(shop, "TEE") == ["related"]
    await say(shop, product("CAP", channel="web-de"), event("pricing", {"currency": "EUR", "amount": "1"}, sku="CAP"))
    assert await lacking(shop, "TEE") == []
    await say(shop, gone("CAP", channel="web-de", version=2), gone("CAP", channel="web-us", version=2))
    assert [await lacking(shop, "TEE", each) for each in ("web-de", "web-us")] == [["related"], ["related"]]
    assert (await shop.verify()).changed == 0


async def test_channels_that_show_the_same_get_their_own_answers(store_url: str) -> None:
    """They are folded once for equal answers, and a SKU may exist in one of them only."""
    fallbacks, sources = ["en"], {"catalog": ["pim"]}
    alike = asking(store_url, channels=("web-de", "outlet-de"), fallbacks=fallbacks, sources=sources)
    async with pagefold.open(alike) as shop:
        named = {"related": ["CAP", "MUG"]}
        both = product("MUG"), product("CAP", channel="outlet-de")
        await say(shop, product("TEE", attributes=named), *both, product("POT", attributes={"related": "MUG"}))
        assert [await lacking(shop, "TEE", each) for each in ("web-de", "outlet-de")] == [["related"], []]
        assert [await lacking(shop, "POT", each) for each in ("web-de", "outlet-de")] == [[], []]
        await say(shop, product("CAP", channel="web-de"), gone("CAP", channel="outlet-de", version=2))
        assert [await lacking(shop, "TEE", each) for each in ("web-de", "outlet-de")] == [[], ["related"]]


async def test_what_is_kept_of_names_says_what_the_fold_found(shop: Shop) -> None:
    """A link for each name of each page, and none of a page that names nothing any more, or that is withdrawn."""
    named = {"related": ["CAP", "MUG", "HAT"]}
    await say(shop, product("TEE", attributes=named), product("CAP"), product("HAT", channel="web-us"))
    kinds = {row.id: row.kind.removeprefix("@names/") for row in await links(shop)}
    assert kinds == {"CAP": "found", "MUG": "lacking", "HAT": "partly"}
    assert {row.stream for row in await links(shop)} == {"TEE/*/catalog/pim"}
    await say(shop, product("TEE", version=2, parent="MUG"))
    assert [(row.kind, row.id) for row in await links(shop)] == [("@names/lacking", "MUG")]
    await say(shop, gone("TEE", version=3))
    assert await links(shop) == []
    assert "@" not in str(await shop.store.references.count_kinds())


async def test_without_the_rule_nothing_is_kept(store_url: str) -> None:
    """Also of a channel that requires something else."""
    async with pagefold.open(asking(store_url, requirements=[{"requires": [{"attributes": ["name"]}]}])) as shop:
        await say(shop, product("TEE", attributes={"related": "CAP"}, parent="MODEL"))
        assert await links(shop) == []
        assert not (await shop.store.references.next_rows())


async def test_an_update_of_a_sku_that_many_name_folds_none_of_them(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only its coming and going does, in chunks as any other products."""
    names = [f"TEE-{each:04}" for each in range(300)]
    await say(shop, product("BOX"), *(product(name, attributes={"related": "BOX"}) for name in names))
    sizes = count_heads(monkeypatch)
    await say(shop, product("BOX", version=2, attributes={"size": 1}))
    assert sizes == [1]
    sizes.clear()
    await say(shop, gone("BOX", version=3))
    assert (sizes[0], max(sizes), sum(sizes)) == (1, 50, 1 + 300 + 6)  # itself, and once for each chunk
    assert [await lacking(shop, name) for name in names] == [["related"]] * 300


async def test_a_small_window_of_a_worker_changes_pages_that_name_a_sku(shop: Shop) -> None:
    """A worker that is up to date folds them with what comes."""

    async def lacks(*names: str) -> bool:
        return await lacking(shop, "TEE") == [*names]

    await say(shop, product("TEE", attributes={"related": "CAP"}))
    async with shop.working():
        await append(shop, product("CAP"))
        await eventually(partial(lacks), "it is found")
        await append(shop, gone("CAP", version=2))
        await eventually(partial(lacks, "related"), "it is gone")


async def test_events_of_a_named_sku_that_are_not_folded_yet_are_no_drift(shop: Shop) -> None:
    """The pages that name it only wait for their consumer, and so do the links."""
    await say(shop, product("TEE", attributes={"related": "CAP"}))
    await append(shop, product("CAP"))
    found = await shop.verify()
    assert (found.changed, found.behind) == (0, 7)  # two pages, the new SKU in four channels, and a link
    await shop.catch_up()
    assert (await shop.verify()).changed == 0
    await append(shop, product("TEE", version=2))
    assert (await shop.verify()).changed == 0


async def test_lost_and_stale_links_are_found_and_repaired(shop: Shop) -> None:
    """`verify` counts them, a replay repairs them, and the page that they should have led to."""
    await say(shop, product("TEE", attributes={"related": "CAP"}), product("MUG", attributes={"related": "CAP"}))
    kept = await links(shop)
    surplus = kept[0]._replace(id="HAT")
    async with shop.store.coordination.fold_transaction("catalog") as transaction:
        await transaction.change_references(kept, [surplus])
    await say(shop, product("CAP"))
    assert await lacking(shop, "TEE") == ["related"]
    for processes in (1, 2):
        assert (await shop.verify(processes=processes)).changed > 0
    assert (await shop.replay()).changed > 0
    assert (await shop.verify()).changed == 0
    assert await lacking(shop, "TEE") == []
    assert [row.kind for row in await links(shop)] == ["@names/found"] * 2
    async with shop.store.coordination.fold_transaction("catalog") as transaction:
        await transaction.change_references([], [surplus._replace(stream="CAP/*/catalog/pim", sku="CAP")])
    assert (await shop.verify()).changed > 0
    assert (await shop.replay()).changed > 0
    assert {row.sku for row in await links(shop)} == {"TEE", "MUG"}


async def test_recover_finds_the_skus_of_the_log_that_is_there(shop: Shop) -> None:
    """Also after all links were lost."""
    await say(shop, product("TEE", attributes={"related": ["CAP", "MUG"]}), product("CAP"))
    pages, kept = await pages_of(shop), await links(shop)
    async with shop.store.coordination.fold_transaction("catalog") as transaction:
        await transaction.change_references(kept, [])
    await shop.recover()
    assert (await pages_of(shop), await links(shop)) == (pages, kept)


async def test_a_variant_asks_for_what_its_parent_names(store_url: str) -> None:
    """What it inherits, in any case if its source ignores that."""
    async with pagefold.open(asking(store_url, inherit={"ignore_case": True})) as shop:
        await say(shop, product("MODEL", attributes={"related": "cap"}), product("TEE", parent="Model"))
        assert await lacking(shop, "TEE") == ["related"]
        await say(shop, product("CAP", source="pim2"))  # not one of the source that ignores case
        assert await lacking(shop, "TEE") == ["related"]
        await say(shop, product("CAP"))
        assert await lacking(shop, "TEE") == []
        await say(shop, gone("MODEL", version=2))
        assert await lacking(shop, "TEE") == ["parent"]
        assert (await shop.verify()).changed == 0
        assert (await shop.replay()).changed == 0


async def test_an_older_version_is_kept_only_with_skus_that_exist(store_url: str) -> None:
    """Those that only an older version names are looked for, too, and their coming and going changes what is kept."""
    blocking = {"name": "b", "requires": [{"attributes": ["related"], "in_catalog": True}]}
    async with pagefold.open(asking(store_url, requirements=[blocking], incomplete="keep")) as shop:
        for version, named in enumerate(("CAP", "MUG", "HAT", None), start=1):
            await say(shop, product("TEE", version=version, attributes={} if named is None else {"related": named}))
        assert await shop.pages.get("TEE", "web-de") is None
        for name, changed in (("CAP", product), ("HAT", product), ("MUG", product), ("HAT", gone)):
            await say(
                shop, product(name, attributes={"related": name}) if changed is product else gone(name, version=2)
            )
            shown = await section(shop, "catalog", sku="TEE")
            expected = {"CAP": "CAP", "HAT": "HAT", "MUG": "HAT"}[name] if changed is product else "MUG"
            assert (shown["attributes"]["related"], shown["kept"]) == (expected, True)
            assert (await shop.verify()).changed == 0
            why = await shop.why("TEE", "web-de")
            assert why.status == "live"
        assert (await shop.replay()).changed == 0


async def test_the_past_has_the_skus_of_then(shop: Shop) -> None:
    """A page as it was, why it is as it is, and a difference of two moments, by what comes and goes between them."""
    await say(shop, product("TEE", attributes={"related": ["CAP", "MUG"]}), product("MUG"))
    then = await shop.store.log.end()
    before = await shop.pages.get_json("TEE", "web-de")
    why = msgspec.json.encode(await shop.why("TEE", "web-de")).decode()
    assert "links@1, a warning: the catalog does not have CAP" in why
    await say(shop, product("CAP"))
    after = await shop.pages.get_json("TEE", "web-de")
    assert before != after
    assert await shop.past.get_json("TEE", "web-de", then) == before
    assert await shop.past.get_json("TEE", "web-de", await shop.store.log.end()) == after
    changes: list[PageChange] = []
    views = await shop.past.view(then), await shop.past.view(None)
    await shop.diff(*views, on_planned=lambda planned: changes.extend(planned.changes), every_change=True)
    assert {(each.sku, each.channel) for each in changes if each.sku == "TEE"} == {("TEE", "web-de"), ("TEE", "web-us")}


async def test_a_named_sku_that_cannot_be_read_counts_with_its_last_good_event(shop: Shop) -> None:
    """Or does not exist; the page that names a SKU and cannot be folded itself keeps what it asked for."""
    await say(shop, product("TEE", attributes={"related": ["CAP", "MUG"]}), product("CAP"))
    bad = [stream_of(product(name)) for name in ("CAP", "MUG", "TEE")]
    events = [Raw(stream, 2, "catalog", b'{"payload": 7}') for stream in bad]
    await shop.store.log.insert(events)
    await shop.catch_up()
    assert await lacking(shop, "TEE") == ["related"]
    assert {row.id: row.kind for row in await links(shop)} == {"CAP": "@names/found", "MUG": "@names/lacking"}
    await say(shop, product("MUG", version=3))
    assert await lacking(shop, "TEE") == []
    assert (await shop.verify()).changed == 0


async def test_the_rule_comes_and_goes_and_a_plan_shows_it(store_url: str) -> None:
    """The plan names the pages that change, and `verify` agrees before and after."""
    plain, asks = Config.parse(document(store_url), store=store_url), asking(store_url)
    events = [
        product("TEE", attributes={"related": ["CAP", "MUG"]}, parent="CAP"),
        product("CAP"),
        gone("CAP", version=2),
    ]
    async with pagefold.open(plain) as shop:
        await say(shop, *events)
    for config in (asks, plain):
        async with pagefold.open(msgspec.structs.replace(config, apply="never")) as shop:
            assert await apply(shop, config, events) == 2
            assert bool(await links(shop)) == (config is asks)
