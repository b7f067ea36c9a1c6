"""SKUs that products name, where a SKU exists in one of several channels that show the same; on both stores."""

import pagefold
from tests.folding.test_named_skus import asking, gone, lacking, product
from tests.support.small_shop import say


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
