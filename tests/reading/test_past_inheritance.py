"""The past of variants: their parents are those of then, in any case, at every position, on both stores."""

from collections.abc import Sequence

from hypothesis import given, settings
from hypothesis import strategies as st

import pagefold
from pagefold import DomainEvent
from pagefold.engine.plans.planner import PlannedRange
from tests.folding.test_inheritance import inheriting, product
from tests.support.small_shop import configured, say, withdrawn

SKUS = ["tee", "Tee", "tee-blue", "TEE-M"]

channels = st.sampled_from(["*", "*", "web-de"])
parents = st.sampled_from([None, "tee", "Tee", "tee-blue", "TEE-BLUE", "none"])


@st.composite
def products(draw: st.DrawFn) -> list[DomainEvent]:
    """Products that may be parents of each other, in any order of versions."""
    found: list[DomainEvent] = []
    for number in range(draw(st.integers(1, 10))):
        sku, version, channel = draw(st.sampled_from(SKUS)), draw(st.integers(0, 9)), draw(channels)
        attributes = {"number": number, f"of {sku}": number}
        sent = product(sku, version=version, channel=channel, parent=draw(parents), attributes=attributes)
        found.append(
            draw(st.sampled_from([sent, sent, withdrawn("catalog", sku=sku, version=version, channel=channel)]))
        )
    return found


@given(history=products(), ignore_case=st.booleans())
@settings(max_examples=12)
async def test_every_position_has_the_pages_that_were_folded_then(
    store_url: str,
    history: Sequence[DomainEvent],
    ignore_case: bool,  # noqa: FBT001  # a parameter
) -> None:
    """Also where a parent came later, was withdrawn since, or formed a cycle for a while."""
    config = inheriting(store_url, ignore_case=ignore_case)
    async with pagefold.open(config) as shop:
        await shop.catch_up()
        seen = {}
        for sent in history:
            await shop.append([sent])
            await shop.catch_up()
            seen[await shop.store.log.end()] = {
                (sku, channel): await shop.pages.get_json(sku, channel, disabled=True)
                for sku in SKUS
                for channel in ("web-de", "web-us")
            }
        for position, pages in seen.items():
            for (sku, channel), page in pages.items():
                assert await shop.past.get_json(sku, channel, position, disabled=True) == page


async def test_a_change_of_a_parent_is_a_difference_of_its_variants(store_url: str) -> None:
    """No event of the variant came between the two moments, and it differs."""
    async with pagefold.open(inheriting(store_url, ignore_case=True)) as shop:
        await say(shop, product("tee", attributes={"name": "a"}), product("TEE-M", parent="TEE", attributes={"s": "m"}))
        await say(shop, product("cap", attributes={"name": "cap"}))
        then = await shop.past.view(await shop.store.log.end())
        await say(shop, product("tee", version=2, attributes={"name": "b"}))
        found: set[str] = set()

        def keep(part: PlannedRange) -> None:
            found.update(each.sku for each in part.changes)

        await shop.diff(then, await shop.past.view(None), on_planned=keep, every_change=True)
        assert found == {"tee", "TEE-M"}


async def test_a_past_configuration_that_ignored_case_finds_parents(store_url: str) -> None:
    """Though nothing is stored for it any more: the names come from the log."""
    async with pagefold.open(inheriting(store_url, ignore_case=True)) as shop:
        await say(shop, product("tee", attributes={"name": "a"}), product("TEE-M", parent="TEE", attributes={"s": "m"}))
        position, page = await shop.store.log.end(), await shop.pages.get_json("TEE-M", "web-de")
    async with pagefold.open(configured(store_url)) as shop:
        await shop.catch_up()
        assert (
            await shop.past.get_json("TEE-M", "web-de", position)
            == page
            != await shop.pages.get_json("TEE-M", "web-de")
        )
