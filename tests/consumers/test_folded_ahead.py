"""A consumer that is far behind folds each stream once, at its head, and counts the head at its position."""

import pagefold
from tests.support.small_shop import configured, stock


async def test_heads_folded_ahead_are_counted_at_their_position(store_url: str) -> None:
    """Of five streams in windows smaller than the log, five events are applied, and the others were stale."""
    async with pagefold.open(configured(store_url, work={"batch": 10, "poll_seconds": 0.05})) as shop:
        for version in range(1, 9):
            await shop.append([stock(version, version=version, sku=f"S{number}") for number in range(5)])
        await shop.catch_up()
        [inventory] = [each for each in (await shop.status()).domains if each.domain == "inventory"]
        assert (inventory.applied, inventory.stale, inventory.dead) == (5, 35, 0)
